package probe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What the agent prints (severity is in the text: to journald all is the same).
const (
	agentOnline     = "Agent online."
	agentRecovering = "Recovering from exception in socket handler"
	taskStarted     = "Starting task"
)

// Lines that are worth telling although the agent goes on.
func agentWarnings() []string {
	return []string{"unknown kind", "did not configure any caches", "trusted-user", "Failed to check whether session token matches"}
}

func taskEnds() []string {
	return []string{"Completed task successfully", "Completed failed task", "Exception in task", "Exceptional status in task"}
}

// agentLog is what the journal holds of one invocation.
type agentLog struct {
	// begun says that it holds how the invocation began, selfTest that its
	// ExecStartPre= failed.
	begun, selfTest bool
	// online and trouble are the instants, in µs, of the line that says online and
	// of the last trouble; zero for none.
	online, trouble int64
	// lines are the last of the processes, afterTrouble those from the last trouble on.
	lines, afterTrouble []string
}

func (l *agentLog) add(e entry) {
	if e.pid1 {
		l.begun = l.begun || e.messageID == messageStarting || e.messageID == messageStarted
		l.selfTest = l.selfTest || e.messageID == messageExited && strings.Contains(e.message, "Control process exited")
		return
	}
	switch {
	case strings.Contains(e.message, agentOnline):
		l.online = max(e.monotonic, 1)
	case strings.Contains(e.message, agentRecovering):
		l.trouble, l.afterTrouble = max(e.monotonic, 1), nil
	}
	if l.trouble > 0 && len(l.afterTrouble) < 8 {
		l.afterTrouble = append(l.afterTrouble, e.message)
	}
	l.lines = append(l.lines, e.message)
}

// log reads the end of an invocation, and its beginning where the end does not
// reach back to "Agent online.".
func (v *agentVisit) log(ctx context.Context, invocation string) (agentLog, error) {
	var l agentLog
	if invocation == "" {
		return l, nil
	}
	j := journal{v.host.Systemd}
	err := j.read(ctx, func(e entry) bool { l.add(e); return true }, append([]string{"--lines=500"}, ofInvocation(invocation)...)...)
	if err != nil || l.begun || l.online > 0 {
		return l, err
	}
	var head agentLog
	err = j.read(ctx, func(e entry) bool {
		head.add(e)
		return head.online == 0 // it is said once: not reading on spares weeks
	}, ofInvocation(invocation)...)
	l.begun, l.online = head.begun, head.online
	return l, err
}

// running judges an agent whose process is there.
func (v *agentVisit) running(ctx context.Context) {
	v.restarts(ctx)
	if u := v.units[v.restarter()]; u.Active == "activating" || u.Job != 0 {
		v.add(fail("not-ready", agentExpected, u.ID+" is about to restart it, since its files were touched").try("systemctl status " + u.ID))
		return
	}
	v.restarterRefused(ctx)
	log, err := v.log(ctx, v.unit.Invocation)
	if err != nil {
		v.add(unread(err))
		return
	}
	v.warn(log)
	v.speaks(ctx, log)
}

func unread(err error) finding {
	return unknown("journal", agentExpected, "the journal could not be read").because(err.Error())
}

// warn notes what the agent itself warned of.
func (v *agentVisit) warn(log agentLog) {
	for _, warning := range agentWarnings() {
		for _, line := range log.lines {
			if strings.Contains(line, warning) {
				v.note("the agent says: %s", said(line))
				break
			}
		}
	}
}

// said is a line of the agent's without the fields before it.
func said(line string) string {
	if i := strings.LastIndex(line, "] "); i >= 0 && strings.HasPrefix(line, "[") {
		return line[i+2:]
	}
	return line
}

// speaks judges by the agent's own account of this invocation, then by its
// connection: "Agent online." says that it tries, not that it was accepted.
func (v *agentVisit) speaks(ctx context.Context, log agentLog) {
	now, online := monotonic(), log.online
	if online == 0 && !log.begun {
		if v.host.Baseline != nil && !v.host.Baseline.untouched(v.unit) {
			v.add(unknown("journal", agentExpected, "the journal does not hold the agent's start").because(describe(v.unit)))
			return
		}
		// An agent that has run for weeks may be older than its journal.
		online = max(v.unit.ActiveEnter, 1)
		v.note("the journal no longer holds the agent's start")
	}
	quiet := time.Duration(now-max(online, log.trouble)) * time.Microsecond
	seen := fmt.Sprintf("%s, online for %s", describe(v.unit), (time.Duration(now-online) * time.Microsecond).Round(time.Second))
	switch {
	case log.trouble > 0 && quiet < max(v.Quiet, time.Nanosecond):
		v.add(v.cause(ctx, "socket", "the connection to the service breaks again and again", log.afterTrouble))
	case online == 0:
		v.add(v.cause(ctx, "not-online", "it has not said that it is online", log.lines))
	case quiet < v.Quiet:
		v.add(fail("not-ready", agentExpected, seen).because(fmt.Sprintf("it must be quiet for %s", v.Quiet)).try(v.readLog()))
	default:
		v.connected(ctx, log, seen)
	}
}

