//go:build lab

package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/lab/deployer"
)

const (
	// hostName is what every host is called in deploy.toml, flakeDir where the
	// workstation has the flake of all systems.
	hostName = "probed"
	flakeDir = "/root/flake"

	// caseLimit is more than any case takes with the real windows.
	caseLimit = 20 * time.Minute

	// usualTimeouts leave a loaded machine room to activate; a host that hangs does
	// not hang for long.
	usualTimeouts = `{ activation = "40s", confirm = "20s", commit = "40s", rollback = "60s", grace = "5s", connect = "10s" }`
)

// trial is a case on its way.
type trial struct {
	probeCase
	windows windows
	host    *lab.Host
	// dir is the deployer's directory in the workstation.
	dir string
	run *deployer.Run
	log string
}

// system is what is deployed: the case's knobs with those that the windows give.
func (w windows) system(revision string, knobs settings) (settings, error) {
	all := settings{"loader": lab.GRUB, "setHostName": false, "revision": revision}
	text, err := json.Marshal(knobs)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(w.expand(string(text))), &all); err != nil {
		return nil, err
	}
	if hercules, ok := all["hercules"].(map[string]any); ok {
		short := map[string]any{"restartSec": json.Number(w["restart"]), "restarterDelay": json.Number(w["delay"]),
			"handshake": json.Number(w["handshake"]), "pause": json.Number(w["pause"])}
		maps.Copy(short, hercules)
		all["hercules"] = short
	}
	return all, nil
}

// attribute names a system in the flake; the same system has the same name in all cases.
func attribute(system settings) string {
	text, _ := json.Marshal(system)
	sum := fnv.New64a()
	_, _ = sum.Write(text)
	return fmt.Sprintf("s%x", sum.Sum64())
}

// systems are the one that the case begins with, if any, and the one that it judges.
func (c probeCase) systems(w windows) (since, judged settings, err error) {
	if c.since != nil {
		if since, err = w.system("since", c.since); err != nil {
			return nil, nil, err
		}
	}
	if c.system == nil {
		return since, since, nil
	}
	judged, err = w.system("judged", c.system)
	return since, judged, err
}

// inventory is the deploy.toml for a system.
func (t *trial) inventory(system settings, probes string) string {
	timeouts, names := t.timeouts, "[]"
	if timeouts == "" {
		timeouts = usualTimeouts
	}
	if probes != "" {
		quoted, _ := json.Marshal(t.names())
		names = string(quoted)
	}
	return fmt.Sprintf("flake = %q\n\n[hosts.%s]\naddress = %q\nhost_keys = [%q]\nattribute = \"nixosConfigurations.%s.config.system.build.toplevel\"\ntimeouts = %s\nprobes = %s\n\n%s\n",
		flakeDir, hostName, t.host.Address, t.host.HostKey(), attribute(system), timeouts, names,
		strings.NewReplacer("@address@", t.host.Address, "@host@", t.host.Name).Replace(t.windows.expand(probes)))
}

// deploy starts hdeploy.
func (t *trial) deploy(ctx context.Context, name string, system settings, probes string) (*deployer.Run, error) {
	file := t.dir + "/" + name + ".toml"
	if err := workstation.WriteFile(ctx, file, []byte(t.inventory(system, probes)), 0o600); err != nil {
		return nil, err
	}
	return deployer.Start(ctx, workstation, deployer.Options{Dir: t.dir, State: t.dir + "/state", Config: file}, "switch", hostName)
}

// judge takes the case from a fresh host to its end. waits is called once the host does
// little more than wait. The error is what is wrong.
func (t *trial) judge(ctx context.Context, waits func()) error {
	ctx, cancel := context.WithTimeout(ctx, caseLimit)
	defer cancel()
	since, judged, err := t.systems(t.windows)
	if err != nil {
		return err
	}
	if err := t.prepare(ctx, since); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if t.run, err = t.deploy(ctx, "judged", judged, t.probes); err != nil {
		return err
	}
	if err := t.meanwhile(ctx, waits); err != nil {
		return fmt.Errorf("meanwhile: %w", err)
	}
	if err := t.run.Wait(ctx); err != nil {
		return err
	}
	return t.compare()
}

// prepare brings the host to where the deployment begins.
func (t *trial) prepare(ctx context.Context, since settings) error {
	if err := settle(ctx, t.host); err != nil {
		return err
	}
	if since != nil {
		first, err := t.deploy(ctx, "since", since, "")
		if err != nil {
			return err
		}
		t.run = first
		if err := first.Wait(ctx); err != nil {
			return err
		}
		if first.Code() != 0 {
			return errors.New("the system to begin with was not deployed")
		}
		if err := settle(ctx, t.host); err != nil {
			return err
		}
	}
	if t.before == nil {
		return nil
	}
	return t.before(ctx, t.host)
}

