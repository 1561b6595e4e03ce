package transaction

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

const (
	simHour     = Instant(time.Hour)
	simLib      = "/lib"
	simHistory  = simLib + "/" + historyDir
	simRun      = "/run/hdeploy"
	simProfiles = "/profiles"
	simProfile  = simProfiles + "/system"
	simRoots    = "/roots"
	simBoot     = "/boot"
	// simDefault is the link that stands for the files of a boot loader.
	simDefault = simBoot + "/default"
	// simOnce is the one that it boots once.
	simOnce = simBoot + "/once"
)

// The systems by their interned.
var simSystems = [...]string{
	"/nix/store/00000000000000000000000000000000-old",
	"/nix/store/11111111111111111111111111111111-new",
	"/nix/store/22222222222222222222222222222222-newer",
}

// The transactions by their interned, and their deployers.
var (
	simIDs       = [...]string{"aaaaaaaa", "bbbbbbbb"}
	simDeployers = [...]string{"ann@desk", "bob@desk"}
)

// simLimits makes every limit an hour of the simulated clock, so that each can
// pass before or after everything else. There is no grace: the dead-man's switch
// acts at the very instant of the last deadline.
var simLimits = Limits{Activation: time.Hour, Confirm: time.Hour, Commit: time.Hour, Rollback: time.Hour}

// simHost does what package nixos does, in the same order, with links for the
// profile and the boot loader, and switches that are processes of the model.
type simHost struct{ *process }

var _ Host = simHost{}

func (h simHost) fs() atomicfile.FS { return h.model.fs(h.process) }

func (h simHost) drives() func() {
	set := func(to bool) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.driving = to
	}
	set(true)
	return func() { set(false) }
}

func (h simHost) look() (running, link, system, boots string) {
	seen := strings.Split(h.ask(opLook, "", ""), " ")
	return seen[0], seen[1], seen[2], seen[3]
}

func (h simHost) Look(string) (string, profiles.Generation, error) {
	running, link, system, _ := h.look()
	return running, simGeneration(link, system), nil
}

func simGeneration(link, system string) profiles.Generation {
	number, _ := strconv.Atoi(strings.Split(link, "-")[1])
	return profiles.Generation{Link: link, Number: number, Path: system}
}

func (h simHost) Boots() (string, error) {
	_, _, _, boots := h.look()
	return boots, nil
}

func (h simHost) addRoot(name, system string) error {
	return atomicfile.SymlinkOn(h.fs(), system, path.Join(simRoots, name))
}

func (h simHost) removeRoot(name string) { _ = h.fs().Remove(path.Join(simRoots, name)) }

func openFile(id string) string { return path.Join(simRun, id, "open") }

func (h simHost) Arm(_ context.Context, r Record) error {
	if err := errors.Join(h.addRoot(r.ID+"-new", r.New), h.addRoot(r.ID+"-previous", r.Previous.Running)); err != nil {
		return err
	}
	if err := atomicfile.WriteOn(h.fs(), openFile(r.ID), nil, 0o600); err != nil {
		return err
	}
	if h.ask(opArm, r.ID, strconv.Itoa(int(r.DeadMan/simHour))) != "" {
		return errors.New("the timer was refused")
	}
	return nil
}

func (h simHost) Supervise(_ context.Context, r Record) error {
	if h.ask(opSupervise, r.ID, "") != "" {
		return errors.New("the start was not answered")
	}
	return nil
}

func (h simHost) Armed(_ context.Context, id string) bool {
	return h.ask(opArmed, id, "") == yes
}

// run runs a switch in a unit of its own, instead of one of an earlier attempt,
// until it ends or ctx does.
func (h simHost) run(ctx context.Context, id, role, action, system string) (int, error) {
	unit := id + "/" + role
	h.ask(opUnitStart, unit, action+" "+system)
	result := h.do(ctx, opUnitWait, unit, "")
	if exit, err := strconv.Atoi(result); err == nil {
		return exit, nil
	}
	h.ask(opUnitKill, unit, "")
	return -1, errors.New("the switch " + result)
}

func (h simHost) Activate(ctx context.Context, r Record) (int, error) {
	defer h.drives()()
	return h.run(ctx, r.ID, "activation", h.model.trial, r.New)
}

func (h simHost) NewlyFailing(context.Context, Record) ([]string, error) { return nil, nil }

func (h simHost) HoldSwitch() (func(), error) {
	if h.ask(opHoldSwitch, "", "") == busy {
		return nil, errors.New("the lock is held")
	}
	return func() { h.ask(opFreeSwitch, "", "") }, nil
}