// connected wants a connection of the agent's own to the service.
func (v *agentVisit) connected(ctx context.Context, log agentLog, seen string) {
	if log.online > 0 {
		v.session()
	}
	n, err := v.connections(ctx)
	switch {
	case err != nil:
		v.add(unknown("sockets", agentExpected, "the agent's connections could not be read").because(err.Error()))
		return
	case n == 0 && log.trouble > 0:
		// It waits before it tries again, perhaps for longer than it must be quiet.
		v.add(v.cause(ctx, "socket", seen+", but its connection to the service broke and is not back", log.afterTrouble))
		return
	case n == 0:
		v.add(v.cause(ctx, "no-connection", seen+", but no connection to the service is open", nil))
		return
	}
	v.killedTasks(ctx)
	v.askService(ctx)
	v.add(pass(agentExpected, fmt.Sprintf("%s, connected to the service", seen)))
}

func (v *agentVisit) connections(ctx context.Context) (int, error) {
	address, _ := v.apiAddress()
	port := portOf(address)
	return ownedConnections(ctx, cmp.Or(v.host.groups, groupRoot), v.unit.ControlGroup, port)
}

// down judges a unit that does not run.
func (v *agentVisit) down(ctx context.Context) {
	u := v.unit
	switch {
	case !u.Failing() && u.Active == "activating":
		// Its self-test asks the service, and may wait long for one that is away.
		log, _ := v.log(ctx, u.Invocation)
		v.add(v.cause(ctx, "hung", describe(u)+": it is being started", log.lines))
	case !u.Failing() && u.Job != 0:
		v.add(fail("hung", agentExpected, describe(u)).because("it waits for another unit").try("systemctl list-jobs"))
	case u.Failing() || u.Result != "success":
		v.crashed(ctx)
	default:
		v.add(fail("state", agentExpected, describe(u)).try("systemctl start " + u.ID))
	}
}

// crashed judges an agent that died, or whose self-test did. systemd waits
// RestartSec=120 before it tries again, all the while "activating": the cause
// tells at once whether that can help.
func (v *agentVisit) crashed(ctx context.Context) {
	log, _ := v.log(ctx, v.unit.Invocation) // without it the unit's state must do
	class := "crash"
	if log.selfTest {
		class = "self-test"
	}
	f := v.cause(ctx, class, describe(v.unit), log.lines)
	if f.verdict == Fail {
		f = f.surely(v.busy() == "" && v.newerThan(v.unit.StateChange) == "")
	}
	v.add(f)
}

// runsSince is how the unit was started since the baseline.
type runsSince struct {
	// automatic are the instants, in µs, of systemd's own restarts after failures,
	// others those of starts for any other reason.
	automatic, others []int64
}

// messageExited is the MESSAGE_ID of "Main process exited" and "Control process exited".
const messageExited = "98e322203f7a4ed290d09fe03c09fe15"

// runs reads PID 1's records of restarts and starts. The cursor only saves
// reading, as in restarts of the journal.
func (v *agentVisit) runs(ctx context.Context) (runsSince, error) {
	var r runsSince
	args := append(v.sinceBaseline(), "_PID=1", "MESSAGE_ID="+messageStarted, "MESSAGE_ID="+messageRestart, "UNIT="+v.unit.ID)
	automatic := false
	err := journal{v.host.Systemd}.read(ctx, func(e entry) bool {
		switch {
		case e.monotonic <= v.host.Baseline.Monotonic:
		case e.messageID == messageRestart:
			automatic = true
			r.automatic = append(r.automatic, e.monotonic)
		case automatic:
			automatic = false
		default:
			r.others = append(r.others, e.monotonic)
		}
		return true
	}, args...)
	return r, err
}

func (v *agentVisit) sinceBaseline() []string {
	args := []string{"--boot"}
	if cursor := v.host.Baseline.JournalCursor; cursor != "" {
		args = append(args, "--cursor="+cursor)
	}
	return args
}

// restarts wants no automatic restart since the baseline, unless its cause was
// remote or is mended, and at most one other start after the activation. The
// unit's own counter is not enough: a restart by hand sets it to zero.
func (v *agentVisit) restarts(ctx context.Context) {
	b := v.host.Baseline
	if b == nil {
		return
	}
	runs, err := v.runs(ctx)
	if err != nil {
		v.add(unread(err))
		return
	}
	before := b.Units[v.unit.ID]
	if n := b.restartsOf(v.unit); n > 0 && len(runs.automatic) == 0 {
		v.add(v.looping(n, "NRestarts grew, although the journal has no record"))
	}
	if n := len(runs.automatic); n > 0 && !(n == 1 && before.Failing()) {
		v.automatic(ctx, runs.automatic)
	}
	v.otherStarts(runs.others)
}

