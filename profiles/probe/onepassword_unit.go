package probe

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

const opnixDone = "OpNix's unit is active/exited with success"

// judgeUnit judges the state of the unit and how its last run ended.
func (in *inquiry) judgeUnit(ctx context.Context) {
	u := in.unit
	waits := u.Active == "activating" && u.Sub == "auto-restart"
	switch {
	case !waits && (u.Job != 0 || u.Active == "activating"):
		in.judgeRunning(ctx)
	case u.Active == "active" && u.Sub == "exited" && u.Result == "success" && u.ExitStatus == 0:
		in.judgeRun(ctx)
	case u.Failing() || u.Result != "success":
		in.judgeFault(ctx)
	default:
		in.found = append(in.found, fail("state", opnixDone, describe(u)).try("systemctl start "+u.ID))
	}
}

// freshRun is for how long a run that systemd began by itself, after one that
// failed, is taken for a further attempt rather than for one that hangs.
const freshRun = 20 * time.Second

// judgeRunning tells a unit that does not end from one that failed and is just
// being tried again: OpNix 0.8 does that every 30 seconds, without end.
func (in *inquiry) judgeRunning(ctx context.Context) {
	u := in.unit
	if u.Restarts > 0 && u.ExecStart > monotonic()-freshRun.Microseconds() {
		in.judgeFault(ctx)
		return
	}
	hint, evidence := "hung", redact(in.lastWords(ctx, u))
	waiting := in.waitingConsumers(ctx)
	if strings.Contains(evidence, "INFO: Restarting service") || len(waiting) > 0 {
		hint = "deadlock"
	}
	if len(waiting) > 0 {
		evidence = strings.TrimPrefix(evidence+"; ", "; ") + "queued: " + strings.Join(waiting, ", ")
	}
	in.found = append(in.found, fail("hung", opnixDone, describe(u)).because(evidence).try(in.hint(hint)))
}

// waitingConsumers are the jobs of units that wait for this one to end.
func (in *inquiry) waitingConsumers(ctx context.Context) []string {
	jobs, err := in.host.Systemd.Jobs(ctx)
	if err != nil {
		return nil
	}
	consumers := in.spec.consumers()
	var waiting []string
	for _, j := range jobs {
		if j.State == "waiting" && slices.Contains(consumers, j.Unit) {
			waiting = append(waiting, fmt.Sprintf("%s %s %s", j.Unit, j.Type, j.State))
		}
	}
	return waiting
}

func (in *inquiry) judgeFault(ctx context.Context) {
	u := in.unit
	class, line := in.opnixFault(ctx, u)
	hint := in.hint(class)
	switch {
	case in.host.Baseline.failedToo(u) && !in.isNewFault(ctx, class):
		in.brokenBefore, in.ranBefore = true, true
		in.found = append(in.found, failedBefore(opnixDone, u, line).try(hint))
	case isRemoteFault(class):
		in.found = append(in.found, unknown(class, opnixDone, describe(u)).because(line).try(hint))
	default:
		in.found = append(in.found, fail(class, opnixDone, describe(u)).because(line).try(hint))
	}
}

// isNewFault says that what fails now cannot be what failed before: OpNix looks up all
// owners first, so that a run that came as far as 1Password had found them.
func (in *inquiry) isNewFault(ctx context.Context, class string) bool {
	before := in.host.Baseline.Units[in.unit.ID]
	if class != "unknown-owner" || before.Invocation == "" || before.Invocation == in.unit.Invocation {
		return false
	}
	before.Restarts = 0 // only that very run is asked about
	was, _ := in.opnixFault(ctx, before)
	return isRemoteFault(was) || was == "auth" || was == "missing-reference"
}

var processed = regexp.MustCompile(`Successfully processed (\d{1,6}) secrets`)

// judgeRun reads what a run wrote that ended well: without a token it only warns.
func (in *inquiry) judgeRun(ctx context.Context) {
	u := in.unit
	if u.Invocation == "" {
		return
	}
	var warning, actions string
	var counts []int
	err := journal{in.host.Systemd}.read(ctx, func(e entry) bool {
		if strings.Contains(e.message, "WARNING: Token file") {
			warning = e.message
		}
		if strings.Contains(e.message, "WARNING: Some service actions failed") {
			actions = e.message
		}
		if m := processed.FindStringSubmatch(e.message); m != nil {
			n, _ := strconv.Atoi(m[1]) // at most six digits
			counts = append(counts, n)
		}
		return true
	}, "_SYSTEMD_INVOCATION_ID="+u.Invocation)
	const expected = "OpNix had a token"
	switch {
	case err != nil:
		in.found = append(in.found, unknown("journal", expected, "the journal could not be read").because(err.Error()))
	case warning != "" && in.ranBefore:
		in.brokenBefore = true
		in.found = append(in.found, failedBefore(expected, u, redact(warning)).try(in.hint("no-token")))
	case warning != "":
		in.found = append(in.found, fail("no-token", expected, "it had none and fetched nothing, but ended with success").
			because(redact(warning)).try(in.hint("no-token")))
	default:
		in.succeeded = true
	}
	if actions != "" {
		in.note(actions)
	}
	if declared := len(in.spec.Secrets); len(counts) == 1 && declared > 0 && in.spec.ConfigFiles == 0 && counts[0] != declared {
		in.note(fmt.Sprintf("OpNix processed %d secrets, %d are declared", counts[0], declared))
	}
}

