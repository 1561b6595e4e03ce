//go:build lab

package matrix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/lab/deployer"
)

// look prints what the invariants speak of, as lines of a name and its value.
const look = `
echo "running $(readlink -f /run/current-system)"
echo "profile $(readlink -f /nix/var/nix/profiles/system)"
echo "marker $(cat /run/lab-marker)"
echo "revision $(cat /run/current-system/etc/lab/revision)"
echo "etc $(readlink -f /etc/systemd/system)"
echo "units $(readlink -f /run/current-system/etc/systemd/system)"
echo "target $(systemctl is-active multi-user.target sshd.service dbus.socket lab-marker.service | tr '\n' ' ')"
echo "failed $(systemctl list-units --all --failed --plain --no-legend | sed 's/ .*//' | tr '\n' ' ')"
left() {
  systemctl list-units --all --plain --no-legend 'hdeploy-*' | sed 's/ .*//'
  find /run/systemd/system /run/systemd/transient -name '*hdeploy-*'
  find /run/hdeploy -name agent
  find /run/nixos -name '*-list'
  find /nix/var/nix/gcroots/hdeploy -type l ! -name 'confirmed-*'
  for l in /run/nixos/switch-to-configuration.lock /run/hdeploy/lock; do
    [ ! -e "$l" ] || flock -n "$l" true || echo "locked $l"
  done
}
echo "left $(left 2>/dev/null | tr '\n' ' ')"
journalctl -o cat --no-pager -u 'hdeploy-*' | sed -n 's/^transaction \([a-z0-9]*\) by [^:]*: \([a-z-]*\), new system.*/said \1 \2/p'
exit 0
`

// look asks the host. "said" is every state that the journal tells, in its order.
func (c *cell) look(ctx context.Context) (map[string]string, error) {
	out, err := c.on(ctx, look)
	if err != nil {
		return nil, err
	}
	seen := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		if name == "said" {
			value = seen["said"] + value + "\n"
		}
		seen[name] = value
	}
	return seen, nil
}

// judge checks the invariants.
func (c *cell) judge(ctx context.Context, restarted bool) error {
	// After a restart the following switch shows it.
	if !restarted {
		if err := c.reachable(ctx); err != nil {
			return err
		}
	}
	seen, err := c.look(ctx)
	if err != nil {
		return err
	}
	r := c.record()
	if !restarted && r != nil {
		c.ended = r.State
	}
	failures := []error{c.judgeSystem(seen, r, restarted), c.judgeRecord(seen, r, restarted), c.judgeJournal(seen, r)}
	if !restarted {
		failures = append(failures, c.judgeDeployers(seen, r))
	}
	return errors.Join(failures...)
}

// reachable logs in as somebody who comes to look would.
func (c *cell) reachable(ctx context.Context) error {
	// sshd punishes an address whose connections broke, for a few seconds.
	const patience = 40 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		result, err := workstation.Exec(ctx, "ssh", "-q", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", "root@"+c.host.Address, "true")
		if err == nil && result.Code == 0 {
			return nil
		}
		if pause(ctx, time.Second) != nil {
			return fmt.Errorf("the host cannot be reached: code %d, %v", result.Code, err)
		}
	}
}

// judgeSystem: the host runs exactly the old or exactly the new system, and after
// a restart one that was confirmed.
func (c *cell) judgeSystem(seen map[string]string, r *record, restarted bool) error {
	running := seen["running"]
	var failures []error
	known := []string{c.old, c.want}
	if c.third != "" {
		known = append(known, c.third)
	}
	if !slices.Contains(known, running) {
		failures = append(failures, fmt.Errorf("it runs %s, which is neither the old nor the new system", running))
	}
	if restarted && running == c.want && (r == nil || r.CommitBy == 0) {
		failures = append(failures, fmt.Errorf("it boots the new system, which nobody confirmed: %+v", r))
	}
	broken := !restarted && c.fault.allows.wayBackGone && r != nil && r.State == "rollback-failed"
	supersededHalf := !restarted && c.third != "" && r != nil && r.State == "superseded"
	if broken || supersededHalf {
		return errors.Join(failures...)
	}
	if seen["marker"] != seen["revision"] || seen["etc"] != seen["units"] {
		failures = append(failures, fmt.Errorf("it is not exactly %s: marker %q of revision %q, units of %s, not of %s",
			running, seen["marker"], seen["revision"], seen["etc"], seen["units"]))
	}
	if seen["target"] != "active active active active" {
		failures = append(failures, fmt.Errorf("multi-user.target, sshd, the socket of D-Bus and lab-marker are %s", seen["target"]))
	}
	if seen["failed"] != "" && (restarted || seen["failed"] != c.fault.allows.failed) {
		failures = append(failures, fmt.Errorf("units have failed: %s", seen["failed"]))
	}
	return errors.Join(failures...)
}

