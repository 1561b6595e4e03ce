//go:build lab

package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// run is one hdeploy in the workstation, running or ended.
type run struct {
	t       *testing.T
	process *lab.Process
	stderr  syncBuffer
	stdout  eventStream
	ended   chan struct{}

	// Code and Outcome are there after wait.
	Code    int
	Outcome event.Outcome
}

// command says how hdeploy is called.
type command struct {
	name string // switch, if empty
	args []string
	env  []string
}

// startSwitch starts `hdeploy switch`, or another command that deploys, with the
// site's inventory.
func (s *site) startSwitch(c command) *run {
	s.t.Helper()
	if c.name == "" {
		c.name = "switch"
	}
	return s.start(c.name, c)
}

// start starts a command of hdeploy for the site's host.
func (s *site) start(name string, c command) *run {
	s.t.Helper()
	s.write("deploy.toml", s.inventory.String())
	return s.launch(s.dir, command{args: append([]string{name, hostName, "--output", "json"}, c.args...), env: c.env})
}

// launch starts hdeploy in a folder of the workstation.
func (s *site) launch(dir string, c command) *run {
	s.t.Helper()
	r := &run{t: s.t, ended: make(chan struct{})}
	r.stdout.changed = make(chan struct{})
	process, err := workstation.Start(s.t.Context(), lab.ExecOptions{
		Dir: dir, Env: append([]string{"XDG_STATE_HOME=" + s.dir + "/state"}, c.env...),
		Stdout: &r.stdout, Stderr: &r.stderr,
	}, append([]string{"/hdeploy/hdeploy"}, c.args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	r.process = process
	go func() {
		defer close(r.ended)
		r.Code, err = process.Wait()
		if err != nil {
			r.Code = -1
		}
	}()
	return r
}

// deploy runs hdeploy to its end.
func (s *site) deploy(args ...string) *run {
	s.t.Helper()
	return s.startSwitch(command{args: args}).wait()
}

// run runs another command that deploys to its end.
func (s *site) run(name string, args ...string) *run {
	s.t.Helper()
	return s.startSwitch(command{name: name, args: args}).wait()
}

// patience is more than any run of these tests takes.
const patience = 4 * time.Minute

// wait waits for the end of the run. Every run that is not killed ends with one
// outcome.
func (r *run) wait() *run {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		_ = r.process.Kill()
		<-r.ended
		r.t.Fatalf("hdeploy did not end within %v; %s", patience, r.story())
	}
	if r.Code >= 128 {
		r.t.Fatalf("hdeploy was ended by signal %d: %s", r.Code-128, tail(r.stderr.String()))
	}
	found := 0
	for _, e := range r.events() {
		if e.Outcome != nil {
			r.Outcome = *e.Outcome
			found++
		}
	}
	if found != 1 {
		r.t.Fatalf("%d outcomes instead of one; %s", found, r.story())
	}
	if foreign := r.stdout.strangers(); len(foreign) > 0 {
		r.t.Errorf("stdout has lines that are no events: %q", foreign)
	}
	if r.Outcome.Code != r.Code {
		r.t.Errorf("exit code %d, but the outcome says %d", r.Code, r.Outcome.Code)
	}
	return r
}

// kill ends the deployer as a crash would.
func (r *run) kill() {
	r.t.Helper()
	if err := r.process.Kill(); err != nil {
		r.t.Fatalf("kill hdeploy: %v", err)
	}
	<-r.ended
}

// require fails the test unless the run ended like this.
func (r *run) require(word string, code int) *run {
	r.t.Helper()
	if r.Outcome.Outcome != word || r.Code != code {
		r.t.Fatalf("outcome %s with exit code %d, not %s with %d; %s", r.Outcome.Outcome, r.Code, word, code, r.story())
	}
	return r
}

// requireFailure checks that the one error says where, at which step, why and
// what to type next, and says all of words.
func (r *run) requireFailure(words ...string) *run {
	r.t.Helper()
	f := r.Outcome.Failure
	if f == nil {
		r.t.Fatalf("no failure is told; %s", r.story())
	}
	if f.Host != hostName || f.Step == "" || f.Cause == "" || f.Next == "" {
		r.t.Errorf("host, step, cause or next command is missing: %+v", *f)
	}
	text := fmt.Sprintf("%s: %s\n%s\n%s", f.Step, f.Cause, strings.Join(f.Log, "\n"), f.Next)
	for _, word := range words {
		if !strings.Contains(text, word) {
			r.t.Errorf("the failure does not say %q:\n%s", word, text)
		}
	}
	stderr := r.stderr.String()
	for _, part := range []string{hostName, f.Step, firstLine(f.Cause), "next: " + firstLine(f.Next)} {
		if !strings.Contains(stderr, strings.TrimSpace(part)) {
			r.t.Errorf("stderr does not say %q:\n%s", part, stderr)
		}
	}
	return r
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// story is the whole run for the log of a failed test.
func (r *run) story() string {
	var b strings.Builder
	for _, e := range r.events() {
		if e.Type == "progress" {
			continue
		}
		line, _ := json.Marshal(e)
		fmt.Fprintf(&b, "%s\n", line)
	}
	return fmt.Sprintf("events:\n%sstderr:\n%s", b.String(), tail(r.stderr.String()))
}

func (r *run) events() []event.Event { return r.stdout.all() }

// await waits for an event of the running deployer.
func (r *run) await(what string, is func(event.Event) bool) event.Event {
	r.t.Helper()
	limit := time.After(patience)
	for {
		events, changed := r.stdout.look()
		for _, e := range events {
			if is(e) {
				return e
			}
		}
		select {
		case <-changed:
		case <-r.ended:
			for _, e := range r.events() {
				if is(e) {
					return e
				}
			}
			r.t.Fatalf("hdeploy ended with code %d before %s; %s", r.Code, what, r.story())
		case <-limit:
			r.t.Fatalf("no %s within %v; %s", what, patience, r.story())
		}
	}
}

// awaitPhase waits until a phase has the status.
func (r *run) awaitPhase(p event.Phase, status event.Status) event.Event {
	r.t.Helper()
	return r.await(fmt.Sprintf("phase %s %s", p, status), func(e event.Event) bool {
		return e.Phase == p && e.Step != nil && e.Step.Status == status
	})
}

// awaitDeadline returns what the host was shown to have armed.
func (r *run) awaitDeadline() event.Event {
	r.t.Helper()
	return r.await("deadline", func(e event.Event) bool { return e.Deadline != nil })
}

// noted says whether a note contains all words.
func (r *run) noted(words ...string) bool {
	for _, e := range r.events() {
		if e.Note == nil {
			continue
		}
		all := true
		for _, word := range words {
			all = all && strings.Contains(e.Note.Text, word)
		}
		if all {
			return true
		}
	}
	return false
}

// eventStream parses the JSON lines that hdeploy writes.
type eventStream struct {
	mu      sync.Mutex
	partial []byte
	events  []event.Event
	foreign []string
	changed chan struct{}
}

func (s *eventStream) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partial = append(s.partial, data...)
	for {
		line, rest, found := bytes.Cut(s.partial, []byte("\n"))
		if !found {
			break
		}
		var e event.Event
		if json.Unmarshal(line, &e) == nil {
			s.events = append(s.events, e)
		} else {
			s.foreign = append(s.foreign, string(line))
		}
		s.partial = append([]byte(nil), rest...)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return len(data), nil
}

func (s *eventStream) look() ([]event.Event, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]event.Event(nil), s.events...), s.changed
}

func (s *eventStream) all() []event.Event {
	events, _ := s.look()
	return events
}

// strangers are the lines that are no events.
func (s *eventStream) strangers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	foreign := append([]string(nil), s.foreign...)
	if len(s.partial) > 0 {
		foreign = append(foreign, string(s.partial))
	}
	return foreign
}

// syncBuffer is a buffer that is read while it is written to.
type syncBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *syncBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(data)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