// judgeFreshness wants a unit whose text the trial changed to have run since: what
// is on the disk is otherwise what the old text asked for. One that was not changed
// is not run again, and need not be.
func (in *inquiry) judgeFreshness(changed bool) {
	u, b := in.unit, in.host.Baseline
	if b == nil || u.Active != "active" {
		return
	}
	early := b.sameBoot() && u.ExecStart > 0 && u.ExecStart <= b.Monotonic
	switch {
	case changed && (b.untouched(u) || early):
		in.found = append(in.found, fail("stale", u.ID+" ran again, since its text changed", "it last ran before this trial").
			because("invocation "+u.Invocation).try("systemctl restart "+u.ID))
	case b.untouched(u):
		in.note("the unit was not run again in this trial: its text did not change")
	}
}

// consumers are the units that use secrets, without duplicates.
func (o *OnePasswordSpec) consumers() []string {
	var names []string
	for _, s := range o.Secrets {
		for _, service := range s.Services {
			names = append(names, asUnit(service))
		}
	}
	for _, service := range o.Services {
		names = append(names, asUnit(service))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// judgeConsumers wants every unit that uses a secret to be there, to start after
// OpNix's and to pull it in: an order on a unit that does not exist orders nothing.
func (in *inquiry) judgeConsumers(ctx context.Context) error {
	for _, name := range in.spec.consumers() {
		consumer, answered := in.known[name]
		if !answered { // an alias
			alone, err := in.host.Systemd.Show(ctx, name)
			if err != nil {
				return err
			}
			consumer, _ = named(alone, name)
		}
		if f := in.orderFlaw(name, consumer); f.found() {
			in.found = append(in.found, f.finding())
		}
	}
	return nil
}

func (in *inquiry) orderFlaw(name string, consumer systemd.Unit) flaw {
	id := in.unit.ID
	option := "systemd.services." + strings.TrimSuffix(name, ".service")
	switch {
	case consumer.Load != "loaded":
		return flaw{"ordering", name + " is loaded, since a secret's `services` names it", describe(systemd.Unit{ID: name, Load: loadOf(consumer)}),
			"correct services.onepassword-secrets.secrets.*.services: OpNix gives every name in it a unit, though nothing to run"}
	case !slices.Contains(consumer.After, id):
		return flaw{"ordering", name + " starts after " + id, "it is not ordered after it" + in.dangling(consumer), "add " + option + `.after = [ "` + id + `" ]`}
	case !slices.Contains(consumer.Wants, id) && !slices.Contains(consumer.Requires, id):
		return flaw{"ordering", name + " wants " + id, "it neither wants nor requires it" + in.dangling(consumer), "add " + option + `.wants = [ "` + id + `" ]`}
	}
	return flaw{}
}

// dangling tells which name without a unit somebody wrote instead of the right one.
func (in *inquiry) dangling(u systemd.Unit) string {
	for _, name := range in.spec.names() {
		if other, answered := in.known[name]; answered && other.Load == "not-found" && namesUnit(u, name) {
			return ", but names " + name + ", which does not exist"
		}
	}
	return ""
}

// aliasHint makes a name that does not exist true where a unit's configuration has
// it; empty where none has.
func (in *inquiry) aliasHint() string {
	for _, name := range append(in.spec.consumers(), agentUnit) {
		for _, wrong := range in.spec.names() {
			if other, answered := in.known[wrong]; answered && other.Load == "not-found" && namesUnit(in.known[name], wrong) {
				return "systemd.services." + strings.TrimSuffix(in.unit.ID, ".service") + `.aliases = [ "` + wrong + `" ], or write ` + in.unit.ID + " instead"
			}
		}
	}
	return ""
}

// noteUnits tells what is odd about the units and harms nothing by itself.
func (in *inquiry) noteUnits() {
	consumers := in.spec.consumers()
	names := append(slices.Clone(consumers), agentUnit)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if text := in.dangling(in.known[name]); text != "" {
			in.note(name + strings.Replace(text, ", but", "", 1) + "; OpNix's unit is " + in.unit.ID)
		}
	}
	if w := in.known[opnixWatcher]; w.Load == "loaded" && w.Active != "active" {
		in.note(describe(w) + ": services are not restarted when secrets change; systemctl start " + opnixWatcher)
	}
	if in.spec.ConfigFiles > 0 {
		in.note(fmt.Sprintf("%d of services.onepassword-secrets.configFiles declare secrets that are not judged", in.spec.ConfigFiles))
	}
	if version := opnixOlder(in.spec.Version, in.opnixText()); version != "" && len(consumers) > 0 {
		in.note("OpNix " + version + " waits for the restart of services that wait for it, and may hang for ever when their secrets change; update it to 0.10.1 or later")
	}
}

// opnixText is the text of the unit that OpNix's module made; empty where somebody
// else made it.
func (in *inquiry) opnixText() string {
	if in.unit.ID != onePasswordUnits()[0] {
		return ""
	}
	return readUnitText(in.unit)
}

// opnixOlder says which OpNix it is if it is one that deadlocks, from the version or,
// where that is not known, from the unit's text; empty for one that does not, or
// that cannot be told. The package of 0.8.0 calls itself 0.7.0.
func opnixOlder(version, text string) string {
	if version == "" {
		if text != "" && strings.Contains(text, "Restart=on-failure") && !strings.Contains(text, "RestartPreventExitStatus=") {
			return "before 0.10"
		}
		return ""
	}
	var number [3]int
	for i, part := range strings.SplitN(version, ".", 3) {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return ""
		}
		number[i] = n
	}
	if slices.Compare(number[:], []int{0, 10, 1}) < 0 {
		return version
	}
	return ""
}
