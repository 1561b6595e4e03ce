package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
)

// activation is a script as deploy-rs makes it of what switches.
func activation(switching string) string {
	return `#!/bin/bash
set -euo pipefail

if [[ "${DRY_ACTIVATE:-}" == "1" ]]
then
    $PROFILE/bin/switch-to-configuration dry-activate
elif [[ "${BOOT:-}" == "1" ]]
then
    $PROFILE/bin/switch-to-configuration boot
else
    # from a folder that is there for everybody
    cd /tmp

` + switching + `

    sed -i '/^default /d' /boot/efi/loader/loader.conf
fi
`
}

const switching = "    $PROFILE/bin/switch-to-configuration switch"

// newWrapper makes a store with a toplevel and a wrapper around it. With files, the
// wrapper's bin is a folder of links, as where several paths have one.
func newWrapper(t *testing.T, script string, files bool) (wrapper, toplevel string) {
	t.Helper()
	store := t.TempDir()
	toplevel, wrapper = filepath.Join(store, "aaa-nixos-system-web1"), filepath.Join(store, "bbb-activatable-nixos-system-web1")
	program := filepath.Join(toplevel, "bin/switch-to-configuration")
	bin := filepath.Join(wrapper, "bin")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Dir(program), 0o755))
	must(os.MkdirAll(wrapper, 0o755))
	must(os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755))
	if files {
		must(os.Mkdir(bin, 0o755))
		must(os.Symlink(program, filepath.Join(bin, "switch-to-configuration")))
	} else {
		must(os.Symlink(filepath.Dir(program), bin))
	}
	if script != "" {
		must(os.WriteFile(filepath.Join(wrapper, "deploy-rs-activate"), []byte(script), 0o755))
	}
	return wrapper, toplevel
}

func TestTheSystemInAWrapper(t *testing.T) {
	for _, test := range []struct{ name, script, more, fault string }{
		{"activate.nixos", activation(switching), "", ""},
		{"with more", activation(switching + "\n    systemctl restart nginx"), "systemctl restart nginx", ""},
		{"with more in the same line", activation(switching + "; reboot"), "", "does not switch"},
		{"activate.noop", activation("    :"), "", "does not switch"},
		{"boot alone", activation("    $PROFILE/bin/switch-to-configuration boot"), "", "does not switch"},
		{"braces and quotes", activation(`"${PROFILE}/bin/switch-to-configuration" switch`), "", ""},
		{"no script", "", "", "no deploy-rs-activate"},
	} {
		for _, files := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				wrapper, want := newWrapper(t, test.script, files)
				got, more, err := unwrapped(wrapper)
				switch {
				case test.fault != "":
					if err == nil || !strings.Contains(err.Error(), test.fault) {
						t.Errorf("error %v, want %q", err, test.fault)
					}
				case err != nil || got != want || more != test.more:
					t.Errorf("got %s and %q (%v), want %s and %q", got, more, err, want, test.more)
				}
			})
		}
	}
}

func TestWrappersAroundNoSystem(t *testing.T) {
	wrapper, toplevel := newWrapper(t, activation(switching), false)
	if err := os.RemoveAll(toplevel); err != nil {
		t.Fatal(err)
	}
	if _, _, err := unwrapped(wrapper); err == nil || !strings.Contains(err.Error(), "no NixOS system") {
		t.Errorf("got %v", err)
	}
	if _, _, err := unwrapped(filepath.Join(t.TempDir(), "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not here: %v", err)
	}
	outside, _ := newWrapper(t, activation(switching), false)
	if err := errors.Join(os.Remove(filepath.Join(outside, "bin")), os.Symlink("/tmp", filepath.Join(outside, "bin"))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := unwrapped(outside); err == nil {
		t.Error("a link out of the store is followed")
	}
}

// What the evaluation knew stays where the wrapper was built elsewhere; else the
// system in the wrapper takes its place, and nothing that was measured of the wrapper
// stays.
func TestUnwrap(t *testing.T) {
	wrapper, toplevel := newWrapper(t, activation(switching), false)
	gone := filepath.Join(t.TempDir(), "gone")
	for _, test := range []struct {
		name    string
		system  nix.Evaluated
		want    string
		refused bool
	}{
		{"no wrapper", nix.Evaluated{OutPath: "/x"}, "/x", false},
		{"found out now", nix.Evaluated{OutPath: wrapper, Wrapper: wrapper}, toplevel, false},
		{"known before", nix.Evaluated{OutPath: toplevel, Wrapper: wrapper}, toplevel, false},
		{"built elsewhere", nix.Evaluated{OutPath: toplevel, Wrapper: gone}, toplevel, false},
		{"built elsewhere and not known", nix.Evaluated{OutPath: gone, Wrapper: gone}, gone, true},
	} {
		h := newHostRun(&run{}, hosts.NewHost("web1"))
		h.system, h.sizes = test.system, nix.Sizes{wrapper: 1}
		err := h.unwrapSystem()
		if (err != nil) != test.refused || h.system.OutPath != test.want {
			t.Errorf("%s: %s (%v), want %s", test.name, h.system.OutPath, err, test.want)
		}
		if changed := h.system.OutPath != test.system.OutPath; changed == (h.sizes != nil) {
			t.Errorf("%s: sizes %v", test.name, h.sizes)
		}
	}
}

// The host that builds is asked what is in a wrapper, where nobody knows it, and never
// of a system that was found already.
func TestWrapped(t *testing.T) {
	for _, test := range []struct {
		kind, path string
		system     nix.Evaluated
		want       bool
	}{
		{hosts.KindNixOS, "", nix.Evaluated{OutPath: "/top"}, false},
		{hosts.KindNixOS, "", nix.Evaluated{OutPath: "/top", Wrapper: "/wrapper"}, false},
		{hosts.KindNixOS, "", nix.Evaluated{OutPath: "/wrapper", Wrapper: "/wrapper"}, true},
		{hosts.KindDeployRs, profiles.System, nix.Evaluated{OutPath: "/top", Wrapper: "/wrapper"}, false},
		{hosts.KindDeployRs, profiles.System, nix.Evaluated{OutPath: "/wrapper"}, true},
		{hosts.KindDeployRs, "/home/ann/.profile", nix.Evaluated{OutPath: "/wrapper"}, true},
		{hosts.KindHomeManager, "", nix.Evaluated{OutPath: "/generation"}, false},
	} {
		h := newHostRun(&run{}, hosts.NewHost("web1"))
		h.ofProfile(hosts.Profile{Name: "p", Kind: test.kind, Path: test.path, User: "root"})
		h.system = test.system
		if h.wrapped() != test.want {
			t.Errorf("%s at %q, %+v: %v", test.kind, test.path, test.system, !test.want)
		}
	}
}

func TestNixDarwinIsRefused(t *testing.T) {
	h := newHostRun(&run{}, hosts.NewHost("mac"))
	for system, refused := range map[string]bool{"x86_64-linux": false, "aarch64-darwin": true, "": false} {
		h.system.System = system
		if err := h.checkPlatform(); (err != nil) != refused {
			t.Errorf("%q: %v", system, err)
		}
	}
}
