package transaction

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

const (
	id       = "abcd1234"
	oldPath  = "/nix/store/00000000000000000000000000000000-old"
	newPath  = "/nix/store/11111111111111111111111111111111-new"
	elsePath = "/nix/store/22222222222222222222222222222222-else"
	// patience bounds what a test waits for; nothing here takes as long.
	patience = 8 * time.Second
)

var limits = Limits{Activation: 300 * time.Second, Confirm: 60 * time.Second, Commit: 120 * time.Second, Rollback: 300 * time.Second, Grace: 15 * time.Second}

// clock is a clock that stands still until it is told.
type clock struct {
	mu   sync.Mutex
	now  Instant
	boot string
}

func (c *clock) Now() Instant    { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) BootID() string  { c.mu.Lock(); defer c.mu.Unlock(); return c.boot }
func (c *clock) Wall() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

func (c *clock) reboot(id string) { c.mu.Lock(); defer c.mu.Unlock(); c.boot, c.now = id, 1000 }

// memory is a host in memory. What a test wants to happen differently it puts
// into the functions; each is called without the lock.
type memory struct {
	mu      sync.Mutex
	running string
	at      profiles.Generation
	boots   string
	armed   bool
	calls   []string
	// inCommit counts the commits under way, most the highest count.
	inCommit, most int

	arm, supervise  func(context.Context, Record) error
	activate        func(context.Context, Record) (int, error)
	failing         func(context.Context) ([]string, error)
	hold            func() (func(), error)
	probe           func(context.Context) []probe.Result
	probing         func(Record)
	commit          func(context.Context, Record) error
	uncommit, reset func(context.Context, Record) error
	fence           func(context.Context) error
	finish          func(Record) error
}

func (m *memory) note(call string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
}

func (m *memory) called(call string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, c := range m.calls {
		if c == call {
			n++
		}
	}
	return n
}

// order returns the recorded calls that are among names, as they came.
func (m *memory) order(names ...string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.calls), func(c string) bool { return !slices.Contains(names, c) })
}

func (m *memory) run(system string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = system
}

func (m *memory) point(link, path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = profiles.Generation{Link: link, Number: m.at.Number + 1, Path: path}
}

func (m *memory) state() (running, profile, boots string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running, m.at.Path, m.boots
}

func (m *memory) Look(string) (string, profiles.Generation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running, m.at, nil
}

func (m *memory) Boots() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boots, nil
}

