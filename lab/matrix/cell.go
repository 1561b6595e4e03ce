//go:build lab

// Package matrix breaks deployments at every step in every way and looks what
// became of the host: faults × steps, each cell on a real host.
//
// Whatever the cell, the host is reachable afterwards, runs exactly the old or
// exactly the new system, boots a confirmed one, its record and its journal tell
// the truth, the deployer that survived told it too, and the next deployment
// works. A cell of which that cannot be shown is lost.
package matrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/lab/deployer"
)

// hostName is what every host is called in deploy.toml.
const hostName = "matrix"

// timeouts make a host that waits in vain go back soon, and leave a loaded
// machine room for a switch, which takes about a second on an idle one.
const timeouts = `{ activation = "8s", confirm = "5s", commit = "8s", rollback = "40s", grace = "2s", connect = "4s" }`

const (
	// hostLimit is more than all of these and the longest probe together.
	hostLimit = 120 * time.Second
	// reachLimit bounds the way to a step, a first copy included.
	reachLimit = 60 * time.Second
	// injectLimit bounds a fault itself.
	injectLimit = 60 * time.Second
	// deployerLimit is more than any deployer may take: beyond the host's own
	// deadlines it asks for another minute and a half what became of it.
	deployerLimit = 300 * time.Second
	// cellLimit bounds a cell as a whole.
	cellLimit = 10 * time.Minute
)

// cell is one fault at one step, on a host of its own.
type cell struct {
	name  string
	step  step
	fault fault

	host *lab.Host
	// giveWay gives the cell's place to another one, once.
	giveWay func()
	// dir is the deployer's directory in the workstation, toml what is added to
	// its deploy.toml for the first deployment.
	dir, toml string
	// old runs and boots before, want is deployed; other is a third system in the
	// host's store, and third the one that the fault brings in, if any.
	old, want, other, third string

	first, second *deployer.Run
	// rebooted says that the host was restarted by the fault.
	rebooted bool
	// ended is the state of the record at the end, log what the host told of it.
	ended, log string
}

func (c *cell) loader() string { return c.host.Loader() }

// flavour is the system that is deployed in this cell.
func (c *cell) flavour() flavour {
	if c.fault.system != "" {
		return c.fault.system
	}
	return c.step.system
}

// inventory is the deploy.toml for one deployment.
func (c *cell) inventory(system flavour) string {
	attribute := attributeOf(system, c.loader())
	if c.fault.collectable && system == c.flavour() {
		attribute = collectable(c.name)
	}
	probes := ""
	toml := ""
	if system != after {
		toml = c.toml
		if strings.Contains(toml, "[probes.held]") {
			probes = "probes = [\"held\"]\n"
		}
	}
	return fmt.Sprintf("flake = %q\n\n[hosts.%s]\naddress = %q\nhost_keys = [%q]\nattribute = \"nixosConfigurations.%s.config.system.build.toplevel\"\ntimeouts = %s\n%s%s",
		flakeDir, hostName, c.host.Address, c.host.HostKey(), attribute, timeouts, probes, toml)
}

// deploy starts `hdeploy switch` to the flavour with the deploy.toml that stands
// in the cell's directory as name.
func (c *cell) deploy(ctx context.Context, name string, system flavour) (*deployer.Run, error) {
	file := fmt.Sprintf("%s/%s.toml", c.dir, name)
	if err := workstation.WriteFile(ctx, file, []byte(c.inventory(system)), 0o600); err != nil {
		return nil, err
	}
	options := deployer.Options{Dir: c.dir, State: c.dir + "/" + name, Config: file}
	return deployer.Start(ctx, workstation, options, "switch", hostName)
}

// on runs a shell script as root on the host and returns what it printed.
func (c *cell) on(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, injectLimit)
	defer cancel()
	result, err := c.host.Exec(ctx, "sh", "-c", script)
	if err != nil {
		return "", err
	}
	if result.Code != 0 {
		return "", fmt.Errorf("run %.80q on the host: code %d: %s%s", script, result.Code, result.Stdout, result.Stderr)
	}
	return strings.TrimSpace(result.Stdout), nil
}

// tolerant is on for a host that may be off, or on its way.
func (c *cell) tolerant(ctx context.Context, script string) error {
	if !c.host.Running() {
		return nil
	}
	if _, err := c.on(ctx, script); err != nil && c.host.Running() {
		return err
	}
	return nil
}

func (c *cell) write(ctx context.Context, name, text string, mode os.FileMode) error {
	return c.host.WriteFile(ctx, name, []byte(text), mode)
}

