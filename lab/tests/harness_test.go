//go:build lab

// Package tests shows on real hosts what hdeploy promises: each test is named
// after what it shows.
//
// All tests share one world and its workstation; every test has hosts, a flake
// and a state directory of its own, so that they run side by side. A test that
// waits for a deadline waits for the one that hdeploy showed.
package tests

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

// hostName is what every host is called in deploy.toml, and the flake's attribute.
const hostName = "hetzner-vps"

// atOnce is how many tests run side by side: most of their time they wait for a
// deadline of the host's.
const atOnce = 5

var (
	world       *lab.World
	workstation *lab.Host
	hostCount   atomic.Int64
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := lab.RunTests(m, "tests", func(_ context.Context, w *lab.World, station *lab.Host) error {
		world, workstation = w, station
		return flag.Set("test.parallel", fmt.Sprint(atOnce))
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab tests:", err)
	}
	selfSummary()
	os.Exit(code)
}

// site is a fresh host and everything a deployer needs to deploy to it.
type site struct {
	t    *testing.T
	host *lab.Host
	// dir is the deployer's directory in the workstation.
	dir       string
	inventory inventory
}

// inventory is what stands in deploy.toml. Lines and Tables are added as they are.
type inventory struct {
	Address  string
	HostKeys string // a TOML list
	Timeouts string // a TOML table
	Probes   string // a TOML list
	Lines    string // in the host's table
	Tables   string // after it
}

func (i inventory) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "flake = \"./flake\"\n\n[hosts.%s]\naddress = %q\n", hostName, i.Address)
	for _, setting := range [][2]string{{"host_keys", i.HostKeys}, {"timeouts", i.Timeouts}, {"probes", i.Probes}} {
		if setting[1] != "" {
			fmt.Fprintf(&b, "%s = %s\n", setting[0], setting[1])
		}
	}
	fmt.Fprintf(&b, "%s\n\n%s\n", i.Lines, i.Tables)
	return b.String()
}

// shortTimeouts leave a slow machine room to activate, and make a host that
// waits in vain go back soon.
const shortTimeouts = `{ activation = "40s", confirm = "8s", commit = "40s", rollback = "60s", grace = "5s", connect = "5s" }`

// settings is one hosts/NAME.json of the lab's flake.
type settings map[string]any

// newSite makes a host with the loader of options, and lets the test run beside
// others.
func newSite(t *testing.T, options lab.HostOptions) *site {
	t.Helper()
	t.Parallel()
	name := fmt.Sprintf("host%d", hostCount.Add(1))
	// As a host that is deployed to again and again: it has its name already.
	options.HostName = cmp.Or(options.HostName, hostName)
	host, err := world.NewHost(t.Context(), name, options)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, host: host, dir: "/root/" + name}
	t.Cleanup(s.leave)
	s.awaitBoot()
	if err := workstation.NewFlake(t.Context(), s.dir+"/flake"); err != nil {
		t.Fatal(err)
	}
	s.inventory = inventory{
		Address: host.Address, HostKeys: fmt.Sprintf("[%q]", host.HostKey()), Timeouts: shortTimeouts,
	}
	return s
}

// leave shows what a failed test left on its host, and switches that off.
func (s *site) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if s.t.Failed() && s.host.Running() {
		for _, command := range []string{
			"journalctl -b -o short-monotonic --no-pager -n 80 | cut -c1-200",
			"cat /run/hdeploy/*/activation.log /run/hdeploy/per-profile/*/*/activation.log | tail -n 40; cut -c1-3000 /var/lib/hdeploy/transaction.json /var/lib/hdeploy/per-profile/*/transaction.json",
		} {
			result, err := s.host.Exec(ctx, "sh", "-c", command)
			s.t.Logf("%s: %s\n%s%s%v", s.host.Name, command, result.Stdout, result.Stderr, err)
		}
	}
	if s.host.Running() {
		if err := s.host.PowerCut(ctx); err != nil {
			s.t.Errorf("switch %s off: %v", s.host.Name, err)
		}
	}
}

// configure writes the host's configuration: that of the site with changes.
func (s *site) configure(changes settings) {
	s.t.Helper()
	all := settings{"loader": s.host.Loader()}
	for key, value := range changes {
		all[key] = value
	}
	if err := workstation.WriteHostConfig(s.t.Context(), s.dir+"/flake", hostName, all); err != nil {
		s.t.Fatal(err)
	}
}

// faulty configures a revision with faults.
func (s *site) faulty(revision string, faults settings) {
	s.t.Helper()
	if faults == nil {
		faults = settings{}
	}
	s.configure(settings{"revision": revision, "faults": faults})
}

// write puts a file into the deployer's directory.
func (s *site) write(name, text string) {
	s.t.Helper()
	if err := workstation.WriteFile(s.t.Context(), path.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// on runs a shell script as root on the host and returns what it printed.
func (s *site) on(script string) string {
	s.t.Helper()
	return inShell(s.t, s.host, script)
}

func inShell(t *testing.T, host *lab.Host, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	result, err := host.Exec(ctx, "sh", "-c", script)
	if err != nil {
		t.Fatalf("%s: %s: %v", host.Name, script, err)
	}
	if result.Code != 0 {
		t.Fatalf("%s: %s: code %d: %s%s", host.Name, script, result.Code, result.Stdout, result.Stderr)
	}
	return strings.TrimSpace(result.Stdout)
}

// eventually asks again and again until probe returns nothing; what it returns
// says what is missing.
func eventually(t *testing.T, limit time.Duration, probe func() string) {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		missing := probe()
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, missing)
		}
	}
}

// hold makes the deployer, once it reached the host over a new connection, judge
// for at most this long, until release. The host waits meanwhile.
func (s *site) hold(limit time.Duration) {
	s.t.Helper()
	s.inventory.Probes = `["hold"]`
	s.inventory.Tables = fmt.Sprintf("[probes.hold]\nkind = \"command\"\nfrom = \"deployer\"\nargv = [\"test\", \"-e\", %q]\ninterval = \"200ms\"\ndeadline = %q\n",
		s.dir+"/release", limit)
}

func (s *site) release() { s.write("release", "") }

// powerCut pulls the plug, and powerOn plugs it in again.
func (s *site) powerCut() {
	s.t.Helper()
	if err := s.host.PowerCut(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) powerOn() {
	s.t.Helper()
	if err := s.host.Boot(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.awaitBoot()
}

// awaitBoot waits until nothing is being started any more: sshd answers before
// that, and a snapshot would see units come.
func (s *site) awaitBoot() {
	s.t.Helper()
	s.on("timeout 50 systemctl is-system-running --wait || systemctl is-system-running | grep -q degraded")
}

// tail is the end of a long text.
func tail(text string) string {
	lines := bytes.Split([]byte(strings.TrimSpace(text)), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-25):], []byte("\n")))
}