func (m *memory) Arm(ctx context.Context, r Record) error {
	m.note("arm")
	if m.arm != nil {
		if err := m.arm(ctx, r); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = true
	return nil
}

func (m *memory) Supervise(ctx context.Context, r Record) error {
	m.note("supervise")
	if m.supervise != nil {
		return m.supervise(ctx, r)
	}
	return nil
}

func (m *memory) Armed(context.Context, string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.armed
}

func (m *memory) Activate(ctx context.Context, r Record) (int, error) {
	m.note("activate")
	defer m.note("activate ended")
	if m.activate != nil {
		return m.activate(ctx, r)
	}
	m.run(r.New)
	return 0, nil
}

func (m *memory) NewlyFailing(ctx context.Context, _ Record) ([]string, error) {
	if m.failing != nil {
		return m.failing(ctx)
	}
	return nil, nil
}

func (m *memory) HoldSwitch() (func(), error) {
	m.note("hold")
	if m.hold != nil {
		return m.hold()
	}
	return func() { m.note("release") }, nil
}

func (m *memory) Probe(ctx context.Context, r Record) []probe.Result {
	m.note("probe")
	if m.probing != nil {
		m.probing(r)
	}
	if m.probe != nil {
		return m.probe(ctx)
	}
	return []probe.Result{{Name: "ok", Verdict: probe.Pass}}
}

func (m *memory) Commit(ctx context.Context, r Record) (profiles.Generation, string, error) {
	m.note("commit")
	m.mu.Lock()
	m.inCommit++
	m.most = max(m.most, m.inCommit)
	m.mu.Unlock()
	defer func() { m.mu.Lock(); m.inCommit--; m.mu.Unlock() }()
	if m.commit != nil {
		if err := m.commit(ctx, r); err != nil {
			return profiles.Generation{}, "", err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = profiles.Generation{Link: "system-13-link", Number: 13, Path: r.New}
	m.boots = r.New
	return m.at, m.boots, nil
}

func (m *memory) Uncommit(ctx context.Context, r Record) error {
	m.note("uncommit")
	if m.uncommit != nil {
		if err := m.uncommit(ctx, r); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.boots = r.Previous.Profile, r.Previous.Boots
	return nil
}

func (m *memory) Restore(ctx context.Context, r Record) error {
	m.note("restore")
	if m.reset != nil {
		if err := m.reset(ctx, r); err != nil {
			return err
		}
	}
	m.run(r.Previous.Running)
	return nil
}

func (m *memory) Fence(ctx context.Context, _ string) error {
	m.note("fence")
	if m.fence != nil {
		return m.fence(ctx)
	}
	return nil
}

func (m *memory) Finish(_ context.Context, r Record) error {
	m.note("finish")
	m.mu.Lock()
	m.armed = false
	m.mu.Unlock()
	if m.finish != nil {
		return m.finish(r)
	}
	return nil
}

// rig is an engine on a host in memory with a clock that stands still.
type rig struct {
	Engine
	t     *testing.T
	clock *clock
	host  *memory
	// ended receives what Supervise returned.
	ended chan error
	kill  context.CancelFunc
}

func newRig(t *testing.T) *rig {
	t.Helper()
	root := t.TempDir()
	store := Store{Dir: filepath.Join(root, "lib"), Run: filepath.Join(root, "run")}
	if err := store.Open(); err != nil {
		t.Fatal(err)
	}
	c := &clock{now: 1_000_000, boot: "boot-1"}
	h := &memory{running: oldPath, boots: oldPath, at: profiles.Generation{Link: "system-12-link", Number: 12, Path: oldPath}}
	return &rig{Engine: Engine{Store: store, Clock: c, Host: h}, t: t, clock: c, host: h, ended: make(chan error, 1)}
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *rig) plan() Plan {
	return Plan{ID: id, Deployer: "ann@desk", Revision: "abc123", Agent: "1", Profile: filepath.Join(r.Store.Dir, "profiles", "system"),
		New: newPath, Running: oldPath, Limits: limits, Baseline: probe.Baseline{BootID: "boot-1"}}
}

func (r *rig) prepare() *Record {
	r.t.Helper()
	record, err := r.Prepare(r.ctx(), r.plan())
	if err != nil {
		r.t.Fatalf("prepare: %v", err)
	}
	return record
}

// start prepares and supervises a transaction, as the host's units do.
func (r *rig) start() {
	r.t.Helper()
	r.prepare()
	r.supervise()
}

func (r *rig) supervise() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.kill = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ended <- r.Engine.Supervise(ctx, id)
	}()
	r.t.Cleanup(func() { cancel(); <-done })
}

// put stores a transaction in a state, as a process that died would leave it.
func (r *rig) put(s State, change ...func(*Record)) *Record {
	r.t.Helper()
	now := r.clock.Now()
	record := &Record{ID: id, State: s, BootID: "boot-1", Deployer: "ann@desk", Profile: r.plan().Profile, New: newPath, Limits: limits,
		Previous:   Previous{Running: oldPath, Profile: profiles.Generation{Link: "system-12-link", Number: 12, Path: oldPath}, Newest: 12, Boots: oldPath},
		ActivateBy: now.Add(limits.Activation), ConfirmBy: now.Add(limits.Activation + limits.Confirm), DeadMan: now.Add(limits.Total()),
		Judged: s != Prepared && s != Trying, ExitCode: -1}
	if s == Committing {
		record.CommitBy = now.Add(limits.Commit)
	}
	for _, c := range change {
		c(record)
	}
	if err := os.MkdirAll(filepath.Join(r.Store.Run, id), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Store.save(record); err != nil {
		r.t.Fatal(err)
	}
	return record
}

// settle settles on a host whose units run beside the one that asks.
func (r *rig) settle() (*Record, error) {
	var units sync.WaitGroup
	r.host.supervise = func(context.Context, Record) error {
		ctx := r.ctx()
		units.Go(func() { _ = r.Engine.Supervise(ctx, id) })
		return nil
	}
	defer units.Wait()
	return r.Settle(r.ctx())
}

// attend holds the claim that a supervisor holds.
func (r *rig) attend() {
	r.t.Helper()
	release, err := r.Store.claim(id, actorLock)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(release)
}

// until waits for the first record that is as wanted.
func (r *rig) until(what string, wanted func(Record) bool) Record {
	r.t.Helper()
	var last Record
	err := r.Store.Watch(r.ctx(), id, func(now Record) bool { last = now; return !wanted(now) })
	if err != nil || !wanted(last) {
		r.t.Fatalf("waiting for %s: %v; it is %s (%s)", what, err, last.State, last.Reason)
	}
	return last
}

func (r *rig) untilState(s State) Record {
	r.t.Helper()
	return r.until(string(s), func(now Record) bool { return now.State == s })
}

func (r *rig) untilJudged() Record {
	r.t.Helper()
	return r.until("a judgement", func(now Record) bool { return now.State == Waiting && now.Judged })
}

// supervised waits for the supervisor's end.
func (r *rig) supervised() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("the supervisor does not end")
		return nil
	}
}

func (r *rig) load() Record {
	r.t.Helper()
	record, err := r.Store.Load()
	if err != nil || record == nil {
		r.t.Fatalf("load: %v, %v", record, err)
	}
	return *record
}

// on fails unless the host runs, keeps as its profile and boots one system.
func (r *rig) on(system string) {
	r.t.Helper()
	if running, profile, boots := r.host.state(); running != system || profile != system || boots != system {
		r.t.Errorf("the host runs %s, its profile is %s, it boots %s; want %s", running, profile, boots, system)
	}
}

// entered makes a step that reports that it began and then hangs until its
// context ends.
func entered() (hang func(ctx context.Context, r Record) error, began <-chan struct{}) {
	c := make(chan struct{})
	var once sync.Once
	return func(ctx context.Context, _ Record) error {
		once.Do(func() { close(c) })
		<-ctx.Done()
		return ctx.Err()
	}, c
}

func (r *rig) awaitStep(c <-chan struct{}) {
	r.t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		r.t.Fatal("the step did not begin")
	}
}

var errBroken = errors.New("it is broken")