// hold closes a gate for a system.
func (c *cell) hold(ctx context.Context, gate, system string) error {
	return c.write(ctx, gates+gate, system+"\n", 0o644)
}

func (c *cell) remove(ctx context.Context, file string) error {
	return c.tolerant(ctx, "rm -f "+file)
}

// gateScript is what units and wrapped programs wait in. Its gate holds any
// system, or while one is the current system.
const gateScript = `while read -r held 2>/dev/null <"/run/lab/gates/$1"; do
  [ "$held" = any ] || [ "$held" = "$(/usr/bin/readlink -f /run/current-system)" ] || exit 0
  : >"/run/lab/gates/$1.reached"
  /usr/bin/sleep 0.02
done
exit 0
`

// root is the host's root directory as this machine sees it; for plain paths
// only, since links would lead out of it.
func (c *cell) root() string { return fmt.Sprintf("/proc/%d/root", c.host.LeaderPID()) }

// await polls what only this side needs to look at.
func (c *cell) await(ctx context.Context, what string, is func() bool) error {
	var last <-chan time.Time
	for !is() {
		select {
		case <-c.first.Ended:
			// What the host does last it does after its answer.
			if last == nil {
				last = time.After(5 * time.Second)
			}
		case <-last:
			return fmt.Errorf("%w with code %d before %s", errEnded, c.first.Code(), what)
		default:
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
	}
	return nil
}

func (c *cell) awaitFile(ctx context.Context, name string) error {
	file := c.root() + name
	return c.await(ctx, name, func() bool {
		_, err := os.Stat(file)
		return err == nil
	})
}

// connected says whether a connection to the host's sshd is open.
func (c *cell) connected() bool {
	for _, table := range []string{"tcp", "tcp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", c.host.LeaderPID(), table))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			// Local port 22, state established; see proc(5).
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], ":0016") && f[3] == "01" {
				return true
			}
		}
	}
	return false
}

// record is the part of the host's record that is looked at from outside.
type record struct {
	Sequence uint64 `json:"sequence"`
	ID       string `json:"id"`
	State    string `json:"state"`
	New      string `json:"new"`
	Judged   bool   `json:"judged"`
	CommitBy int64  `json:"commit_by"`
	Reason   string `json:"reason"`
	Previous struct {
		Running string `json:"running"`
	} `json:"previous"`
}

func (r *record) final() bool { return final(r.State) }

func final(state string) bool {
	switch state {
	case "committed", "rolled-back", "rollback-failed", "superseded":
		return true
	}
	return false
}

// record is the newer of the two copies; nil where there is none.
func (c *cell) record() *record {
	var newest *record
	for _, file := range []string{"/var/lib/hdeploy/transaction.json", "/run/hdeploy/transaction.json"} {
		data, err := os.ReadFile(c.root() + file)
		var r record
		if err != nil || json.Unmarshal(data, &r) != nil {
			continue
		}
		if newest == nil || r.Sequence > newest.Sequence {
			newest = &r
		}
	}
	return newest
}

// attended says whether anything of hdeploy's is left on the host that could
// act by itself: its transient units have their files as long as they exist.
func (c *cell) attended() bool {
	found, _ := filepath.Glob(c.root() + "/run/systemd/transient/hdeploy-*")
	return len(found) > 0
}

// hostEnds waits until nothing is on its way on the host any more.
func (c *cell) hostEnds(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	for calm := 0; calm < 3; {
		r := c.record()
		over := (r == nil || r.final()) && !c.attended()
		abandoned := r != nil && !r.final() && (c.rebooted || r.State == "prepared") && !c.attended()
		if over || abandoned {
			calm++
		} else {
			calm = 0
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the end of the transaction on the host, which is %+v: %w", r, err)
		}
	}
	return nil
}

// boot switches the host on and waits until nothing is being started any more.
func (c *cell) boot(ctx context.Context) error {
	if err := c.host.Boot(ctx); err != nil {
		return err
	}
	return c.awaitSettled(ctx)
}

func (c *cell) awaitSettled(ctx context.Context) error {
	_, err := c.on(ctx, "timeout 50 systemctl is-system-running --wait || systemctl is-system-running | grep -q degraded")
	return err
}

// run takes the cell from a fresh host to its end. The error is why it is lost.
func (c *cell) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cellLimit)
	defer cancel()
	if err := c.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := c.disturb(ctx); err != nil {
		return err
	}
	if err := c.end(ctx); err != nil {
		return err
	}
	if err := c.judge(ctx, false); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if err := errors.Join(c.host.PowerCut(ctx), c.boot(ctx)); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	c.rebooted = true
	if err := c.judge(ctx, true); err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	if err := c.follow(ctx); err != nil {
		return fmt.Errorf("the following switch: %w", err)
	}
	return nil
}

