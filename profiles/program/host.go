package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Host is one profile of this machine as a transaction acts on it.
type Host struct {
	Store transaction.Store
	Clock transaction.Clock
	// Program is how its closures are activated.
	Program transaction.Program
	// Link is the profile's link.
	Link  string
	owner owner
}

var (
	_ transaction.Host     = Host{}
	_ transaction.Comparer = Host{}
)

// Open finds the profile of p on this machine; store is the one of the whole
// machine, or of the user that this program runs as. path is where the profile's
// link is, empty for the place of its kind, user and name.
func Open(store transaction.Store, p transaction.Program, path string) (Host, error) {
	if err := Validate(p); err != nil {
		return Host{}, err
	}
	o, err := lookup(p.User)
	if err != nil {
		return Host{}, err
	}
	if os.Getuid() != 0 && !o.itself() {
		return Host{}, fmt.Errorf("the profile %s belongs to %s, and the agent does not run as root", p.Profile, p.User)
	}
	h := Host{Store: store.Of(p.Profile), Clock: nixos.Clock{}, Program: p, Link: path, owner: o}
	if path == "" {
		h.Link, err = link(p, o.home)
	} else if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		err = fmt.Errorf("not the path of a profile: %q", path)
	}
	return h, err
}

// Recall is the profile of a transaction that was begun.
func Recall(store transaction.Store, profile string) (Host, error) {
	if !nameForm.MatchString(profile) {
		return Host{}, fmt.Errorf("not a profile's name: %q", profile)
	}
	r, err := store.Of(profile).Load()
	if err != nil {
		return Host{}, err
	}
	if r == nil || r.Program == nil {
		return Host{}, fmt.Errorf("profile %s has no transaction", profile)
	}
	return Open(store, *r.Program, r.Profile)
}

// Engine is what drives the profile's transactions.
func (h Host) Engine(log func(transaction.Record)) transaction.Engine {
	return transaction.Engine{Store: h.Store, Clock: h.Clock, Host: h, Comparer: h, Log: log, Journal: nixos.Journal}
}

// Suits says why a closure is none of the profile's kind.
func (h Host) Suits(closure string) error {
	_, err := of(h.Program, activate, closure, h.owner.home)
	return err
}

// Lingers says whether units of the owner's own manager outlive a login.
func (h Host) Lingers() bool { return h.owner.lingers() }

// Manager starts the profile's units: PID 1, or the user's own where this program
// does not run as root. Its programs are those of what the machine runs now.
func (h Host) Manager() systemd.Manager {
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil {
		running = "/run/current-system"
	}
	m := systemd.Of(running)
	m.Own = os.Getuid() != 0
	return m
}

// Look implements [transaction.Host].
func (h Host) Look(string) (string, profiles.Generation, error) {
	at, err := profiles.Current(h.Link)
	if err != nil {
		return "", at, err
	}
	running, err := h.runs(at)
	return running, at, err
}

// Boots implements [transaction.Host]: what the profile points at is what there is
// after a boot, once whatever was in trial was taken back.
func (h Host) Boots() (string, error) {
	at, err := profiles.Current(h.Link)
	return at.Path, err
}

func service(id, role string) string { return "hdeploy-" + id + "-" + role + ".service" }

func (h Host) dir(id string) string { return filepath.Join(h.Store.Run, id) }

func (h Host) agent(id string) string { return filepath.Join(h.dir(id), "agent") }

// Arm implements [transaction.Host]: the dead-man's switch waits before anything
// changes.
func (h Host) Arm(ctx context.Context, r transaction.Record) error {
	if err := h.keep(ctx, r); err != nil {
		return err
	}
	if err := nixos.CopySelf(h.agent(r.ID)); err != nil {
		return fmt.Errorf("arm the dead-man's switch: %v", err)
	}
	h.attachResume()
	m := h.Manager()
	start, err := m.ManagerStart(ctx)
	if err != nil {
		return fmt.Errorf("arm the dead-man's switch: %v", err)
	}
	err = m.Run(ctx, systemd.Transient{
		Name:        service(r.ID, "deadman"),
		Description: "hdeploy: go back unless transaction " + r.ID + " of profile " + h.Program.Profile + " is finished",
		Command:     []string{h.agent(r.ID), "deadman", r.ID, h.Program.Profile},
		OnStartup:   nixos.Monotonic() + h.Clock.Now().Until(r.DeadMan) - start,
	})
	if err != nil {
		return fmt.Errorf("arm the dead-man's switch: %v", err)
	}
	return nil
}

// Armed implements [transaction.Host].
func (h Host) Armed(ctx context.Context, id string) bool {
	timer, svc := "hdeploy-"+id+"-deadman.timer", service(id, "deadman")
	units, err := h.Manager().Show(ctx, timer, svc)
	if err != nil {
		return false
	}
	return units[timer].Active == "active" || units[svc].Active == "active" || units[svc].Active == "activating"
}

// Supervise implements [transaction.Host].
func (h Host) Supervise(ctx context.Context, r transaction.Record) error {
	return h.Manager().Run(ctx, systemd.Transient{
		Name:         service(r.ID, "supervisor"),
		Description:  "hdeploy: transaction " + r.ID + " of profile " + h.Program.Profile,
		Command:      []string{h.agent(r.ID), "supervise", r.ID, h.Program.Profile},
		OnFailure:    service(r.ID, "deadman"),
		Asynchronous: true,
	})
}

