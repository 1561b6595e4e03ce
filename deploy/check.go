package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// CheckRequest asks what a switch would meet. Of the request Hosts, Builders, Flake,
// Deployer, StateDir, Events and Log are used. Builders are all hosts that deploy.toml has.
type CheckRequest struct {
	Request
	// Build builds the systems, too, which tells whether they build, and lets be
	// judged what only the files of a system show.
	Build bool
}

// Check finds out what can be known before a deployment. Nothing is changed, and
// no lock is taken. The error is for the lack of a usable Nix; everything else is
// in the report, what can be known without a host that is not reached as well.
func Check(ctx context.Context, r CheckRequest) (Report, error) {
	r.Goal, r.Action = GoalTransact, transaction.Switch
	run, all := r.asks(commandCheck)
	defer run.close()
	if err := run.usableNix(ctx); err != nil {
		return Report{}, err
	}
	checkups := make([]*checkup, len(all))
	for i, h := range all {
		checkups[i] = &checkup{hostRun: h}
	}
	var flake []event.Finding
	besides(func() { flake = run.assess(ctx, checkups) }, func() {
		everyHost(all, atOnce, func(h *hostRun) {
			c := checkups[slices.Index(all, h)]
			c.seen, c.away = h.visit(ctx)
		})
	})
	if r.Build {
		run.buildFor(ctx, checkups)
	}
	everyHost(all, atOnce, func(h *hostRun) { checkups[slices.Index(all, h)].complete(ctx, flake) })
	return run.report(ctx, all), nil
}

// checkup is the check of one host.
type checkup struct {
	*hostRun
	seen protocol.LookResult
	// away is why the host was not looked at, evaluated why its configuration was
	// not.
	away, evaluated error
	unbuilt         *Failure
	// here says that the new system is in the store of this machine.
	here bool
}

// assess looks at the flake: its lock file, and the configurations.
func (r *run) assess(ctx context.Context, all []*checkup) []event.Finding {
	var inputs nix.Inputs
	var inputsErr error
	besides(func() { inputs, inputsErr = r.nix.Inputs(ctx, r.Flake) }, func() {
		evaluated, failures := r.evaluateAll(ctx, true)
		for _, c := range all {
			c.system, c.evaluated = evaluated[c.Name], failures[c.Name]
		}
	})
	r.lookAtTree(ctx)
	return append(lockFindings(r.Flake, inputs, inputsErr), r.treeFindings()...)
}

// buildFor builds what could be evaluated.
func (r *run) buildFor(ctx context.Context, all []*checkup) {
	var wanted []*hostRun
	for _, c := range all {
		if c.evaluated == nil && c.elsewhere() == "" {
			wanted = append(wanted, c.hostRun)
		}
	}
	r.build(ctx, wanted)
	for _, c := range all {
		c.unbuilt, c.failure = c.failure, nil
	}
}

// complete puts everything together and says how the host ended.
func (c *checkup) complete(ctx context.Context, flake []event.Finding) {
	if ctx.Err() != nil {
		c.fail(c.interruptedFailure())
		return
	}
	done := c.phase(event.Checking)
	for _, f := range flake {
		c.tell(f)
	}
	c.findSystem(ctx)
	c.configuration()
	if c.away == nil {
		c.host(ctx)
	}
	slices.SortStableFunc(c.findings, func(a, b event.Finding) int { return worse(a.Severity) - worse(b.Severity) })
	failures := c.count(event.Obstacle)
	switch {
	case c.away != nil:
		done("", errors.New("the host was not looked at"))
		c.fail(c.away)
	case failures > 0:
		done("", fmt.Errorf("%s", plural(failures, "failure")))
		c.done(NotReady, CodeProbes)
	default:
		done(plural(len(c.findings), "finding"), nil)
		c.done(Ready, CodeOK)
	}
}

func worse(s event.Severity) int {
	return slices.Index([]event.Severity{event.Obstacle, event.Warning, event.Remark}, s)
}

