package transaction

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var aHome = &Program{Profile: "home", User: "ann", Kind: "home-manager"}

// A boot takes nothing of what a program has changed: what is in trial then is still
// there, and must be taken back.
func TestSettleAfterARestartTakesBackWhatLasts(t *testing.T) {
	for _, c := range []struct {
		state State
		runs  string
		moved bool // the program has moved the profile by itself
		want  State
		calls []string
	}{
		{Prepared, oldPath, false, RolledBack, []string{"finish"}},
		{Trying, oldPath, false, RolledBack, []string{"finish"}},
		{Trying, newPath, false, RolledBack, []string{"restore", "finish"}},
		{Trying, newPath, true, RolledBack, []string{"restore", "finish"}},
		{Waiting, newPath, false, RolledBack, []string{"restore", "finish"}},
		{RollingBack, newPath, false, RolledBack, []string{"restore", "finish"}},
		{RollingBack, oldPath, false, RolledBack, []string{"finish"}},
		{Committing, newPath, false, Committed, []string{"commit", "finish"}},
		{Committing, newPath, true, Committed, []string{"commit", "finish"}},
		{Waiting, elsePath, false, Superseded, []string{"finish"}},
	} {
		t.Run(fmt.Sprintf("%s runs %s moved %v", c.state, c.runs[len(c.runs)-4:], c.moved), func(t *testing.T) {
			r := newRig(t)
			r.put(c.state, func(r *Record) { r.Program = aHome })
			r.host.run(c.runs)
			if c.moved {
				r.host.point("system-13-link", newPath)
			}
			r.clock.reboot("boot-2")
			got, err := r.settle()
			if err != nil || got.State != c.want {
				t.Fatalf("it is %+v, %v", got, err)
			}
			if c.want != Superseded {
				c.calls = append([]string{"arm", "supervise"}, c.calls...)
			}
			if !slices.Equal(r.host.calls, c.calls) {
				t.Errorf("calls %v, want %v", r.host.calls, c.calls)
			}
		})
	}
}

// Exit code 4 says something of units for a NixOS system alone.
func TestProgramsFailWithAnyExitCode(t *testing.T) {
	r := newRig(t)
	r.host.activate = func(_ context.Context, record Record) (int, error) { r.host.run(record.New); return 4, nil }
	p := r.plan()
	p.Program = aHome
	if _, err := r.Prepare(r.ctx(), p); err != nil {
		t.Fatal(err)
	}
	r.supervise()
	if err := r.supervised(); err != nil {
		t.Fatal(err)
	}
	if got := r.load(); got.State != RolledBack || got.ExitCode != 4 || !strings.Contains(got.Reason, "the activation program failed (exit 4)") || got.Program == nil {
		t.Errorf("it is %+v", got)
	}
}

// There are programs that move the profile themselves: that is nobody else's doing.
func TestConfirmOfAProgramThatMovedTheProfile(t *testing.T) {
	for _, program := range []*Program{nil, aHome} {
		r := newRig(t)
		r.put(Waiting, func(r *Record) { r.Program = program })
		r.attend()
		r.host.run(newPath)
		r.host.point("system-13-link", newPath)
		err := r.confirmed()
		if got := r.load().State; err != nil || program != nil && got != Committing || program == nil && got != Superseded {
			t.Errorf("with the program %v it is %s, %v", program, got, err)
		}
	}
}

func TestStoresOfProfiles(t *testing.T) {
	r := newRig(t)
	host := r.Store
	if ValidID(perProfile) {
		t.Errorf("%s is taken for what a transaction has left, and removed", perProfile)
	}
	home, app := host.Of("home"), host.Of("app")
	for _, s := range []Store{home, app} {
		if err := s.Open(); err != nil {
			t.Fatal(err)
		}
	}
	if names := host.Profiles(); !slices.Equal(names, []string{"app", "home"}) {
		t.Errorf("the profiles are %q", names)
	}
	open := func() string { return fmt.Sprint(host.OpenBeside(), home.OpenBeside(), app.OpenBeside()) }
	if got := open(); got != "false false false" {
		t.Errorf("nothing is open: %s", got)
	}
	r.Store = home
	r.put(Waiting)
	if got := open(); got != "true false true" {
		t.Errorf("the home is open: %s", got)
	}
	r.put(Committed)
	r.Store = host
	r.put(Trying)
	if got := open(); got != "false true true" {
		t.Errorf("the system is open: %s", got)
	}
	host.forget()
	if names := host.Profiles(); len(names) != 2 {
		t.Errorf("the next transaction of the system has removed profiles: %q", names)
	}
}