// run runs what the kind runs to do action with closure, in a unit of its own.
func (h Host) run(ctx context.Context, r transaction.Record, p transaction.Program, action, closure string) (int, error) {
	c, err := of(p, action, closure, h.owner.home)
	if err != nil {
		return -1, err
	}
	if len(c.argv) == 0 {
		return 0, nil
	}
	m := h.Manager()
	exit, err := m.RunToEnd(ctx, systemd.Transient{
		Name:        service(r.ID, action),
		Description: fmt.Sprintf("hdeploy: %s of profile %s, transaction %s", action, p.Profile, r.ID),
		Command:     h.owner.become(m, c.argv),
		Environment: append(append(h.owner.environment(m), c.environment...), "HDEPLOY_PREVIOUS="+r.Previous.Running),
		Directory:   c.directory,
		Log:         h.Store.LogFile(r.ID),
		Public:      true,
	}, filepath.Join(h.dir(r.ID), action+".exit"))
	return exit, err
}

// Activate implements [transaction.Host].
func (h Host) Activate(ctx context.Context, r transaction.Record) (int, error) {
	if _, err := of(h.Program, activate, r.New, h.owner.home); err != nil {
		return -1, fmt.Errorf("%w: %v", transaction.ErrUntouched, err)
	}
	if err := h.begin(r.New); err != nil {
		return -1, err
	}
	return h.run(ctx, r, h.Program, activate, r.New)
}

// NewlyFailing implements [transaction.Host]. The exit code of a program says
// nothing about units.
func (h Host) NewlyFailing(context.Context, transaction.Record) ([]string, error) { return nil, nil }

// HoldSwitch implements [transaction.Host]: there is no lock that all programs take.
func (h Host) HoldSwitch() (func(), error) { return func() {}, nil }

// Probe implements [transaction.Host]: the closure's own check is one more probe.
func (h Host) Probe(ctx context.Context, r transaction.Record) []probe.Result {
	results := probe.Run(ctx, r.Probes, h.asked(r), nil)
	if len(h.Program.Check) == 0 || ctx.Err() != nil {
		return results
	}
	return append(results, h.checked(ctx, r))
}

func (h Host) checked(ctx context.Context, r transaction.Record) probe.Result {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.Confirm/2)
	defer cancel()
	begun := time.Now()
	result := probe.Result{
		Name: "check of " + h.Program.Profile, Kind: probe.KindCommand, From: probe.FromHost, Verdict: probe.Pass, Policy: probe.Rollback,
		Expected: strings.Join(h.Program.Check, " ") + " ends with exit code 0",
	}
	exit, err := h.run(ctx, r, h.Program, check, r.New)
	switch {
	case err != nil:
		result.Seen = "it did not end: " + err.Error()
	case exit != 0:
		result.Seen = fmt.Sprintf("exit code %d", exit)
	}
	if result.Seen != "" {
		result.Verdict, result.Class = probe.Fail, "exit-code"
	}
	result.Seconds = time.Since(begun).Seconds()
	return result
}

func (h Host) asked(r transaction.Record) *probe.Host {
	m := h.Manager()
	host := &probe.Host{Systemd: systemd.Manager{Bin: m.Bin}, NewSystem: strings.TrimSuffix(m.Bin, "/sw/bin")}
	if before, err := h.Store.LoadBaseline(r.ID); err == nil {
		host.Baseline = &before
	}
	return host
}

// Glance implements [transaction.Comparer].
func (h Host) Glance(ctx context.Context, r transaction.Record) []string {
	return probe.Glance(ctx, r.Probes, h.asked(r))
}

// ProbeRestored implements [transaction.Comparer].
func (h Host) ProbeRestored(ctx context.Context, r transaction.Record) []probe.Result {
	return probe.RunRestored(ctx, r.Probes, h.asked(r), r.FailedBefore)
}

// Fence implements [transaction.Host]: the supervisor goes first, so that it starts
// nothing while the rest is killed; the caller's own unit is spared.
func (h Host) Fence(ctx context.Context, id string) error {
	own, _ := os.ReadFile("/proc/self/cgroup")
	m := h.Manager()
	var failures []error
	for _, role := range []string{"supervisor", activate, check, rollback} {
		if !strings.Contains(string(own), service(id, role)) {
			failures = append(failures, m.Kill(ctx, service(id, role)))
		}
	}
	return errors.Join(failures...)
}

// Finish implements [transaction.Host].
func (h Host) Finish(ctx context.Context, r transaction.Record) error {
	var failures []error
	if r.State == transaction.Committed || r.State == transaction.RolledBack {
		failures = append(failures, h.over())
	}
	failures = append(failures, h.release(r), h.detachResume())
	h.Store.DropBaseline(r.ID)
	if r.BootID == h.Clock.BootID() {
		if err := h.Manager().Stop(ctx, "hdeploy-"+r.ID+"-deadman.timer"); err != nil {
			return errors.Join(append(failures, err)...) // its program stays, to find the transaction finished
		}
	}
	os.Remove(h.agent(r.ID))
	return errors.Join(failures...)
}