func (c *checkup) count(s event.Severity) int {
	n := 0
	for _, f := range c.findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

func (c *checkup) tell(f event.Finding) {
	f.Cause = capped(f.Cause)
	c.findings = append(c.findings, f)
	c.run.emit(event.Event{Type: "finding", Host: c.Name, Phase: event.Checking, Finding: &f})
}

func (c *checkup) find(s event.Severity, name, remedy, format string, args ...any) {
	c.tell(event.Finding{Name: name, Severity: s, Cause: fmt.Sprintf(format, args...), Remedy: remedy})
}

// obstacle tells what would refuse a deployment, in its words.
func (c *checkup) obstacle(err error) {
	var f *Failure
	if errors.As(err, &f) {
		c.find(event.Obstacle, f.Step, f.Next, "%v", f.Cause)
	} else if err != nil {
		c.find(event.Obstacle, "internal", "", "%v", err)
	}
}

// configuration tells what is known without the host.
func (c *checkup) configuration() {
	if c.evaluated != nil {
		c.obstacle(c.run.evaluationFailure(c.Name, c.evaluated))
		return
	}
	if c.unbuilt != nil {
		c.obstacle(c.unbuilt)
	}
	expected, err := c.expected()
	if err != nil {
		c.obstacle(err)
		return
	}
	if expected == nil {
		c.find(event.Remark, "configuration", "", "the attribute leads past the configuration, so that services and secrets cannot be judged")
		return
	}
	for _, f := range (declaration{expected: *expected, declared: c.system.Declared, built: c.builtUnits()}).findings() {
		c.tell(f)
	}
	specs, err := c.specs()
	c.obstacle(err)
	for _, s := range specs {
		if service := notConfigured(s); service != "" {
			c.find(event.Warning, "probes", "enable services."+service+", or take "+s.Name+" out of the host's probes in deploy.toml",
				"probe %s asks for a service that the configuration does not enable", s.Name)
		}
	}
	for _, f := range (agreement{host: c.Host, known: c.run.Builders, expected: *expected, declared: c.system.Declared, probes: specs}).findings() {
		c.tell(f)
	}
}

// builtUnits is the folder of the new system's units; empty where it is not built.
func (c *checkup) builtUnits() string {
	if !c.here {
		return ""
	}
	return c.system.OutPath + "/etc/systemd/system"
}

// findSystem looks whether the new system is whole in the store of this machine. The
// path of one that is being built, or whose build was killed, may be there as well.
func (c *checkup) findSystem(ctx context.Context) {
	if c.evaluated != nil || c.unbuilt != nil {
		return
	}
	if _, err := os.Stat(c.system.OutPath); err != nil {
		return
	}
	sizes, err := c.run.nix.Closure(ctx, c.system.OutPath)
	c.sizes, c.here = sizes, err == nil
}

// host tells what the host adds to that. What a switch would refuse is asked by
// the code that refuses it.
func (c *checkup) host(ctx context.Context) {
	if err := c.notOurs(c.facts); err != nil {
		c.obstacle(err)
		return
	}
	for _, check := range []func() error{c.checkState, c.checkLock, c.checkFreeze, c.checkSpace} {
		c.obstacle(check())
	}
	c.look()
	c.askHost(ctx)
	if c.evaluated != nil {
		return
	}
	c.obstacle(cmp.Or(c.checkArchitecture(), c.checkName()))
	if o := c.hostObjection(ctx); o != nil {
		c.find(event.Warning, "git tree", o.next, "%s", o.said)
	}
	if slices.Contains(c.facts.Rejected, c.system.OutPath) {
		c.find(event.Warning, "rejected", "hdeploy history "+c.Name, "this very system was rejected on the host before: %s", c.system.OutPath)
	}
	c.newSystem(ctx)
}

// look tells what the facts say beyond what refuses a switch.
func (c *checkup) look() {
	f := c.facts
	if !f.Daemon {
		c.find(event.Obstacle, "nix daemon", c.ssh("systemctl start nix-daemon.socket"), "the socket of the host's Nix daemon is not there, so that nothing can be copied")
	}
	if f.Volatile != "" {
		c.find(event.Warning, "state", "", "%s", c.volatile())
	}
	if f.Profile.Path != "" && f.Running != f.Profile.Path {
		c.find(event.Warning, "profile", "hdeploy status "+c.Name, "the host does not run its profile: it runs %s, the profile is %s", f.Running, f.Profile.Path)
	}
	switch {
	case f.BootsError != "":
		c.find(event.Warning, "boots", "", "what the host boots is not known: %s", f.BootsError)
	case f.Profile.Path != "" && f.Boots.System != f.Profile.Path:
		c.find(event.Warning, "boots", "hdeploy boot "+c.Name, "the host boots %s, which is not its profile", f.Boots.System)
	}
	if c.seen.NeedsReboot {
		c.find(event.Remark, "reboot", "hdeploy reboot "+c.Name, "the kernel that runs is not that of the running system")
	}
	if c.seen.Stale != "" {
		c.find(event.Warning, "lock", "hdeploy attach "+c.Name, "nobody works on the deployment that is under way: %s", c.seen.Stale)
	}
	if failed := sorted(c.seen.FailedUnits); len(failed) > 0 {
		c.find(event.Warning, "failed units", c.ssh("systemctl --failed"), "failed before any deployment: %s", strings.Join(failed, ", "))
	}
	if c.seen.UnitsError != "" {
		c.find(event.Warning, "failed units", c.ssh("systemctl --failed"), "which units failed is not known: %s", c.seen.UnitsError)
	}
	if len(c.Probes) == 0 {
		c.find(event.Remark, "probes", `probes = ["no-new-failed-units"]`, "the host has no probes in deploy.toml: a switch keeps every system that can be reached")
	}
	c.find(event.Remark, "host", "", "generation %d on %s; free: store %s, /boot %s; boot id %s", f.Profile.Number, capped(f.Hostname),
		humanize.IBytes(f.FreeStore), humanize.IBytes(f.FreeBoot), capped(f.BootID))
}

// askHost asks what only the host can see. Files are looked at there, and never
// read.
func (c *checkup) askHost(ctx context.Context) {
	ask := protocol.CheckRequest{Units: []string{herculesUnit}}
	if token := c.tokenFile(); token != "" {
		ask.Files = []string{token}
	}
	ctx, cancel := context.WithTimeout(ctx, answerSlack)
	defer cancel()
	result, err := c.agent.Check(ctx, ask)
	if err != nil {
		c.obstacle(c.connectionFailure("check", err))
		return
	}
	for _, file := range result.Files {
		if f := tokenFinding(file, c.ssh); f != nil {
			c.tell(*f)
		}
	}
	if result.Broken != "" {
		c.find(event.Obstacle, "way back", c.ssh("nix-store --verify --check-contents --repair"), "the running system could not be gone back to: %s", result.Broken)
	}
	if !result.Rooted {
		c.find(event.Warning, "way back", "hdeploy push "+c.Name+", or a switch, makes a root", "nothing keeps the running system from being collected: %s", c.facts.Running)
	}
	if n := result.Processes[herculesUnit]; n > 0 {
		c.find(event.Warning, "tasks", "wait until the agent is idle; see its page on hercules-ci.com",
			"the Hercules CI agent is at work (%s beside the agent): a switch that restarts it kills what it does", plural(n, "process"))
	}
}

const herculesUnit = "hercules-ci-agent.service"

// tokenFile is where the new configuration expects OpNix's token.
func (c *checkup) tokenFile() string {
	expected, err := c.expected()
	if err != nil || expected == nil || expected.Services.OnePassword == nil || !expected.Services.OnePassword.Enable {
		return ""
	}
	return expected.Services.OnePassword.TokenFile
}

// expected is what the evaluated configuration says of services; nil where there is
// none.
func (c *checkup) expected() (*nix.Expectations, error) {
	return readExpectations(c.system.Expectations)
}

// tokenFinding judges the token's file by what it looks like from outside.
func tokenFinding(s protocol.FileState, ssh func(string) string) *event.Finding {
	remedy := ssh("opnix token set -path " + s.Path)
	f := event.Finding{Name: "token", Severity: event.Obstacle, Remedy: remedy}
	switch {
	case s.Error != "":
		f.Cause = fmt.Sprintf("the token file %s cannot be looked at: %s", s.Path, s.Error)
	case !s.Exists:
		f.Cause = fmt.Sprintf("the token file %s does not exist: OpNix would fetch nothing and say that all is well", s.Path)
	case !s.Regular:
		f.Cause = fmt.Sprintf("the token file %s is not a file", s.Path)
	case s.Empty:
		f.Cause = fmt.Sprintf("the token file %s is empty: OpNix would fail", s.Path)
	case s.Mode&0o007 != 0 || s.Mode&0o020 != 0:
		f.Cause = fmt.Sprintf("the token file %s is open to others: mode %04o", s.Path, s.Mode)
		f.Remedy = ssh("chmod 0640 " + s.Path)
	case s.UID != 0:
		f.Cause = fmt.Sprintf("the token file %s does not belong to root but to user id %d", s.Path, s.UID)
		f.Remedy = ssh("chown root " + s.Path)
	default:
		return nil
	}
	return &f
}

// newSystem judges the new system's files, where they are here.
func (c *checkup) newSystem(ctx context.Context) {
	if where := c.elsewhere(); !c.here && where != "" {
		c.find(event.Remark, "build", "hdeploy switch --dry-run "+c.Name, "the system is built on %s: whether it builds, fits, and can be switched to is not known", where)
		return
	}
	if !c.here {
		c.find(event.Remark, "build", "hdeploy check --build "+c.Name, "the system is not built here yet: whether it builds, fits, and can be switched to is not known")
		return
	}
	for _, check := range []func() error{c.checkSystem, c.checkBootRoom, func() error { return c.checkRoom(ctx) }} {
		c.obstacle(check())
	}
	for _, unit := range c.restartLast() {
		if why := restartedAnyway(c.system.OutPath, unit); why != "" {
			c.find(event.Warning, "restart", restartRemedy, "%s", why)
		}
	}
	if c.bootInstead != "" {
		c.find(event.Remark, "judge", "", "it would be booted, not switched to: %s", c.bootInstead)
	}
	if c.system.OutPath != c.facts.Running && c.needsReboot() {
		c.find(event.Remark, "reboot", "", "the new system has another kernel, which runs after a reboot")
	}
}
