//go:build lab

package tests

import (
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// newNix lets a run of hdeploy find the newer Nix of the workstation first.
var newNix = []string{"PATH=" + lab.NewNixBin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// Whatever Nix is on either side, everything that it does for hdeploy works: evaluate,
// build here and there, copy, set a profile, collect.
func TestNixVersions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		newHere, there bool
	}{
		{"new on the deployer", true, false},
		{"new on the host", false, true},
		{"new on both", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{})
			if err := workstation.AddNewNix(t.Context()); err != nil {
				t.Fatal(err)
			}
			var env []string
			here, there := inShell(t, workstation, "nix --version"), s.on("nix --version")
			if c.newHere {
				env = newNix
				here = inShell(t, workstation, lab.NewNixBin+"/nix --version")
			}
			if c.there {
				old := there
				if err := s.host.UseNewNix(t.Context()); err != nil {
					t.Fatal(err)
				}
				if there = s.on("nix --version"); there == old {
					t.Fatalf("the host still has %s", old)
				}
			}
			t.Logf("%s deploys to %s", here, there)

			s.configure(bulk("versions"))
			r := s.startSwitch(command{env: env}).wait().require("committed", 0)
			first := r.Outcome.Closure
			requireRuns(t, s.snapshot(), first)
			s.startSwitch(command{env: env}).wait().require("unchanged", 0)

			s.inventory.Lines = `build = "host"`
			s.configure(bulk("there"))
			r = s.startSwitch(command{env: env}).wait().require("committed", 0)
			s.requireNotHere(r.Outcome.Closure)
			requireRuns(t, s.snapshot(), r.Outcome.Closure)

			s.inventory.Lines = ""
			s.faulty("bad", settings{"activateExit": 1})
			s.startSwitch(command{env: env}).wait().require("rolled-back", 7)
			s.start("rollback", command{env: env, args: []string{"--yes"}}).wait().requireCommitted(s, first)
			collect(s)
			s.on("nix-store --verify --check-contents")

			// What Nix says about a failure is understood in its newer words, too.
			s.configure(settings{"nonsense": true})
			s.startSwitch(command{env: env}).wait().require("failed", 3).requireFailure("unknown setting nonsense")
		})
	}
}