// judgeRecord: what the host's record says is so.
func (c *cell) judgeRecord(seen map[string]string, r *record, restarted bool) error {
	if r == nil {
		if seen["running"] != c.old && c.third == "" {
			return errors.New("there is no record, and the new system runs")
		}
		return nil
	}
	running, profile := seen["running"], seen["profile"]
	switch r.State {
	case "committed":
		if running != r.New || profile != r.New {
			if c.third != "" && (running == c.third || profile == c.third) {
				return nil // switched after the end
			}
			return fmt.Errorf("the record says committed; %s runs and %s is the profile, not %s", running, profile, r.New)
		}
	case "rolled-back":
		if running != r.Previous.Running || profile != r.Previous.Running {
			if c.third != "" && (running == c.third || profile == c.third) {
				return nil
			}
			return fmt.Errorf("the record says rolled back; %s runs and %s is the profile, not %s", running, profile, r.Previous.Running)
		}
	case "superseded":
		if c.third == "" {
			return fmt.Errorf("the record says superseded, and nobody else switched: %s", r.Reason)
		}
	case "rollback-failed":
		if !c.fault.allows.wayBackGone {
			return fmt.Errorf("the rollback failed: %s", r.Reason)
		}
	default:
		// Nobody has looked since: the next one finds the old system, or a commit
		// to finish.
		if running != c.old && running != c.third && !restarted && !(c.rebooted && r.CommitBy != 0) {
			return fmt.Errorf("the record says %s, and the new system runs", r.State)
		}
	}
	return nil
}

// judgeJournal: the journal tells one end of the transaction at most, and it is
// what the host is seen to have come to.
func (c *cell) judgeJournal(seen map[string]string, r *record) error {
	if r == nil {
		return nil
	}
	told := ""
	for line := range strings.Lines(seen["said"]) {
		id, state, _ := strings.Cut(strings.TrimSpace(line), " ")
		if id != r.ID || !final(state) {
			continue
		}
		if told != "" && told != state {
			return fmt.Errorf("the journal says %s and %s", told, state)
		}
		told = state
	}
	// A record that could not be written is behind after a restart, and open.
	if told != "" && told != r.State && r.final() {
		return fmt.Errorf("the journal says %s, the record %s", told, r.State)
	}
	// The agent that abandons a transaction that did not start has no journal.
	if told == "" && r.final() && !c.fault.allows.quiet && r.State != "rolled-back" {
		return fmt.Errorf("the journal does not say that the transaction is %s", r.State)
	}
	running := seen["running"]
	if c.third == "" && (told == "committed" && running != r.New || told == "rolled-back" && running != r.Previous.Running) {
		return fmt.Errorf("the journal says %s, and %s runs", told, running)
	}
	return nil
}

// judgeDeployers: what a deployer that survived says is so.
func (c *cell) judgeDeployers(seen map[string]string, r *record) error {
	var failures []error
	if c.first.Code() < 128 {
		failures = append(failures, c.judgeDeployer(c.first, c.want, seen, r))
	}
	if c.second != nil {
		failures = append(failures, c.judgeDeployer(c.second, c.third, seen, r))
	}
	return errors.Join(failures...)
}

func (c *cell) judgeDeployer(d *deployer.Run, want string, seen map[string]string, r *record) error {
	allowed := append([]int{0, 7}, c.fault.codes...)
	if c.step.stage <= preparing {
		allowed = append(allowed, 4, 5, 6)
	}
	if !slices.Contains(allowed, d.Code()) {
		return fmt.Errorf("the deployer ended with code %d; allowed are %v", d.Code(), allowed)
	}
	o := d.Outcome()
	if o == nil || o.Code != d.Code() {
		return fmt.Errorf("the deployer's code is %d, its outcome %+v", d.Code(), o)
	}
	running := seen["running"]
	// With somebody else on the host the other one may have come later.
	is := func(system string) bool { return running == system || c.third != "" && running != want }
	switch d.Code() {
	case 0:
		if !is(want) || c.third == "" && (r == nil || r.State != "committed") {
			return fmt.Errorf("the deployer says committed; the host runs %s, and its record is %+v", running, r)
		}
	case 7:
		if !is(c.old) || c.third == "" && (r == nil || r.State != "rolled-back") {
			return fmt.Errorf("the deployer says rolled back; the host runs %s, and its record is %+v", running, r)
		}
	case 4, 5, 6:
		if running == want && c.third == "" || r != nil && r.New == want && r.State == "committed" && c.second == nil {
			return fmt.Errorf("the deployer says that nothing was changed (%d); the host runs %s, and its record is %+v", d.Code(), running, r)
		}
	}
	return nil
}
