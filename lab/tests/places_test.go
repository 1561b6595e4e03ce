//go:build lab

package tests

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// bulk is a closure that one sees going over a line.
func bulk(revision string) settings {
	return settings{"revision": revision, "payloadMiB": 8, "payloadPaths": 4, "payloadSeed": revision}
}

const bulkBytes = 8 << 20

// newBuilder makes a second host, which deploy.toml calls builder.
func (s *site) newBuilder() *lab.Host {
	s.t.Helper()
	builder, err := world.NewHost(s.t.Context(), fmt.Sprintf("host%d", hostCount.Add(1)), lab.HostOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if builder.Running() {
			_ = builder.PowerCut(s.t.Context())
		}
	})
	inShell(s.t, builder, "timeout 50 systemctl is-system-running --wait || systemctl is-system-running | grep -q degraded")
	s.inventory.Tables += fmt.Sprintf("[hosts.builder]\nuser = \"admin\"\naddress = %q\nhost_keys = [%q]\n", builder.Address, builder.HostKey())
	return builder
}

// requireStep checks that a phase of the host ended so, and returns what it says.
func (r *run) requireStep(p event.Phase, status event.Status) string {
	r.t.Helper()
	said := ""
	for _, e := range r.events() {
		if e.Phase == p && e.Step != nil && e.Step.Status != event.Started {
			if e.Step.Status != status {
				r.t.Errorf("phase %s is %s, not %s; %s", p, e.Step.Status, status, r.story())
			}
			said = e.Step.Detail
		}
	}
	return said
}

// sent is how much the copy says to have sent.
func (r *run) sent() uint64 {
	r.t.Helper()
	detail := r.requireStep(event.Copy, event.Done)
	size, err := humanize.ParseBytes(detail)
	if err != nil {
		r.t.Fatalf("the copy says %q: %v", detail, err)
	}
	return size
}

// requireNotHere checks that the workstation's store has nothing of what was built
// elsewhere but derivations, and what every store of the lab has.
func (s *site) requireNotHere(closure string) {
	s.t.Helper()
	for built := range strings.Lines(s.on("nix-store --query --requisites " + closure + " | grep -e -payload- -e " + closure)) {
		inShell(s.t, workstation, "test ! -e "+strings.TrimSpace(built))
	}
}

func TestBuildOnTheHost(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Lines = `build = "host"`
	before := s.snapshot()
	changes := bulk("host")
	changes["kernel"] = "6.12.99"
	s.configure(changes)
	r := s.run("switch", "--dry-run").require("previewed", 0)
	s.requireNotHere(r.Outcome.Closure)
	after := s.snapshot()
	if after.Running != before.Running || after.Profile != before.Profile {
		t.Fatal("a dry run changed the host")
	}

	// What the deployer's own Nix may do, where, and how much at once is not for the host.
	own := []string{"NIX_CONFIG=max-jobs = 0\nbuilders = ssh-ng://root@127.0.0.1:9 x86_64-linux\npost-build-hook = /nowhere"}
	r = s.startSwitch(command{env: own}).wait().require("committed", 0)
	s.requireNotHere(r.Outcome.Closure)
	if on := r.requireStep(event.Build, event.Done); on != "on "+hostName {
		t.Errorf("built %q", on)
	}
	r.requireStep(event.Copy, event.Skipped)
	if !r.Outcome.RebootNeeded {
		t.Error("the new kernel, which only the host has seen, needs no reboot")
	}
	after = s.snapshot()
	requireRuns(t, after, r.Outcome.Closure)
	requireNothingLeft(t, after)
	if after.Roots["built-"+hostName+"-1"] != r.Outcome.Closure {
		t.Errorf("nothing keeps what was built: %v", after.Roots)
	}
	collect(s)
	s.on("nix-store --verify --check-contents")
	s.deploy().require("unchanged", 0)

	// What is judged before the trial is judged where the closure is.
	changes = bulk("inhibited")
	changes["switchInhibitors"] = map[string]string{"dbus": "broker"}
	s.configure(changes)
	r = s.deploy().require("refused", 5).requireFailure("dbus")
	s.requireNotHere(r.Outcome.Closure)
	requireRuns(t, s.snapshot(), after.Running)
}

