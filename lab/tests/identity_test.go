//go:build lab

package tests

import (
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// Another machine at the address of the one that is meant is left alone, even where
// it lets hdeploy in.
func TestAnotherMachineIsRefused(t *testing.T) {
	s := newSite(t, lab.HostOptions{HostName: "stranger"})
	id := s.on("cat /etc/machine-id")
	before := s.snapshot()
	good := s.inventory

	s.configure(settings{"revision": "1"})
	s.deploy().require("refused", 5).requireFailure("calls itself stranger", hostName, "--force-identity")
	requireUntouched(t, before, s.snapshot())

	s.inventory.Lines = `machine_id = "` + strings.Repeat("0", 32) + `"`
	s.deploy("--force-identity").require("refused", 5).requireFailure("another machine", id, "hdeploy trust "+hostName)
	requireUntouched(t, before, s.snapshot())

	s.inventory = good
	s.inventory.Lines = `machine_id = "` + id + `"`
	s.deploy("--force-identity").require("committed", 0)
	if name := s.on("hostname"); name != hostName {
		t.Errorf("the host is called %s", name)
	}
	// Renamed, it needs no force any more.
	s.configure(settings{"revision": "2"})
	s.deploy().require("committed", 0)
}