func (v *agentVisit) looping(n int, evidence string) finding {
	return fail("crash-loop", agentExpected, fmt.Sprintf("systemd restarted it %d times after a failure since the trial began", n)).
		because(evidence).try(v.readLog()).surely(true)
}

// automatic judges systemd's own restarts by the cause of the last.
func (v *agentVisit) automatic(ctx context.Context, at []int64) {
	last := at[len(at)-1]
	lines, err := v.linesUntil(ctx, last)
	if err != nil {
		v.add(unread(err))
		return
	}
	evidence := ""
	if len(lines) > 0 {
		evidence = lines[len(lines)-1]
	}
	if line, ok := match(agentRemote, lines); ok && !refusedOrLocal(lines) {
		v.note("automatic restarts by systemd: %d, after: %s", len(at), said(line))
		return
	}
	if file := v.newerThan(last - 2*time.Minute.Microseconds()); file != "" && len(at) == 1 && localLine(lines) {
		v.note("systemd restarted it once; %s was written meanwhile", file)
		return
	}
	v.add(v.looping(len(at), evidence))
}

func refusedOrLocal(lines []string) bool {
	_, refused := match(agentRefused, lines)
	return refused || localLine(lines)
}

func localLine(lines []string) bool {
	_, local := match(agentLocal, lines)
	return local
}

// linesUntil are the last lines of the unit's processes between the baseline and
// an instant: what a run that ended there said, whatever its invocation was.
func (v *agentVisit) linesUntil(ctx context.Context, until int64) ([]string, error) {
	var lines []string
	err := journal{v.host.Systemd}.read(ctx, func(e entry) bool {
		if e.monotonic > until {
			return false
		}
		if e.monotonic > v.host.Baseline.Monotonic && !e.pid1 {
			lines = append(lines, e.message)
		}
		return true
	}, append(v.sinceBaseline(), "_SYSTEMD_UNIT="+v.unit.ID)...)
	return lines[max(0, len(lines)-20):], err
}

// otherStarts permits one start after the activation, soon or by the restarter.
func (v *agentVisit) otherStarts(at []int64) {
	began := v.settled - v.Settle.Microseconds()
	at = slices.DeleteFunc(slices.Clone(at), func(t int64) bool { return t <= began })
	if len(at) == 0 {
		return
	}
	late := at[len(at)-1] > began+v.LateRestart.Microseconds() && !v.byRestarter(at[len(at)-1])
	if len(at) > 1 || late {
		v.add(fail("restarts", agentExpected, fmt.Sprintf("it was started %d times more, the last time %s after the activation",
			len(at), (time.Duration(at[len(at)-1]-began)*time.Microsecond).Round(time.Second))).
			because("none of it was systemd's own restart after a failure").try("what touches its files? journalctl -u " + v.restarter()))
		return
	}
	v.note("it was restarted once after the activation, as its path unit does")
}

func (v *agentVisit) byRestarter(at int64) bool {
	u := v.units[v.restarter()]
	const slack = int64(5 * time.Second / time.Microsecond)
	return u.ExecStart > 0 && u.ExecStart <= at && at <= u.StateChange+slack
}

// restarterRefused tells of files that the agent could not start with, while the
// one that runs has older ones in memory.
func (v *agentVisit) restarterRefused(ctx context.Context) {
	u := v.units[v.restarter()]
	b := v.host.Baseline
	if u.Invocation == "" || b == nil || b.untouched(u) || u.ExecStart <= b.Monotonic {
		return
	}
	log, err := v.log(ctx, u.Invocation)
	if err != nil {
		return // the agent's own journal is read next
	}
	if slices.ContainsFunc(log.lines, func(line string) bool { return strings.Contains(line, "config is not valid") }) {
		v.add(v.cause(ctx, "self-test", u.ID+" did not restart it: the self-test with its present files failed", log.lines))
	}
}

// killedTasks notes the tasks that the deployment broke off.
func (v *agentVisit) killedTasks(ctx context.Context) {
	b := v.host.Baseline
	if b == nil || b.untouched(v.unit) || b.Units[v.unit.ID].Invocation == "" {
		return
	}
	running := 0
	err := journal{v.host.Systemd}.read(ctx, func(e entry) bool {
		switch {
		case strings.Contains(e.message, taskStarted):
			running++
		case slices.ContainsFunc(taskEnds(), func(end string) bool { return strings.Contains(e.message, end) }):
			running = max(running-1, 0)
		}
		return true
	}, "--lines=500", "_SYSTEMD_INVOCATION_ID="+b.Units[v.unit.ID].Invocation)
	if err == nil && running > 0 {
		v.note("the restart of the agent broke off what it worked on: tasks: %d", running)
	}
}
