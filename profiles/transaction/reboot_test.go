package transaction

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// bootable is a machine in memory whose boot loader starts one system once.
type bootable struct {
	*rig
	once string
	// stage, restart and boot are what a test wants to go wrong.
	stage, restart, boot error
	asked                chan struct{}
}

func (b *bootable) Stage(_ context.Context, r Record) error {
	b.host.note("stage")
	if b.stage != nil {
		return b.stage
	}
	b.host.point("system-13-link", r.New)
	b.once = r.New
	return nil
}

func (b *bootable) Restart(context.Context) error {
	b.host.note("restart")
	if b.restart == nil {
		b.asked <- struct{}{}
	}
	return b.restart
}

func (b *bootable) AwaitBoot(context.Context, Record) error {
	b.host.note("await boot")
	return b.boot
}

// newBootable has a transaction that has asked for its reboot.
func newBootable(t *testing.T) *bootable {
	t.Helper()
	r := newRig(t)
	b := &bootable{rig: r, asked: make(chan struct{}, 9)}
	r.Restarter = b
	return b
}

func (b *bootable) begin() {
	b.t.Helper()
	p := b.plan()
	p.Action = Reboot
	if _, err := b.Prepare(b.ctx(), p); err != nil {
		b.t.Fatal(err)
	}
	b.supervise()
}

// supervise starts the supervisor's process.
func (b *bootable) supervise() {
	ctx, cancel := context.WithCancel(context.Background())
	b.kill = cancel
	done := make(chan struct{})
	go func() { defer close(done); b.ended <- b.Engine.Supervise(ctx, id) }()
	b.t.Cleanup(func() { cancel(); <-done })
}

// goDown ends the boot as a reboot or a power cut does, and boots what the loader
// starts; the units of the new boot begin when Resume starts them.
func (b *bootable) goDown(bootID string) {
	b.t.Helper()
	b.kill()
	_ = b.supervised()
	_, _, boots := b.host.state()
	if b.once != "" {
		boots, b.once = b.once, ""
	}
	b.host.run(boots)
	b.host.mu.Lock()
	b.host.armed = false
	b.host.mu.Unlock()
	b.clock.reboot(bootID)
	b.host.supervise = func(context.Context, Record) error { b.supervise(); return nil }
	if _, _, err := b.Resume(b.ctx()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bootable) awaitRestart() {
	b.t.Helper()
	b.awaitStep(b.asked)
}

func TestSystemThatIsBootedOnceIsJudgedAndCommitted(t *testing.T) {
	b := newBootable(t)
	b.begin()
	b.awaitRestart()
	if running, profile, boots := b.host.state(); running != oldPath || profile != newPath || boots != oldPath {
		t.Fatalf("before the reboot: %s, %s, %s", running, profile, boots)
	}
	b.goDown("boot-2")
	waiting := b.untilJudged()
	if waiting.BootID != "boot-2" || !waiting.Restarted || b.host.called("arm") != 2 || b.host.called("activate") != 0 {
		t.Errorf("waiting as %+v after %v", waiting, b.host.calls)
	}
	if _, err := b.Confirm(b.ctx(), id, nil); err != nil {
		t.Fatal(err)
	}
	b.untilState(Committed)
	b.on(newPath)
}

func TestSystemThatIsBootedOnceAndFailsIsRebootedAway(t *testing.T) {
	for name, fail := range map[string]func(*bootable){
		"boot does not end": func(b *bootable) { b.boot = errBroken },
		"unit fails": func(b *bootable) {
			b.host.failing = func(context.Context) ([]string, error) { return []string{"sad.service"}, nil }
		},
		"silence": func(b *bootable) {
			b.host.mu.Lock()
			defer b.host.mu.Unlock()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBootable(t)
			b.begin()
			b.awaitRestart()
			fail(b)
			b.goDown("boot-2")
			if name == "silence" {
				b.untilJudged()
				b.clock.advance(2 * limits.Total())
				_, _ = b.Abort(b.ctx(), id, NobodyConfirmed, "nobody confirmed", nil)
			}
			b.awaitRestart()
			if got := b.load(); got.State != RollingBack || len(got.Reboots) != 2 {
				t.Fatalf("it is %+v", got)
			}
			if _, profile, boots := b.host.state(); profile != oldPath || boots != oldPath {
				t.Errorf("before the way back: profile %s, boots %s", profile, boots)
			}
			b.goDown("boot-3")
			if got := b.untilState(RolledBack); !got.Restarted || b.host.called("restore") != 0 {
				t.Errorf("%+v after %v", got, b.host.calls)
			}
			b.on(oldPath)
		})
	}
}

func TestSystemThatDoesNotComeUpIsGoneBackFrom(t *testing.T) {
	b := newBootable(t)
	b.begin()
	b.awaitRestart()
	b.once = "" // it was tried, it hung, and somebody used the power switch
	b.goDown("boot-2")
	got := b.untilState(RolledBack)
	if got.Cause != HostRestarted || !strings.Contains(got.Reason, "came back with the previous one") {
		t.Errorf("cause %s: %s", got.Cause, got.Reason)
	}
	b.on(oldPath)
}

