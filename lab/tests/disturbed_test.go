//go:build lab

package tests

import (
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
	s := newSite(t, lab.HostOptions{})
	s.hold(40 * time.Second)
	s.faulty("good", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.on("systemctl stop 'session-*.scope'")
	s.release()
	r.wait().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}

// What is mounted over /tmp in the middle hides nothing that is still needed.
func TestFilesystemOverTheTemporaryFolderDisturbsNothing(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.hold(40 * time.Second)
	s.faulty("good", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.on("mount -t tmpfs tmpfs /tmp")
	s.release()
	r.wait().require("committed", 0)
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}
