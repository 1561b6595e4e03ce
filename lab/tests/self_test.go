//go:build lab

package tests

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/lab/deployer"
)

// self is a host that has hdeploy and its own flake, and deploys itself.
type self struct {
	*site
	// env is added to the environment of every run.
	env []string
}

// newSelf is one without ssh: nobody may need it, not even to find out that it is not there.
func newSelf(t *testing.T) self {
	t.Helper()
	s := withHdeploy(t)
	s.on("systemctl stop sshd.service; rm -rf /root/.ssh")
	return s
}

func withHdeploy(t *testing.T) self {
	t.Helper()
	s := self{site: newSite(t, lab.HostOptions{})}
	program, err := os.ReadFile(filepath.Join(world.BinDir(), "hdeploy"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.host.WriteFile(t.Context(), "/hdeploy/hdeploy", program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.host.NewFlake(t.Context(), "/srv/flake"); err != nil {
		t.Fatal(err)
	}
	return s
}

// configured writes the host's configuration and its deploy.toml.
func (s self) configured(table string, changes settings) {
	s.t.Helper()
	all := settings{"loader": s.host.Loader()}
	for key, value := range changes {
		all[key] = value
	}
	if err := s.host.WriteHostConfig(s.t.Context(), "/srv/flake", hostName, all); err != nil {
		s.t.Fatal(err)
	}
	toml := "flake = \"./flake\"\n" + table + "\ntimeouts = " + shortTimeouts + "\n"
	if err := s.host.WriteFile(s.t.Context(), "/srv/deploy.toml", []byte(toml), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// start runs hdeploy on the host itself.
func (s self) start(command ...string) *deployer.Run {
	s.t.Helper()
	r, err := deployer.Start(s.t.Context(), s.host, deployer.Options{Dir: "/srv", State: "/srv/state", Config: "/srv/deploy.toml", Env: s.env}, command...)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// runs requires how a run on the host itself ends.
func (s self) runs(word string, code int, command ...string) *deployer.Run {
	s.t.Helper()
	r := s.start(command...)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		s.t.Fatal(err)
	}
	if o := r.Outcome(); o == nil || o.Outcome != word || r.Code() != code {
		s.t.Fatalf("it did not end %s with %d; %s", word, code, r.Story())
	}
	return r
}

const byAddress = "[hosts." + hostName + "]\naddress = \"local\""

func TestAMachineDeploysItself(t *testing.T) {
	s := newSelf(t)
	s.configured(byAddress, settings{"revision": "1"})
	first := s.runs("committed", 0, "switch", hostName)
	if first.Outcome().Proof != "self" || !strings.Contains(first.Story(), "not proven") {
		t.Errorf("it does not say what was not proven; %s", first.Story())
	}
	requireRuns(t, s.snapshot(), first.Outcome().Closure)
	before := s.snapshot()
	s.runs("unchanged", 0, "switch", hostName)
	requireUntouched(t, before, s.snapshot())
	s.configured("[hosts."+hostName+"]", settings{"revision": "1"}) // it is called so
	s.runs("unchanged", 0, "switch", "localhost")
	requireUntouched(t, before, s.snapshot())

	// The name of the machine is enough.
	s.configured("[hosts.localhost]\nattribute = \"nixosConfigurations."+hostName+".config.system.build.toplevel\"", settings{"revision": "2"})
	second := s.runs("committed", 0, "switch", "localhost")

	// What is bad is taken back by itself, and by hand.
	s.configured(byAddress, settings{"revision": "3", "faults": settings{"failUnit": "at-once"}})
	s.runs("rolled-back", 7, "switch", hostName)
	requireRuns(t, s.snapshot(), second.Outcome().Closure)
	s.runs("committed", 0, "rollback", "--yes", hostName)
	requireRuns(t, s.snapshot(), first.Outcome().Closure)

	// Nobody could see it come back from its reboot.
	s.configured(byAddress, settings{"revision": "4"})
	for _, command := range [][]string{{"boot", "--reboot", hostName}, {"reboot", hostName}} {
		r := s.runs("refused", 5, command...)
		if f := r.Outcome().Failure; !strings.Contains(f.Cause, "would end with its reboot") || !strings.Contains(f.Next, "systemctl reboot") || strings.Contains(f.Next, "ssh ") {
			t.Errorf("%v: got %+v", command, f)
		}
	}
}

// hdeploy is to confirm, and ends in the middle: the machine goes back by itself.
func TestAMachineThatDeploysItselfGoesBackWithoutHdeploy(t *testing.T) {
	s := newSelf(t)
	s.configured(byAddress+"\nconfirm_mode = \"remote\"\nprobes = [\"hold\"]", settings{"revision": "1"})
	s.on(`printf '[probes.hold]\nkind = "command"\nfrom = "deployer"\nargv = ["test", "-e", "/srv/release"]\ninterval = "200ms"\ndeadline = "30s"\n' >> /srv/deploy.toml`)
	before := s.snapshot()
	r := s.start("switch", hostName)
	limit, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := r.Await(limit, "the verification", func(e event.Event) bool { return e.Phase == event.Verify })
	if err != nil {
		t.Fatalf("%v; %s", err, r.Story())
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, func() string {
		if running := s.on("readlink /run/current-system"); running != before.Running {
			return "it runs " + running
		}
		return ""
	})
}

// The machine is to decide by itself, and needs nobody for that.
func TestAMachineThatDeploysItselfCommitsWithoutHdeploy(t *testing.T) {
	s := newSelf(t)
	s.heldAs(byAddress, settings{"revision": "1"})
	r := s.start("switch", hostName)
	s.inTrial(r)
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	s.release()
	s.awaitStateWithin("committed", patience)
}

// A user who is not root becomes root as on any other host.
func TestAUserDeploysTheMachineAtHand(t *testing.T) {
	s := newSelf(t)
	s.configured(byAddress, settings{"revision": "1"})
	s.on("chown -R admin /srv; chmod 755 /nix/var/nix/daemon-socket; chmod 666 /nix/var/nix/daemon-socket/socket")
	byAdmin := "cd /srv && runuser -u admin -- env PATH=$PATH HOME=/home/admin USER=admin XDG_STATE_HOME=/srv/state " +
		"/hdeploy/hdeploy switch " + hostName + " --output json | grep '\"outcome\"'"
	out := s.on(byAdmin)
	if !strings.Contains(out, `"outcome":"committed"`) || !strings.Contains(out, `"proof":"self"`) {
		t.Error(out)
	}
	s.on("rm /etc/sudoers.d/lab; echo 'admin ALL=(ALL) ALL' > /etc/sudoers.d/other")
	s.configured(byAddress, settings{"revision": "2"})
	out = s.on(byAdmin)
	if !strings.Contains(out, `"outcome":"refused"`) || !strings.Contains(out, "may not become root") {
		t.Error(out)
	}
	s.on("echo admin:tea-at-five | /usr/sbin/chpasswd && install -m 600 -o admin /dev/null /srv/password && echo tea-at-five > /srv/password")
	s.configured(byAddress+"\nelevation_password = { file = \"/srv/password\" }", settings{"revision": "2"})
	if out = s.on(byAdmin); !strings.Contains(out, `"outcome":"committed"`) {
		t.Error(out)
	}
}
