package transaction

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func freezeBy(owner string) Freeze {
	return Freeze{Owner: owner, Message: "the disk is being replaced", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func wantFrozenBy(t *testing.T, err error, owner string) {
	t.Helper()
	var frozen *FrozenError
	if !errors.As(err, &frozen) || frozen.Freeze.Owner != owner {
		t.Errorf("got %v, want that it is frozen by %s", err, owner)
	}
}

func TestOnlyTheOwnerUnfreezes(t *testing.T) {
	r := newRig(t)
	if was, err := r.Store.Unfreeze(r.ctx(), "ann@desk", false); was != nil || err != nil {
		t.Errorf("what is not frozen: %v, %v", was, err)
	}
	if err := r.Store.Freeze(r.ctx(), freezeBy("ann@desk")); err != nil {
		t.Fatal(err)
	}
	wantFrozenBy(t, r.Store.Freeze(r.ctx(), freezeBy("bob@desk")), "ann@desk")
	again := freezeBy("ann@desk")
	again.Message = "and the second one"
	if err := r.Store.Freeze(r.ctx(), again); err != nil {
		t.Errorf("its owner: %v", err)
	}
	if now, err := r.Store.Frozen(); err != nil || now == nil || *now != again {
		t.Errorf("frozen by %+v, %v", now, err)
	}
	was, err := r.Store.Unfreeze(r.ctx(), "bob@desk", false)
	wantFrozenBy(t, err, "ann@desk")
	if was == nil || was.Owner != "ann@desk" {
		t.Errorf("whose it is was not said: %v", was)
	}
	if was, err := r.Store.Unfreeze(r.ctx(), "bob@desk", true); err != nil || was == nil || was.Owner != "ann@desk" {
		t.Errorf("with force: %v, %v", was, err)
	}
	if now, err := r.Store.Frozen(); now != nil || err != nil {
		t.Errorf("afterwards: %v, %v", now, err)
	}
}

// Of two people who freeze at the same instant one is told about the other.
func TestOneOfTwoFreezesWins(t *testing.T) {
	r := newRig(t)
	owners := []string{"ann@desk", "bob@desk", "cid@desk", "dan@desk"}
	errs := make([]error, len(owners))
	var all sync.WaitGroup
	for i, owner := range owners {
		all.Go(func() { errs[i] = r.Store.Freeze(r.ctx(), freezeBy(owner)) })
	}
	all.Wait()
	now, err := r.Store.Frozen()
	if err != nil || now == nil {
		t.Fatal(now, err)
	}
	for i, owner := range owners {
		if (errs[i] == nil) != (owner == now.Owner) {
			t.Errorf("%s: %v, while it is frozen by %s", owner, errs[i], now.Owner)
		}
	}
}

func TestFrozenHostAdmitsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		plan     func(*Plan)
		admitted bool
	}{
		"a switch":                     {func(*Plan) {}, false},
		"one by the freeze's owner":    {func(p *Plan) { p.Deployer = "bob@desk" }, false},
		"a test":                       {func(p *Plan) { p.Action = Test }, false},
		"a boot":                       {func(p *Plan) { p.Action = Boot }, false},
		"a rollback":                   {func(p *Plan) { p.Action = Rollback }, false},
		"a rollback by its owner":      {func(p *Plan) { p.Action, p.Deployer = Rollback, "bob@desk" }, true},
		"a switch that is insisted on": {func(p *Plan) { p.Force = true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if err := r.Store.Freeze(r.ctx(), freezeBy("bob@desk")); err != nil {
				t.Fatal(err)
			}
			plan := r.plan()
			c.plan(&plan)
			_, err := r.Prepare(r.ctx(), plan)
			if c.admitted {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			wantFrozenBy(t, err, "bob@desk")
			if last, err := r.Store.Load(); last != nil || err != nil || r.host.called("arm") > 0 {
				t.Errorf("a refusal left %v, %v", last, err)
			}
		})
	}
}

// A freeze that cannot be read may be one.
func TestDamagedFreezeRefuses(t *testing.T) {
	r := newRig(t)
	if err := os.WriteFile(filepath.Join(r.Store.Dir, freezeFile), []byte(`{"owner":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prepare(r.ctx(), r.plan()); err == nil {
		t.Error("a transaction began")
	}
	if err := r.Store.Freeze(r.ctx(), freezeBy("ann@desk")); err == nil {
		t.Error("it was written over")
	}
	if _, err := r.Store.Unfreeze(r.ctx(), "ann@desk", false); err == nil {
		t.Error("it was ended without force")
	}
	if _, err := r.Store.Unfreeze(r.ctx(), "ann@desk", true); err != nil {
		t.Errorf("with force: %v", err)
	}
	if _, err := r.Prepare(r.ctx(), r.plan()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestAutomaticDeploymentOfARejectedSystemIsRefused(t *testing.T) {
	r := newRig(t)
	r.archive(past(1, newPath, RolledBack, func(r *Record) { r.Cause = ProbeFailed }))
	plan := r.plan()
	plan.Automatic = true
	var rejected *RejectedError
	if _, err := r.Prepare(r.ctx(), plan); !errors.As(err, &rejected) || rejected.System != newPath {
		t.Errorf("got %v", err)
	}
	plan.Force = true
	if _, err := r.Prepare(r.ctx(), plan); err != nil {
		t.Errorf("with force: %v", err)
	}
}