func (h simHost) Probe(ctx context.Context, _ Record) []probe.Result {
	if h.do(ctx, opProbe, "", "") == "" {
		return []probe.Result{{Name: "site", Verdict: probe.Pass}}
	}
	return []probe.Result{{Name: "site", Verdict: probe.Fail, Policy: probe.Rollback}}
}

func (h simHost) generations() (newest int) {
	entries, _ := h.fs().ReadDir(simProfiles)
	for _, entry := range entries {
		if parts := strings.Split(entry.Name(), "-"); len(parts) == 3 && parts[0] == "system" {
			n, _ := strconv.Atoi(parts[1])
			newest = max(newest, n)
		}
	}
	return newest
}

// setProfile makes a generation, durable before the profile names it.
func (h simHost) setProfile(system string) error {
	link := fmt.Sprintf("system-%d-link", h.generations()+1)
	return errors.Join(atomicfile.SymlinkOn(h.fs(), system, path.Join(simProfiles, link)), atomicfile.SymlinkOn(h.fs(), link, simProfile))
}

func (h simHost) sync(dir string) { h.ask(opSyncDir, dir, "") }

func (h simHost) Commit(ctx context.Context, r Record) (profiles.Generation, string, error) {
	defer h.drives()()
	_, link, system, _ := h.look()
	if system != r.New {
		if err := h.setProfile(r.New); err != nil {
			return profiles.Generation{}, "", err
		}
		_, link, system, _ = h.look()
	}
	h.sync(simProfiles)
	at := simGeneration(link, system)
	exit, err := h.run(ctx, r.ID, "commit", "boot", r.New)
	if err == nil && exit != 0 {
		err = fmt.Errorf("the boot loader was not installed (exit %d)", exit)
	}
	if err != nil {
		return at, "", err
	}
	if h.model.syncBoot {
		h.sync(simBoot)
	}
	_, _, _, boots := h.look()
	if boots != r.New {
		err = fmt.Errorf("the boot loader boots %s afterwards", boots)
	}
	return at, boots, err
}

func (h simHost) Uncommit(ctx context.Context, r Record) error {
	defer h.drives()()
	if r.Action == Reboot {
		_ = h.fs().Remove(simOnce)
		h.sync(simBoot)
	}
	made := ""
	if newest := h.generations(); newest > r.Previous.Profile.Number {
		made = fmt.Sprintf("system-%d-link", newest)
	}
	if err := atomicfile.SymlinkOn(h.fs(), r.Previous.Profile.Link, simProfile); err != nil {
		return err
	}
	if made != "" {
		_ = h.fs().Remove(path.Join(simProfiles, made))
	}
	h.sync(simProfiles)
	back := r.Previous.Boots
	exit, err := h.run(ctx, r.ID, "rollback", "boot", back)
	if h.model.syncBoot {
		h.sync(simBoot)
	}
	if _, _, _, boots := h.look(); boots != back {
		return fmt.Errorf("the boot loader was not put back (exit %d): %v", exit, err)
	}
	return nil
}

func (h simHost) Restore(ctx context.Context, r Record) error {
	defer h.drives()()
	_ = h.Fence(ctx, r.ID)
	var failed error
	for range 2 {
		exit, err := h.run(ctx, r.ID, "rollback", "test", r.Previous.Running)
		if failed = err; err == nil && exit != 0 {
			failed = errors.New(ExitMeaning(exit))
		}
		if failed == nil || ctx.Err() != nil {
			break
		}
	}
	if running, _, _, _ := h.look(); running != r.Previous.Running {
		return fmt.Errorf("the host runs %s: %v", running, failed)
	}
	return nil
}

func (h simHost) Fence(_ context.Context, id string) error {
	if h.role.slot != supervisor {
		h.ask(opKill, id, "")
	}
	h.ask(opUnitKill, id, "") // one runs at most, so that it makes no difference in which order
	return nil
}

func (h simHost) Finish(_ context.Context, r Record) error {
	_ = h.fs().Remove(openFile(r.ID))
	if err := h.keepConfirmed(r); err != nil {
		return err
	}
	h.removeRoot(r.ID + "-new")
	if r.State != RollbackFailed {
		h.removeRoot(r.ID + "-previous")
	}
	if r.BootID != simClock(h).BootID() {
		return nil
	}
	if h.ask(opDisarm, r.ID, "") != "" {
		return errors.New("the timer could not be stopped")
	}
	return nil
}

func (h simHost) keepConfirmed(r Record) error {
	const last, before = "confirmed-1", "confirmed-2"
	was, _ := strings.CutPrefix(h.ask(opRead, path.Join(simRoots, last), ""), "=")
	if r.State != Committed || was == r.New {
		return nil
	}
	if was != absent {
		if err := h.addRoot(before, was); err != nil {
			return err
		}
	}
	return h.addRoot(last, r.New)
}