// prepare makes everything ready for the first deployment.
func (c *cell) prepare(ctx context.Context) (err error) {
	if c.old, err = c.on(ctx, "readlink -f /run/current-system"); err != nil {
		return err
	}
	if c.other, err = c.on(ctx, "readlink -f "+c.host.OtherSystem()); err != nil {
		return err
	}
	c.want = systems[c.loader()][c.flavour()]
	if c.fault.collectable {
		c.want = collected[c.name]
	}
	if err := c.awaitSettled(ctx); err != nil {
		return err
	}
	if err := c.write(ctx, "/run/lab/gate", gateScript, 0o755); err != nil {
		return err
	}
	if _, err := c.on(ctx, "mkdir -p "+gates); err != nil {
		return err
	}
	return c.step.arrange(ctx, c)
}

// errEnded says that the first deployer ended before its step was reached.
var errEnded = errors.New("the deployer ended")

// disturb deploys up to the step, injects the fault and lets the step go.
func (c *cell) disturb(ctx context.Context) (err error) {
	if c.first, err = c.deploy(ctx, "first", c.flavour()); err != nil {
		return err
	}
	reach, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	err = c.step.reached(reach, c)
	if errors.Is(err, errEnded) && c.fault.inject == nil {
		// The system itself is the fault, and may have shown it before the step.
		return c.step.release(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("reach the step: %w", err)
	}
	if c.fault.inject != nil {
		inject, cancel := context.WithTimeout(ctx, injectLimit)
		defer cancel()
		if err := c.fault.inject(inject, c); err != nil {
			return fmt.Errorf("inject the fault: %w", err)
		}
	}
	return c.step.release(ctx, c)
}

// end waits until the deployers and the host have come to their ends, and undoes
// the fault.
func (c *cell) end(ctx context.Context) error {
	if c.fault.meanwhile != nil {
		if err := c.fault.meanwhile(ctx, c); err != nil {
			return fmt.Errorf("meanwhile: %w", err)
		}
	}
	limit, cancel := context.WithTimeout(ctx, deployerLimit)
	defer cancel()
	if err := c.waitIdly(limit); err != nil {
		return err
	}
	if c.second != nil {
		if err := c.second.Wait(limit); err != nil {
			return err
		}
	}
	if err := c.hostEnds(ctx); err != nil {
		return err
	}
	if c.fault.undo == nil {
		return nil
	}
	if err := c.fault.undo(ctx, c); err != nil {
		return fmt.Errorf("undo the fault: %w", err)
	}
	return nil
}

// waitIdly waits for the first deployer. One that only asks again and again what
// became of its host gives its place to another cell, and does not ask for it again:
// behind all that wait it would run out of time.
func (c *cell) waitIdly(ctx context.Context) error {
	const busy = 25 * time.Second
	select {
	case <-c.first.Ended:
		return nil
	case <-ctx.Done():
	case <-time.After(busy):
		c.giveWay()
	}
	return c.first.Wait(ctx)
}

// follow deploys once more, which must work and leave nothing behind.
func (c *cell) follow(ctx context.Context) error {
	next, err := c.deploy(ctx, "next", after)
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, deployerLimit)
	defer cancel()
	if err := next.Wait(limit); err != nil {
		return errors.Join(err, errors.New(next.Story()))
	}
	if next.Code() != 0 {
		return errors.New(next.Story())
	}
	if err := c.hostEnds(ctx); err != nil {
		return err
	}
	wanted := systems[c.loader()][after]
	seen, err := c.look(ctx)
	if err != nil {
		return err
	}
	var failures []error
	if seen["running"] != wanted || seen["profile"] != wanted {
		failures = append(failures, fmt.Errorf("it runs %s, the profile is %s, and not %s", seen["running"], seen["profile"], wanted))
	}
	if r := c.record(); r == nil || r.State != "committed" && r.New == wanted {
		failures = append(failures, fmt.Errorf("the record is %+v", r))
	}
	// PID 1 knows the unit for the next boot until it reads its units again.
	left := slices.DeleteFunc(strings.Fields(seen["left"]), func(name string) bool { return name == "hdeploy-resume.service" })
	if c.ended == "rollback-failed" {
		// The system to go back to is kept from the collector until a person has looked.
		left = slices.DeleteFunc(left, func(name string) bool { return strings.HasSuffix(name, "-previous") })
	}
	if len(left) > 0 {
		failures = append(failures, fmt.Errorf("left of hdeploy: %v", left))
	}
	return errors.Join(failures...)
}
