//go:build lab

package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

func TestASystemThatMovesSSHIsProvenWhereItMovesTo(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	first := s.committed("1")[0]
	home := s.inventory
	elsewhere := settings{"revision": "moved", "sshdPort": 2222}

	// Not said, it is a lock-out as any other.
	s.configure(elsewhere)
	s.deploy().require("rolled-back", 7).requireFailure("could not be reached over a new connection")
	requireRuns(t, s.snapshot(), first)

	s.inventory.Lines = "confirm = { port = 2222 }"
	moved := s.deploy("--force").require("committed", 0)
	if moved.Outcome.Proof != "new-connection" {
		t.Errorf("got %+v", moved.Outcome)
	}
	requireRuns(t, s.snapshot(), moved.Outcome.Closure)

	// From then on it is found at either place, to be looked at, deployed and taken back.
	s.start("attach", command{}).wait().require("committed", 0)
	s.deploy().require("unchanged", 0)
	s.rollback().require("committed", 0)
	requireRuns(t, s.snapshot(), first)
	s.deploy().require("refused", 5) // it was taken back by a person

	// A system that stays where it was is not where it was said to be.
	s.inventory = home
	s.inventory.Lines = "confirm = { port = 2222 }"
	s.faulty("stays", nil)
	s.deploy().require("rolled-back", 7).requireFailure("where confirm says", ":2222", "connection refused")
	requireRuns(t, s.snapshot(), first)
}

func TestASystemThatMovesToAnotherAddressAndUser(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.committed("1")
	// Of the lab's network, and nobody's.
	second := "10.44.201." + s.host.Address[strings.LastIndexByte(s.host.Address, '.')+1:]
	s.on("ip address add " + second + "/16 dev host0")
	s.inventory.Lines = fmt.Sprintf("confirm = { address = %q, user = \"admin\", host_keys = [%q] }", second, s.host.HostKey())
	s.configure(settings{"revision": "moved", "sshd": []string{"ListenAddress " + second, "AllowUsers admin"}})
	s.deploy().require("committed", 0)

	// Somebody else decides about a system on trial where it answers.
	s.hold(60 * time.Second)
	s.configure(settings{"revision": "again", "sshd": []string{"ListenAddress " + second, "AllowUsers admin"}})
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.start("confirm", command{}).wait().require("committed", 0)
	s.release()
	r.wait().require("committed", 0)
}

// The way back is proven at the place of before, not at the one of the system that
// failed.
func TestAMovedSystemThatFailsIsTakenBackToItsOldPlace(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	first := s.committed("1")[0]
	s.inventory.Lines = "confirm = { port = 2222 }"
	s.configure(settings{"revision": "2", "sshdPort": 2222, "faults": settings{"failUnit": "after-5s"}})
	s.inventory.Probes = `["steady"]`
	s.inventory.Tables = "[probes.steady]\nkind = \"no-new-failed-units\"\nsettle = \"7s\"\ndeadline = \"2s\"\n"
	s.deploy().require("rolled-back", 7)
	requireRuns(t, s.snapshot(), first)
}

func TestOneRunMayReachTheHostElsewhere(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.committed("1")
	address := s.inventory.Address
	s.inventory.Address = "10.44.255.254"
	s.faulty("2", nil)
	s.deploy("--address", address+":22", "--ssh-user", "admin").require("committed", 0)
	s.rollback("--address", address).require("committed", 0)
}

func TestAConfirmationMayRideOnTheConnectionAtHand(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Lines = "magic_rollback = false"
	s.faulty("1", settings{"firewallDropSsh": true})
	r := s.deploy().require("committed", 0)
	if r.Outcome.Proof != "old-connection" || !r.noted("magic_rollback", "not proven") {
		t.Errorf("it does not say what was not proven: %+v; %s", r.Outcome, r.story())
	}
	requireRuns(t, s.snapshot(), r.Outcome.Closure)
}

func TestAHostMayKeepWhatFails(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.committed("1")
	s.inventory.Lines = "auto_rollback = false"
	s.faulty("2", settings{"failUnit": "at-once"})
	r := s.deploy().require("kept", 8).requireFailure("auto_rollback = false", "NOTHING WAS TAKEN BACK", "hdeploy rollback")
	if !r.noted("auto_rollback = false") {
		t.Errorf("it does not warn before; %s", r.story())
	}
	s.rollback().require("committed", 0)
}
