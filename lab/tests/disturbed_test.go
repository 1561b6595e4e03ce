//go:build lab

package tests

import (
	"fmt"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// A staged system whose boot loader cannot be installed is no reason to switch
// anything that runs.
func TestBootThatFailsLeavesWhatRunsAlone(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.faulty("no boot loader", settings{"bootFull": true})
	s.run("boot").require("rolled-back", 7).requireFailure("boot loader")
	requireUntouched(t, before, s.snapshot())
	requireBoots(t, s, before.Running)
	s.requireWorks()
}

func TestConnectionThatIsLostWhileTheHostWaitsIsMadeAnew(t *testing.T) {
	requireCommittedDespite(t, "systemctl stop 'session-*.scope'")
}

// requireCommittedDespite runs a command on the host while it waits for its deployer.
func requireCommittedDespite(t *testing.T, disturbance string) {
	t.Helper()
	s := newSite(t, lab.HostOptions{})
	s.hold(40 * time.Second)
	s.faulty("good", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.on(disturbance)
	s.release()
	r.wait().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}

// What is mounted over /tmp in the middle hides nothing that is still needed.
func TestFilesystemOverTheTemporaryFolderDisturbsNothing(t *testing.T) {
	requireCommittedDespite(t, "mount -t tmpfs tmpfs /tmp")
}

// A deployer that dies between two hosts leaves each of them with its own decision.
func TestDeployerThatDiesBetweenTwoHosts(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	other, err := world.NewHost(t.Context(), s.host.Name+"b", lab.HostOptions{HostName: "other"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.PowerCut(t.Context()) })
	if err := workstation.WriteHostConfig(t.Context(), s.dir+"/flake", "other", settings{"loader": other.Loader(), "revision": "quick"}); err != nil {
		t.Fatal(err)
	}
	before, otherBefore := s.snapshot(), takeSnapshot(t, other)
	s.hold(20 * time.Second)
	s.inventory.Tables += fmt.Sprintf("[hosts.other]\naddress = %q\nhost_keys = [%q]\n", other.Address, other.HostKey())
	s.faulty("held", nil)
	r := s.startSwitch(command{args: []string{"other"}})
	r.awaitPhase(event.Verify, event.Started)
	eventually(t, time.Minute, func() string {
		if takeSnapshot(t, other).Profile == otherBefore.Profile {
			return "the quick host did not commit"
		}
		return ""
	})
	r.kill()
	s.awaitStateWithin("rolled-back", 2*time.Minute)
	requireRestored(t, before, s.snapshot())
	if after := takeSnapshot(t, other); after.Running == otherBefore.Running {
		t.Errorf("the quick host went back to %s", after.Running)
	}
}