// simRestarter stages as package nixos does: the generation first, then the entry
// that boots once, which the loader removes when it boots it.
type simRestarter struct{ simHost }

func (h simRestarter) Stage(_ context.Context, r Record) error {
	defer h.drives()()
	if _, _, system, _ := h.look(); system != r.New {
		if err := h.setProfile(r.New); err != nil {
			return err
		}
	}
	h.sync(simProfiles)
	return atomicfile.SymlinkOn(h.fs(), r.New, simOnce)
}

func (h simRestarter) Restart(context.Context) error {
	h.ask(opReboot, "", "")
	return nil
}

func (h simRestarter) AwaitBoot(context.Context, Record) error {
	if h.ask(opProbe, "", "") != "" {
		return errors.New("a unit failed")
	}
	return nil
}

// program is what a process does from its start to its end.
func (m *model) program(p *process) error {
	e := Engine{Store: Store{Dir: simLib, Run: simRun, FS: m.fs(p)}, Clock: simClock{p}, Host: m.host(p), Log: p.log,
		Restarter: simRestarter{simHost{p}}, Prover: m.prover(p), Reboot: func(context.Context, Record) error { p.ask(opReboot, "", ""); return nil }}
	switch p.role.slot {
	case supervisor:
		return e.Supervise(p.ctx, simIDs[0])
	case deadMan:
		return e.TakeOver(p.ctx, simIDs[0], "the dead-man's switch acted")
	case annsAgent:
		return m.deploy(p, e, 0)
	case bobsAgent:
		return m.anything(p, e)
	default:
		_, _ = p.settle(e, "settle")
		return nil
	}
}

// settle is [Engine.Settle]. All that this does beyond [Engine.Resume] is to look
// at the record until it lets its caller go on; where nothing is watched, a caller
// that would wait may go on at any moment instead.
func (p *process) settle(e Engine, stage string) (waits bool, err error) {
	if p.model.plan.LastResort == Restart {
		p.enter("see")
		_ = e.See(p.ctx)
	}
	p.enter(stage)
	if p.model.watched {
		_, err := e.Settle(p.ctx)
		return false, err
	}
	r, launched, err := e.Resume(p.ctx)
	return r != nil && !r.State.Final() && (launched || r.Restarted), err
}

// anything is a second deployer, who deploys too, or knows of the first one's
// transaction and interferes.
func (m *model) anything(p *process, e Engine) error {
	switch p.ask(opDecide, "call", m.calls) {
	case "repeat": // of the first one's start, whose answer was lost
		return m.deploy(p, e, 0)
	case "confirm":
		_, _ = e.Confirm(p.ctx, simIDs[0], nil)
	case "abort":
		_, _ = e.Abort(p.ctx, simIDs[0], PersonAborted, "bob wants the old system", nil)
	default:
		return m.deploy(p, e, 1)
	}
	return nil
}

// deploy is what the agent of a deployer does: it settles, starts a transaction,
// and brings the last word. Who only watches writes nothing, so that is left out;
// the word may come at any moment, or never, which is to be killed before it.
func (m *model) deploy(p *process, e Engine, n int) error {
	waits, err := p.settle(e, fmt.Sprint("settle ", n))
	if err != nil {
		return nil
	}
	if waits {
		p.enter(fmt.Sprint("settled ", n))
		p.ask(opDecide, "go on", "now")
	}
	p.enter(fmt.Sprint("start ", n))
	id, system := simIDs[n], simSystems[n+1]
	h := simHost{p}
	running, _, _, _ := h.look()
	if err := h.addRoot(id+"-new", system); err != nil {
		return nil
	}
	plan := Plan{}
	if n == 0 {
		plan = p.model.plan
	}
	plan.ID, plan.Deployer, plan.Agent, plan.Profile, plan.New, plan.Running, plan.Limits = id, simDeployers[n], "1", "/none/system", system, running, simLimits
	_, err = e.Prepare(p.ctx, plan)
	var locked *LockedError
	if errors.As(err, &locked) && locked.Holder.ID == id {
		if locked.Holder.State.Final() {
			h.removeRoot(id + "-new")
		}
		err = nil
	}
	if errors.As(err, &locked) && n == 1 {
		p.enter("refused")
	}
	if err != nil {
		if last, loadErr := e.Store.Load(); loadErr != nil || last == nil || last.ID != id {
			h.removeRoot(id + "-new")
		}
		return nil
	}
	p.enter(fmt.Sprint("decide ", n))
	switch p.ask(opDecide, "word", "confirm abort") {
	case "confirm":
		_, _ = e.Confirm(p.ctx, id, nil)
	case "abort":
		_, _ = e.Abort(p.ctx, id, ProbeFailed, "a probe of the deployer failed", nil)
	}
	return nil
}
