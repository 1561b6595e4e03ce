//go:build lab

package tests

import (
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// All profiles of a node are deployed in its order and for their users, over one login;
// where a later one fails, the earlier ones are taken back.
func TestDeployRsProfiles(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: "grub", HostName: "example-nixos-system"})
	s.deployRs("many")
	system := func(revision string) {
		s.node(settings{"revision": revision, "admins": []string{"admin", "hello"}})
	}
	system("first")
	s.write("flake/app.json", `{"revision":"1","exit":0}`)
	s.inFlake("switch", ".#example.system").wait().require("committed", 0)

	// No word stands for all nodes, each with all of its profiles.
	first := s.inFlake("switch").wait().require("committed", 0).Outcome
	for _, log := range []string{"/home/admin/home.log", "/home/hello/service.log"} {
		if said := s.on("cat " + log); !strings.HasPrefix(said, "1 as ") {
			t.Errorf("%s: %s", log, said)
		}
	}
	if said := s.on("cat /home/hello/service.log /home/admin/home.log"); said != "1 as hello\n1 as admin" {
		t.Errorf("activated by: %s", said)
	}
	links := "readlink -f /nix/var/nix/profiles/system /nix/var/nix/profiles/per-user/root/tools /home/admin/.local/state/nix/profiles/home-manager /home/hello/.local/state/nix/profiles/service"
	before := s.on(links)
	for _, name := range []string{"-nixos-system-", "-activatable-tools", "-home-manager-generation", "-activatable-service-1"} {
		if !strings.Contains(before, name) {
			t.Errorf("no profile leads to %s: %s", name, before)
		}
	}
	var order []string
	for _, p := range first.Profiles {
		order = append(order, p.Profile)
	}
	if strings.Join(order, " ") != "system home service tools" {
		t.Errorf("deployed were %v", order)
	}
	s.inFlake("switch", "example").wait().require("unchanged", 0)

	system("second")
	s.write("flake/app.json", `{"revision":"2","exit":1}`)
	s.inFlake("switch", "example").wait().require("rolled-back", 7)
	if after := s.on(links); after != before {
		t.Errorf("after the rollback: %s\nbefore: %s", after, before)
	}

	s.write("flake/app.json", `{"revision":"3","exit":0}`)
	s.inFlake("switch", ".#example.service").wait().require("committed", 0)
	if after := s.on(links); !strings.Contains(after, "-activatable-service-3") || !strings.HasPrefix(after, strings.Split(before, "\n")[0]) {
		t.Errorf("one profile alone: %s", after)
	}
}
