//go:build lab

package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// deployer is one `hdeploy switch` in the workstation, running or ended.
type deployer struct {
	process *lab.Process
	stderr  bytes.Buffer
	ended   chan struct{}
	// Code is there once it has ended; at least 128 where a signal ended it.
	code int

	mu      sync.Mutex
	partial []byte
	events  []event.Event
	changed chan struct{}
}

// deploy starts `hdeploy switch` to the flavour with the deploy.toml that stands
// in the cell's directory as name.
func (c *cell) deploy(ctx context.Context, name string, system flavour) (*deployer, error) {
	toml := c.inventory(system)
	file := fmt.Sprintf("%s/%s.toml", c.dir, name)
	if err := workstation.WriteFile(ctx, file, []byte(toml), 0o600); err != nil {
		return nil, err
	}
	d := &deployer{ended: make(chan struct{}), changed: make(chan struct{})}
	process, err := workstation.Start(ctx, lab.ExecOptions{
		Dir: c.dir, Env: []string{"XDG_STATE_HOME=" + c.dir + "/" + name},
		Stdout: d, Stderr: &d.stderr,
	}, "/hdeploy/hdeploy", "switch", hostName, "--config", file, "--output", "json")
	if err != nil {
		return nil, err
	}
	d.process = process
	go func() {
		defer close(d.ended)
		if d.code, err = process.Wait(); err != nil {
			d.code = -1
		}
	}()
	return d, nil
}

// Write takes the JSON lines of the deployer.
func (d *deployer) Write(data []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.partial = append(d.partial, data...)
	for {
		line, rest, found := bytes.Cut(d.partial, []byte("\n"))
		if !found {
			break
		}
		var e event.Event
		if json.Unmarshal(line, &e) == nil {
			d.events = append(d.events, e)
		}
		d.partial = append([]byte(nil), rest...)
	}
	close(d.changed)
	d.changed = make(chan struct{})
	return len(data), nil
}

func (d *deployer) look() ([]event.Event, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]event.Event(nil), d.events...), d.changed
}

// await waits for an event.
func (d *deployer) await(ctx context.Context, what string, is func(event.Event) bool) error {
	for {
		events, changed := d.look()
		for _, e := range events {
			if is(e) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-d.ended:
			return fmt.Errorf("the deployer ended with code %d before %s", d.code, what)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// outcome is how the host ended for this deployer, nil where it did not say.
func (d *deployer) outcome() *event.Outcome {
	events, _ := d.look()
	for _, e := range events {
		if e.Outcome != nil {
			return e.Outcome
		}
	}
	return nil
}

// kill ends the deployer, if it has not ended, as a crash would.
func (d *deployer) kill() error {
	select {
	case <-d.ended:
		return nil
	default:
	}
	if err := d.process.Kill(); err != nil {
		return fmt.Errorf("kill the deployer: %v", err)
	}
	<-d.ended
	return nil
}

// wait waits for the end of the deployer. One that does not end is killed.
func (d *deployer) wait(ctx context.Context) error {
	select {
	case <-d.ended:
		return nil
	case <-ctx.Done():
		_ = d.process.Kill()
		<-d.ended
		return fmt.Errorf("wait for the end of the deployer: %w", context.Cause(ctx))
	}
}

// story is the whole run, for the log of a lost cell.
func (d *deployer) story() string {
	if d == nil {
		return ""
	}
	events, _ := d.look()
	var b strings.Builder
	for _, e := range events {
		if e.Type != "progress" {
			line, _ := json.Marshal(e)
			fmt.Fprintf(&b, "%s\n", line)
		}
	}
	fmt.Fprintf(&b, "exit code %d; stderr:\n%s", d.code, d.stderr.String())
	return b.String()
}