// settle waits until a host starts nothing more, and the agent's restarter is done.
func settle(ctx context.Context, h *lab.Host) error {
	_, err := on(ctx, h, `timeout 60 systemctl is-system-running --wait || systemctl is-system-running | grep -q degraded
for _ in $(seq 200); do
  [ "$(systemctl show -P ActiveState hercules-ci-agent-restarter.service)" = activating ] || exit 0
  sleep 0.2
done
exit 1`)
	return err
}

// meanwhile does what the case does while its new system is judged.
func (t *trial) meanwhile(ctx context.Context, waits func()) error {
	err := t.run.Await(ctx, "its probes", func(e event.Event) bool {
		return e.Phase == event.Verify && e.Step != nil && e.Step.Status == event.Started
	})
	select {
	case <-t.run.Ended: // there was nothing to judge, or no time
		return nil
	default:
	}
	if err != nil {
		return err
	}
	waits()
	if t.during == nil {
		return nil
	}
	return t.during(ctx, t.host)
}

// codes are the exit codes that belong to the words.
var codes = map[string]int{"committed": 0, "unchanged": 0, "degraded": 9, "rolled-back": 7, "rollback-failed": 8, "refused": 5}

// compare says what is not as wanted.
func (t *trial) compare() error {
	outcome := t.run.Outcome()
	if outcome == nil {
		return errors.New("no outcome is told")
	}
	var wrong []error
	expect := func(what, wanted, got string) {
		if wanted != got {
			wrong = append(wrong, fmt.Errorf("%s: wanted %q, got %q", what, wanted, got))
		}
	}
	says := func(what, word, text string) {
		if !strings.Contains(text, word) {
			wrong = append(wrong, fmt.Errorf("%s: wanted a word of %q, got %q", what, word, text))
		}
	}
	expect("outcome", t.outcome, outcome.Outcome)
	if code, known := codes[t.outcome]; known {
		expect("exit code", fmt.Sprint(code), fmt.Sprint(t.run.Code()))
	}
	if t.cause != "" {
		cause := ""
		if outcome.Failure != nil {
			cause = outcome.Failure.Cause
		}
		says("cause", t.cause, cause)
	}
	told := t.told()
	for _, a := range t.answers() {
		got := told[a.probe]
		expect(a.probe+": verdict", a.verdict, got.Verdict)
		if !slices.Contains(strings.Split(a.class, "|"), got.Class) {
			expect(a.probe+": class", a.class, got.Class)
		}
		says(a.probe+": seen", a.seen, got.Seen)
		says(a.probe+": note", a.note, strings.Join(append([]string{got.Evidence}, got.Notes...), "; "))
		says(a.probe+": hint", a.hint, got.Hint)
	}
	if len(t.answers()) == 0 {
		expect("probes asked", "0", fmt.Sprint(len(told)))
	}
	return errors.Join(wrong...)
}

// told are the answers of the probes about the new system, by name.
func (t *trial) told() map[string]event.Probe {
	answers := map[string]event.Probe{}
	for _, e := range t.run.Events() {
		if e.Probe != nil && !e.Probe.AfterRollback {
			answers[e.Probe.Name] = *e.Probe
		}
	}
	return answers
}

// verdicts is what was told, in a line.
func (t *trial) verdicts() string {
	var words []string
	told := t.told()
	for _, a := range t.answers() {
		got := told[a.probe]
		words = append(words, strings.TrimSpace(got.Verdict+" "+got.Class))
	}
	if outcome := t.run.Outcome(); outcome != nil {
		words = append([]string{outcome.Outcome}, words...)
	}
	return strings.Join(words, ", ")
}

// leave switches the host off. What is on a host of a wrong case is kept as text.
func (t *trial) leave(wrong bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if t.run != nil {
		_ = t.run.Kill()
	}
	if wrong && t.host.Running() {
		result, err := t.host.Exec(ctx, "sh", "-c", "journalctl -o short-monotonic --no-pager -n 120 | cut -c1-220; cut -c1-3000 /var/lib/hdeploy/transaction.json")
		t.log = fmt.Sprintf("%s%s%v", result.Stdout, result.Stderr, err)
	}
	_ = t.host.PowerCut(ctx)
}
