// Package systemd drives a host's systemd through its own programs, called by
// absolute path under a given toplevel.
//
// It keeps three things true: nothing is looked up in PATH, which on NixOS
// holds little; every call ends at its context's deadline; and what systemd
// prints is parsed into values or refused, never matched as loose text. As
// root, systemctl and systemd-run speak to PID 1 over its private socket, so
// that none of this needs a working D-Bus daemon.
package systemd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// outputLimit caps what is kept of a program's output.
const outputLimit = 8 << 20

// Manager is the system manager of this host, spoken to with the programs of
// one toplevel.
type Manager struct {
	// Bin is the directory of the programs, for instance
	// /nix/store/…-nixos-system-web1/sw/bin.
	Bin string
	// Own is set for the manager of the user that this program runs as; otherwise it
	// is PID 1.
	Own bool
}

// Of returns the manager as the programs of toplevel see it.
func Of(toplevel string) Manager {
	return Manager{Bin: filepath.Join(toplevel, "sw/bin")}
}

// Env is the environment for programs of this toplevel: an explicit PATH and
// the C locale, and nothing of the caller's.
func (m Manager) Env() []string {
	env := []string{"PATH=" + m.Bin + ":/run/wrappers/bin", "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
	if !m.Own {
		return append(env, "HOME=/root")
	}
	return append(env, "HOME="+os.Getenv("HOME"), "XDG_RUNTIME_DIR="+RuntimeDir())
}

// Output runs one of the toplevel's programs and returns its standard output.
// The error holds the first line of standard error.
func (m Manager) Output(ctx context.Context, program string, args ...string) ([]byte, error) {
	if m.Own && strings.HasPrefix(program, "system") {
		args = append([]string{"--user"}, args...)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(m.Bin, program), args...)
	cmd.Env = m.Env()
	cmd.WaitDelay = time.Second
	var stdout, stderr capped
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said, _, _ := strings.Cut(strings.TrimSpace(stderr.kept.String()), "\n")
		if said == "" {
			return stdout.kept.Bytes(), fmt.Errorf("run %s %s: %w", program, first(args), err)
		}
		return stdout.kept.Bytes(), fmt.Errorf("run %s %s: %w: %s", program, first(args), err, said)
	}
	return stdout.kept.Bytes(), nil
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// capped keeps the first outputLimit bytes and swallows the rest. The buffer is
// not embedded, since its ReadFrom would pass the cap by.
type capped struct{ kept bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := outputLimit - c.kept.Len(); room > 0 {
		c.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// Unit is the state of one unit as `systemctl show` tells it.
type Unit struct {
	ID           string `json:"id"`
	Load         string `json:"load"`
	Active       string `json:"active"`
	Sub          string `json:"sub"`
	Result       string `json:"result,omitempty"`
	Invocation   string `json:"invocation,omitempty"`
	Restarts     int    `json:"restarts,omitempty"`
	MainPID      int    `json:"main_pid,omitempty"`
	ExitStatus   int    `json:"exit_status,omitempty"`
	FileState    string `json:"file_state,omitempty"`
	ControlGroup string `json:"control_group,omitempty"`
	Fragment     string `json:"fragment,omitempty"`
	// Names are the id and the aliases.
	Names []string `json:"-"`
	// After, Wants and Requires are the names the unit orders itself after, wants
	// and requires, whether those units exist or not.
	After    []string `json:"-"`
	Wants    []string `json:"-"`
	Requires []string `json:"-"`
	// TriggeredBy are the timers, paths and sockets that start it.
	TriggeredBy []string `json:"-"`
	// Type is Type= of a service.
	Type string `json:"-"`
	// ConditionFailed says that the last start was skipped since a condition of the
	// unit was not met.
	ConditionFailed bool `json:"-"`
	// RefusesStart says that only other units start it.
	RefusesStart bool `json:"-"`
	// Job is the id of a queued job, zero for none.
	Job int `json:"job,omitempty"`
	// StateChange, ActiveEnter, and the start and the exit of the main process are
	// instants of CLOCK_MONOTONIC in µs, the last ones there were; zero for never.
	StateChange int64 `json:"-"`
	ActiveEnter int64 `json:"-"`
	ExecStart   int64 `json:"-"`
	ExecExit    int64 `json:"-"`
}

// Failing says whether the unit is failed, or waits to be restarted after a
// failure; switch-to-configuration counts both as failed.
func (u Unit) Failing() bool {
	return u.Active == "failed" || u.Active == "activating" && u.Sub == "auto-restart" && u.Result != "success"
}

const properties = "Id,Names,Type,TriggeredBy,ConditionResult,ConditionTimestampMonotonic,ExecMainExitTimestampMonotonic,LoadState,ActiveState,SubState,Result,InvocationID,NRestarts,MainPID,ExecMainStatus,UnitFileState,ControlGroup,FragmentPath,After,Wants,Requires,Job,RefuseManualStart,StateChangeTimestampMonotonic,ActiveEnterTimestampMonotonic,ExecMainStartTimestampMonotonic"

// Show returns the named units by their ids; an alias comes back under the name
// of the unit it stands for. A unit that does not exist is returned with Load
// "not-found". Names may be glob patterns.
func (m Manager) Show(ctx context.Context, names ...string) (map[string]Unit, error) {
	args := append([]string{"show", "--all", "--property=" + properties, "--"}, names...)
	out, err := m.Output(ctx, "systemctl", args...)
	if err != nil {
		return nil, fmt.Errorf("show units: %v", err)
	}
	return parseShow(out), nil
}

// List returns every unit that is loaded, with its id and its load, active and sub
// state alone: one message of PID 1, where showing all properties of all units
// costs it a good part of a second.
func (m Manager) List(ctx context.Context) (map[string]Unit, error) {
	out, err := m.Output(ctx, "systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return nil, fmt.Errorf("list units: %v", err)
	}
	units := map[string]Unit{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 4 {
			units[f[0]] = Unit{ID: f[0], Load: f[1], Active: f[2], Sub: f[3]}
		}
	}
	return units, nil
}

// All returns every unit that is loaded; the services that are not inactive, and
// whatever failed, with all that Show tells of them.
func (m Manager) All(ctx context.Context) (map[string]Unit, error) {
	units, err := m.List(ctx)
	if err != nil {
		return nil, err
	}
	var lively []string
	for id, u := range units {
		if strings.HasSuffix(id, ".service") && u.Active != "inactive" || u.Active == "failed" {
			lively = append(lively, id)
		}
	}
	if len(lively) == 0 {
		return units, nil
	}
	shown, err := m.Show(ctx, lively...)
	if err != nil {
		return nil, err
	}
	maps.Copy(units, shown)
	return units, nil
}

// parseShow reads the KEY=value blocks of `systemctl show`.
func parseShow(out []byte) map[string]Unit {
	units := map[string]Unit{}
	for block := range strings.SplitSeq(string(out), "\n\n") {
		u := parseBlock(block)
		if u.ID != "" {
			units[u.ID] = u
		}
	}
	return units
}

func parseBlock(block string) Unit {
	var u Unit
	var conditionMet, conditionChecked bool
	for line := range strings.SplitSeq(block, "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "Names":
			u.Names = strings.Fields(value)
		case "TriggeredBy":
			u.TriggeredBy = strings.Fields(value)
		case "Type":
			u.Type = value
		case "ConditionResult":
			conditionMet = value == "yes"
		case "ConditionTimestampMonotonic":
			conditionChecked = value != "" && value != "0"
		case "ExecMainExitTimestampMonotonic":
			u.ExecExit, _ = strconv.ParseInt(value, 10, 64)
		case "Id":
			u.ID = value
		case "LoadState":
			u.Load = value
		case "ActiveState":
			u.Active = value
		case "SubState":
			u.Sub = value
		case "Result":
			u.Result = value
		case "InvocationID":
			u.Invocation = value
		case "NRestarts":
			u.Restarts, _ = strconv.Atoi(value)
		case "MainPID":
			u.MainPID, _ = strconv.Atoi(value)
		case "ExecMainStatus":
			u.ExitStatus, _ = strconv.Atoi(value)
		case "UnitFileState":
			u.FileState = value
		case "ControlGroup":
			u.ControlGroup = value
		case "FragmentPath":
			u.Fragment = value
		case "After":
			u.After = strings.Fields(value)
		case "Wants":
			u.Wants = strings.Fields(value)
		case "Requires":
			u.Requires = strings.Fields(value)
		case "RefuseManualStart":
			u.RefusesStart = value == "yes"
		case "Job":
			u.Job, _ = strconv.Atoi(value)
		case "StateChangeTimestampMonotonic":
			u.StateChange, _ = strconv.ParseInt(value, 10, 64)
		case "ActiveEnterTimestampMonotonic":
			u.ActiveEnter, _ = strconv.ParseInt(value, 10, 64)
		case "ExecMainStartTimestampMonotonic":
			u.ExecStart, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	u.ConditionFailed = conditionChecked && !conditionMet
	return u
}

// ManagerStart is the instant of CLOCK_MONOTONIC, since its epoch, at which the
// manager began; the base of OnStartupSec= in timers.
func (m Manager) ManagerStart(ctx context.Context) (time.Duration, error) {
	out, err := m.Output(ctx, "systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value")
	if err != nil {
		return 0, fmt.Errorf("read the manager's start: %v", err)
	}
	µs, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the manager's start: %v", err)
	}
	return time.Duration(µs) * time.Microsecond, nil
}

// Job is one queued job.
type Job struct {
	ID                int
	Unit, Type, State string
}

// Jobs lists the queued jobs.
func (m Manager) Jobs(ctx context.Context) ([]Job, error) {
	out, err := m.Output(ctx, "systemctl", "list-jobs", "--plain", "--no-legend", "--full")
	if err != nil {
		return nil, fmt.Errorf("list jobs: %v", err)
	}
	var jobs []Job
	for line := range strings.SplitSeq(string(out), "\n") {
		f := strings.Fields(line)
		if len(f) != 4 {
			continue
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			continue
		}
		jobs = append(jobs, Job{ID: id, Unit: f[1], Type: f[2], State: f[3]})
	}
	return jobs, nil
}

// Cancel removes queued jobs. Jobs that are gone by now are no error.
func (m Manager) Cancel(ctx context.Context, jobs []Job) error {
	if len(jobs) == 0 {
		return nil
	}
	args := []string{"cancel"}
	for _, j := range jobs {
		args = append(args, strconv.Itoa(j.ID))
	}
	_, err := m.Output(ctx, "systemctl", args...)
	return err
}

// Start queues the start of units without waiting for it.
func (m Manager) Start(ctx context.Context, units ...string) error {
	_, err := m.Output(ctx, "systemctl", append([]string{"start", "--no-block", "--"}, units...)...)
	return err
}

// Stop stops units. Units that do not exist are no error.
func (m Manager) Stop(ctx context.Context, units ...string) error {
	_, err := m.Output(ctx, "systemctl", append([]string{"stop", "--"}, units...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 5 { // LSB: not installed
		return nil
	}
	return err
}

// Transient is a unit made at run time.
type Transient struct {
	// Name is the unit's name with its suffix.
	Name string
	// Command is the absolute path of the program and its arguments.
	Command []string
	// OnStartup is the offset from [Manager.ManagerStart] at which a timer of
	// the same name starts the unit; zero starts it at once.
	OnStartup time.Duration
	// OnFailure names the unit that is started when this one fails.
	OnFailure   string
	Description string
	Environment []string
	// Log is the file that standard output and error are appended to; empty for
	// the journal.
	Log string
	// KillAfter is how long the unit may run before PID 1 kills it; zero for no
	// limit.
	KillAfter time.Duration
	// Public gives new files the mode that a login's would have, as what a switch
	// calls may expect; otherwise they are private.
	Public bool
	// StopPost is a command line, as a unit file has it, that PID 1 runs when the
	// unit has ended, however it ended. Its failure is none of the unit's.
	StopPost string
	// Directory is the working directory, / if empty.
	Directory string
	// Asynchronous does not wait until the program was executed.
	Asynchronous bool
}

func (t Transient) umask() string {
	if t.Public {
		return "0022"
	}
	return "0077"
}

// survive holds what keeps a unit alive through everything an activation can do
// to the system: a failed mount isolates emergency.target, and either of the
// first two alone does not protect from that.
var survive = []string{
	"DefaultDependencies=no",
	"IgnoreOnIsolate=yes",
	"Conflicts=shutdown.target",
	"Before=shutdown.target",
}

// Run creates and starts a transient unit, or its timer, and returns when PID 1
// has taken it; it does not wait for the unit's end.
func (m Manager) Run(ctx context.Context, t Transient) error {
	args := []string{"--quiet", "--collect", "--no-ask-password", "--unit=" + t.Name, "--service-type=exec", "--description=" + t.Description}
	for _, p := range survive {
		args = append(args, "--property="+p)
	}
	args = append(args,
		"--property=KillMode=control-group", "--property=TimeoutStopSec=5",
		"--property=OOMScoreAdjust=-900", "--property=WorkingDirectory="+cmp.Or(t.Directory, "/"), "--property=UMask="+t.umask(),
		"--setenv=PATH="+m.Bin+":/run/wrappers/bin")
	if !m.Own {
		args = append(args, "--setenv=HOME=/root")
	}
	for _, e := range t.Environment {
		args = append(args, "--setenv="+e)
	}
	if t.Log != "" {
		args = append(args, "--property=StandardOutput=append:"+t.Log, "--property=StandardError=append:"+t.Log)
	}
	if t.OnFailure != "" {
		args = append(args, "--property=OnFailure="+t.OnFailure)
	}
	if t.StopPost != "" {
		args = append(args, "--property=ExecStopPost=-"+t.StopPost)
	}
	if t.KillAfter > 0 {
		args = append(args, "--property=RuntimeMaxSec="+seconds(t.KillAfter))
	}
	if t.Asynchronous {
		args = append(args, "--no-block")
	}
	if t.OnStartup > 0 {
		args = append(args, "--on-startup="+seconds(t.OnStartup), "--timer-property=AccuracySec=100ms")
		for _, p := range survive {
			args = append(args, "--timer-property="+p)
		}
	}
	args = append(append(args, "--"), t.Command...)
	if _, err := m.Output(ctx, "systemd-run", args...); err != nil {
		return fmt.Errorf("start %s: %v", t.Name, err)
	}
	return nil
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 6, 64)
}

// cgroupRoot is where the unified hierarchy is mounted.
const cgroupRoot = "/sys/fs/cgroup"

// Kill kills everything in the control group of a system service and waits
// until it is empty. It goes through the kernel and not through PID 1, which may
// be busy or not answer; a unit whose main process died can still have children,
// and only the empty group shows that none of them acts any more.
func Kill(ctx context.Context, service string) error { return Manager{}.Kill(ctx, service) }

// Kill is [Kill] for a service of this manager.
func (m Manager) Kill(ctx context.Context, service string) error {
	return killGroup(ctx, m.group(service))
}

// group is the control group of a service that says nothing about its slice.
func (m Manager) group(service string) string {
	if !m.Own {
		return filepath.Join(cgroupRoot, "system.slice", service)
	}
	uid := os.Getuid()
	return filepath.Join(cgroupRoot, "user.slice", fmt.Sprintf("user-%d.slice/user@%d.service/app.slice", uid, uid), service)
}

// KillGroup is [Kill] for a control group as the manager names it, for instance
// "/system.slice/foo.service".
func KillGroup(ctx context.Context, group string) error {
	return killGroup(ctx, filepath.Join(cgroupRoot, filepath.Clean("/"+group)))
}

func killGroup(ctx context.Context, group string) error {
	if group == cgroupRoot {
		return errors.New("kill control group: the root is not one to kill")
	}
	for {
		populated, err := isPopulated(group)
		if err != nil || !populated {
			return err
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0); err != nil && !gone(err) {
			return fmt.Errorf("kill control group %s: %v", group, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill control group %s: %w", group, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func isPopulated(group string) (bool, error) {
	events, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read control group %s: %v", group, err)
	}
	return bytes.Contains(events, []byte("populated 1")), nil
}