func TestPowerCutWhileTheBootedSystemIsJudged(t *testing.T) {
	b := newBootable(t)
	b.begin()
	b.awaitRestart()
	b.goDown("boot-2")
	b.untilJudged()
	b.goDown("boot-3")
	if got := b.untilState(RolledBack); got.Cause != HostRestarted {
		t.Errorf("cause %s: %s", got.Cause, got.Reason)
	}
	b.on(oldPath)
}

func TestRebootThatCannotBeStagedChangesNothing(t *testing.T) {
	b := newBootable(t)
	b.stage = errBroken
	b.begin()
	got := b.untilState(RolledBack)
	if got.Cause != CommitFailed || b.host.called("restart") != 0 || b.host.called("restore") != 0 || b.host.called("uncommit") != 1 {
		t.Errorf("%s after %v", got.Reason, b.host.calls)
	}
	b.on(oldPath)
}

// Where even the reboot back ends in the new system it is switched away from.
func TestRebootBackThatBootsTheNewSystemAgain(t *testing.T) {
	b := newBootable(t)
	b.begin()
	b.awaitRestart()
	b.boot = errBroken
	b.goDown("boot-2")
	b.awaitRestart()
	b.once = newPath
	b.goDown("boot-3")
	b.untilState(RolledBack)
	if b.host.called("restart") != 2 || b.host.called("restore") != 1 {
		t.Errorf("calls %v", b.host.calls)
	}
	b.on(oldPath)
}

// An agent that is asked while the host goes down finds nobody at work, rightly.
func TestSettleWhileTheHostGoesDown(t *testing.T) {
	b := newBootable(t)
	b.begin()
	b.awaitRestart()
	b.kill()
	_ = b.supervised()
	b.host.mu.Lock()
	b.host.armed = false
	b.host.mu.Unlock()
	if got, err := b.Settle(b.ctx()); err != nil || got.State != Trying {
		t.Fatalf("settled as %v, %v", got, err)
	}
	// It never went down, and its time is over.
	b.clock.advance(limits.Total() + time.Second)
	b.host.supervise = func(context.Context, Record) error { b.supervise(); return nil }
	if got, err := b.Settle(b.ctx()); err != nil || got.State != RolledBack {
		t.Errorf("settled as %v, %v", got, err)
	}
	b.on(oldPath)
}

func TestRebootOfAPersonWaitsForNobodyAndRespectsEverybody(t *testing.T) {
	b := newBootable(t)
	b.put(Waiting)
	var locked *LockedError
	if err := b.RebootNow(b.ctx(), "ann@desk", true); !errors.As(err, &locked) {
		t.Errorf("in a transaction: %v", err)
	}
	b.put(RolledBack)
	if err := b.Store.Freeze(b.ctx(), Freeze{Owner: "bob@desk", Message: "no"}); err != nil {
		t.Fatal(err)
	}
	var frozen *FrozenError
	if err := b.RebootNow(b.ctx(), "ann@desk", false); !errors.As(err, &frozen) {
		t.Errorf("on a frozen host: %v", err)
	}
	if b.host.called("restart") != 0 {
		t.Error("it was rebooted")
	}
	if err := b.RebootNow(b.ctx(), "ann@desk", true); err != nil || b.host.called("restart") != 1 {
		t.Errorf("with force: %v", err)
	}
	b.Restarter = nil
	if err := b.RebootNow(b.ctx(), "ann@desk", true); err == nil {
		t.Error("rebooted without a machine")
	}
}

// A unit that cannot be started must not leave a transaction to nobody.
func TestResumeDrivesByItselfWhereNoUnitCanBeStarted(t *testing.T) {
	r := newRig(t)
	r.put(Waiting)
	r.clock.reboot("boot-2")
	r.host.arm = func(context.Context, Record) error { return errBroken }
	if _, _, err := r.Resume(r.ctx()); err != nil {
		t.Fatal(err)
	}
	if got := r.load(); got.State != RolledBack {
		t.Errorf("it is %s", got.State)
	}
	r.on(oldPath)
}

// Who asks while the units of the boot are at work waits for them.
func TestSettleWaitsForWhatIsUnderWay(t *testing.T) {
	r := newRig(t)
	r.put(Committing)
	r.host.run(newPath)
	r.clock.reboot("boot-2")
	hang := make(chan struct{})
	r.host.commit = func(context.Context, Record) error { <-hang; return nil }
	r.host.supervise = func(context.Context, Record) error {
		go func() { r.ended <- r.Engine.Supervise(r.ctx(), id) }()
		return nil
	}
	if _, launched, err := r.Resume(r.ctx()); err != nil || !launched {
		t.Fatalf("resumed: %v, %v", launched, err)
	}
	short, cancel := context.WithTimeout(r.ctx(), 50*time.Millisecond)
	defer cancel()
	if got, err := r.Settle(short); err != nil || got.State != Committing {
		t.Errorf("settled as %v, %v", got, err)
	}
	close(hang)
	if got, err := r.Settle(r.ctx()); err != nil || got.State != Committed {
		t.Errorf("settled as %v, %v", got, err)
	}
	if err := r.supervised(); err != nil {
		t.Error(err)
	}
}