// Whatever is collected between the build and the trial is built again.
func TestGarbageCollectionWhileTheHostBuilds(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Lines = `build = "host"`
	s.configure(bulk("gc"))
	r := s.startSwitch(command{})
	for ended := false; !ended; {
		collect(s)
		select {
		case <-r.ended:
			ended = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	r.wait().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	s.on("nix-store --verify --check-contents")
}

// A host that is lost while it builds is noticed, and has not changed.
func TestTheHostIsLostWhileItBuilds(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Lines = `build = "host"`
	before := s.snapshot()
	s.configure(settings{"revision": "lost", "payloadMiB": 512, "payloadPaths": 4, "payloadSeed": "lost"})
	r := s.startSwitch(command{})
	r.await("a build that runs", func(e event.Event) bool {
		return e.Phase == event.Build && e.Progress != nil && strings.HasPrefix(e.Progress.Activity, "payload")
	})
	s.powerCut()
	since := time.Now()
	r.wait().require("failed", 3).requireFailure("connection was lost")
	if took := time.Since(since); took > 40*time.Second {
		t.Errorf("it took %v to see that the host was gone", took)
	}
	s.powerOn()
	if after := s.snapshot(); after.Running != before.Running || after.Profile != before.Profile {
		t.Error("it runs or boots something else")
	}
	s.configure(bulk("after"))
	s.deploy().require("committed", 0)
}

func TestBuildOnAnotherHost(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	builder := s.newBuilder()
	s.inventory.Lines = `build = "builder"`
	s.configure(bulk("another"))
	r := s.deploy().require("committed", 0)
	s.requireNotHere(r.Outcome.Closure)
	if on := r.requireStep(event.Build, event.Done); on != "on builder" {
		t.Errorf("built %q", on)
	}
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	inShell(t, builder, "nix-collect-garbage; nix-store --check-validity "+r.Outcome.Closure+
		"; test "+r.Outcome.Closure+" = $(readlink /nix/var/nix/gcroots/hdeploy/built-"+hostName+"-1)")
	// The payload went over the line to the host once.
	if sent := r.sent(); sent < bulkBytes || sent > bulkBytes*5/4 {
		t.Errorf("%d bytes were sent of %d", sent, bulkBytes)
	}
	if last := toCopy(r); last.Paths != last.PathsTotal || last.Paths == 0 {
		t.Errorf("the copy tells %+v", last)
	}

	// What both have is not sent again.
	changes := bulk("another")
	changes["revision"] = "small"
	s.configure(changes)
	r = s.deploy().require("committed", 0)
	if sent := r.sent(); sent > bulkBytes/8 {
		t.Errorf("%d bytes were sent for a small change", sent)
	}

	before := s.snapshot()
	if err := builder.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.configure(bulk("nobody"))
	s.deploy().require("failed", 3).requireFailure("on builder, which builds for it", builder.Address)
	requireUntouched(t, before, s.snapshot())
}

// cache is a folder of the workstation that hosts fetch from.
type cache struct {
	dir, key string
	server   *lab.Process
}

func (s *site) newCache(port int) *cache {
	s.t.Helper()
	c := &cache{dir: path.Join(s.dir, "cache")}
	c.key = inShell(s.t, workstation, fmt.Sprintf("mkdir -p %[1]s; nix-store --generate-binary-cache-key lab-1 %[1]s.key %[1]s.pub; cat %[1]s.pub", c.dir))
	var err error
	c.server, err = workstation.Start(s.t.Context(), lab.ExecOptions{}, "busybox", "httpd", "-f", "-p", fmt.Sprint(port), "-h", c.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	// As the host's own configuration would say; the next switch puts that back.
	s.trust(c.key, fmt.Sprintf("http://%s:%d", workstation.Address, port))
	return c
}

// trust makes the host's daemon trust a key, and fetch from a cache.
func (s *site) trust(key, url string) {
	s.t.Helper()
	s.on(fmt.Sprintf(`rm /etc/nix/nix.conf
{ cat /etc/static/nix/nix.conf; echo 'trusted-public-keys = %s'; echo 'substituters = %s'; } >/etc/nix/nix.conf
systemctl stop nix-daemon.service`, key, url))
}

// fill builds the configured system into the cache.
func (c *cache) fill(s *site) {
	s.t.Helper()
	inShell(s.t, workstation, fmt.Sprintf("nix copy --to 'file://%[1]s?secret-key=%[1]s.key&compression=none' %[2]s/flake#nixosConfigurations.%[3]s.config.system.build.toplevel",
		c.dir, s.dir, hostName))
}

func (c *cache) stop(t *testing.T) {
	t.Helper()
	if err := c.server.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = c.server.Wait()
}

func TestTheHostFetchesFromItsCaches(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Lines = `substitute = true`
	c := s.newCache(8091)
	s.configure(bulk("cached"))
	c.fill(s)
	r := s.deploy().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	if sent := r.sent(); sent > bulkBytes/8 {
		t.Errorf("%d bytes were sent though the cache has all", sent)
	}
	if r.noted("could not fetch") {
		t.Error(r.story())
	}

	// Of what the cache has only a part, the rest is sent.
	s.trust(c.key, fmt.Sprintf("http://%s:8091", workstation.Address))
	changes := bulk("part")
	s.configure(changes)
	c.fill(s)
	changes["revision"] = "rest"
	s.configure(changes)
	r = s.deploy().require("committed", 0)
	if sent := r.sent(); sent > bulkBytes/8 {
		t.Errorf("%d bytes were sent though the cache has nearly all", sent)
	}

	// A cache that is gone costs time, and no deployment.
	s.trust(c.key, fmt.Sprintf("http://%s:8091", workstation.Address))
	c.stop(t)
	s.configure(bulk("gone"))
	r = s.deploy().require("committed", 0)
	if !r.noted("could not fetch from its caches") {
		t.Error("nobody is told of the cache: " + r.story())
	}
	if sent := r.sent(); sent < bulkBytes {
		t.Errorf("only %d bytes were sent without a cache", sent)
	}
}

// Where the user's Nix signs what it builds, hosts are asked to check that.
func TestSignaturesFollowTheConfigurationOfNix(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	key := path.Join(s.dir, "key")
	public := inShell(t, workstation, fmt.Sprintf("nix-store --generate-binary-cache-key signer-1 %[1]s %[1]s.pub; cat %[1]s.pub", key))
	signing := []string{"NIX_CONFIG=secret-key-files = " + key}

	s.configure(bulk("untrusted"))
	r := s.startSwitch(command{env: signing}).wait().require("committed", 0)
	if !r.noted("trusts the login, and no key", "lacks a signature by a trusted key", "trusted-public-keys") {
		t.Error("nobody is told that no key is trusted: " + r.story())
	}
	// All that was built before, unsigned, is on the host by now.
	s.trust(public, "")
	s.configure(bulk("trusted"))
	r = s.startSwitch(command{env: signing}).wait().require("committed", 0)
	if r.noted("trusts the login") {
		t.Error(r.story())
	}
	if sigs := s.on("nix path-info --sigs " + r.Outcome.Closure); !strings.Contains(sigs, "signer-1:") {
		t.Errorf("signatures: %s", sigs)
	}
	s.configure(bulk("unsigned"))
	s.trust(public, "")
	r = s.deploy().require("committed", 0)
	if r.noted("trusts the login") {
		t.Error(r.story())
	}
}

// Nix's own remote builders are its own affair.
func TestRemoteBuildersOfNix(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	builder := s.newBuilder()
	kind, key, _ := strings.Cut(builder.HostKey(), " ")
	key, _, _ = strings.Cut(key, " ")
	hostKey := base64.StdEncoding.EncodeToString([]byte(kind + " " + key))
	changes := bulk("builders")
	s.configure(changes)
	config := fmt.Sprintf("NIX_CONFIG=max-jobs = 0\nbuilders = ssh-ng://root@%s x86_64-linux /root/.ssh/id_ed25519 8 1 - - %s", builder.Address, hostKey)
	r := s.startSwitch(command{env: []string{config}}).wait().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
	inShell(t, builder, "test -e "+r.Outcome.Closure)
	inShell(t, workstation, "test -e "+r.Outcome.Closure)

	// A builder that fails is a build that failed.
	changes = maps.Clone(changes)
	changes["payloadSeed"] = "other"
	s.configure(changes)
	before := s.snapshot()
	if err := builder.PowerCut(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.startSwitch(command{env: []string{config}}).wait().require("failed", 3)
	requireUntouched(t, before, s.snapshot())
}

// Profiles of every kind are built elsewhere as systems are, and so is what deploy-rs has
// wrapped.
func TestProfilesAreBuiltElsewhere(t *testing.T) {
	t.Parallel()
	for _, k := range profileKinds() {
		if k.name != "home-manager" && k.name != "deploy-rs-home" {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			// Of a revision that no other test builds here.
			s := newSite(t, lab.HostOptions{})
			s.inventory.Lines, s.inventory.Tables = "user = \"admin\"\nbuild = \"host\"\nsystem = false", profileTable+k.lines
			s.profile(profileName, k.fixed, settings{"revision": "1-elsewhere"})
			r := s.deploy().require("committed", 0)
			if got := s.standing(k); !strings.HasPrefix(got.active, "1") || got.closure != r.Outcome.Closure {
				t.Errorf("after the deployment of %s: %+v", r.Outcome.Closure, got)
			}
			s.requireNotHere(r.Outcome.Closure)

			// With the system before it, and from another host.
			s.inventory.Lines, s.inventory.Tables = "user = \"admin\"\nbuild = \"builder\"", profileTable+k.lines
			s.newBuilder()
			s.configure(bulk("system"))
			s.profile(profileName, k.fixed, settings{"revision": "2-elsewhere"})
			s.deploy().require("committed", 0)
			if got := s.standing(k); !strings.HasPrefix(got.active, "2") {
				t.Errorf("after the deployment of both: %+v", got)
			}
			requireRuns(t, s.snapshot(), s.on("readlink -f /run/current-system"))
			s.requireNotHere(s.on("readlink -f /run/current-system"))

			// Both on the host.
			s.inventory.Lines = "build = \"host\""
			s.configure(bulk("both"))
			s.profile(profileName, k.fixed, settings{"revision": "3-elsewhere"})
			s.deploy().require("committed", 0)
			if got := s.standing(k); !strings.HasPrefix(got.active, "3") {
				t.Errorf("after the deployment of both: %+v", got)
			}
			s.requireNotHere(s.on("readlink -f /run/current-system"))
		})
	}
}
