package deploy

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// web1 is a host that nothing is wrong with.
func web1(t *testing.T) *hostRun {
	t.Helper()
	h := newHostRun(&run{Request: Request{Flake: "/home/ann/flake"}}, hosts.Host{
		Name: "web1", Address: "web1.example.org", Port: 22, User: "root", Attribute: "nixosConfigurations.web1.config.system.build.toplevel",
	})
	h.run.Hosts = []hosts.Host{h.Host}
	const plenty = 10 << 30
	h.facts = protocol.Facts{NixOS: true, Running: "/old", Profile: profiles.Generation{Link: "system-1-link", Number: 1, Path: "/old"}, FreeStore: plenty, FreeBoot: plenty, FreeState: plenty, System: "x86_64-linux"}
	h.system = nix.Evaluated{OutPath: newSystem(t), System: "x86_64-linux"}
	return h
}

func newSystem(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	put(t, filepath.Join(top, "bin/switch-to-configuration"), "")
	return top
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// refusal fails unless err refuses at a step and says all that is wanted.
func refusal(t *testing.T, err error, step string, says ...string) {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) || f.Word != Refused || f.Code != CodeRefused || f.Host != "web1" || f.Step != step || f.Next == "" {
		t.Fatalf("got %+v", err)
	}
	for _, part := range says {
		if !strings.Contains(f.Error()+" "+f.Next, part) {
			t.Errorf("%q with next %q does not say %q", f.Error(), f.Next, part)
		}
	}
}

func TestCheckHost(t *testing.T) {
	if err := web1(t).checkHost(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*protocol.Facts)
		step   string
		says   []string
	}{
		{"not NixOS", func(f *protocol.Facts) { f.NixOS, f.OS = false, "debian" }, "look", []string{"debian"}},
		{"not root", func(f *protocol.Facts) { f.UID = 1000 }, "elevate", []string{"1000", "deploy.toml"}},
		{"no state", func(f *protocol.Facts) { f.StateError = "read-only file system" }, "look", []string{"read-only file system", "ssh root@web1.example.org"}},
		{"no running system", func(f *protocol.Facts) { f.Running = "" }, "look", []string{"/run/current-system"}},
		{"store full", func(f *protocol.Facts) { f.FreeStore = storeReserve - 1 }, "space", []string{"/nix/store is full"}},
		{"boot full", func(f *protocol.Facts) { f.FreeBoot = bootReserve - 1 }, "space", []string{"/boot is full"}},
		{"state full", func(f *protocol.Facts) { f.FreeState = stateReserve - 1 }, "space", []string{"/var/lib is full"}},
		{"locked", func(f *protocol.Facts) {
			f.Transaction = &protocol.Status{ID: "abcd1234", State: transaction.Waiting, Deployer: "bob@lab", New: "/theirs", DeadManIn: 90 * time.Second}
		}, "lock", []string{"bob@lab", "/theirs", "waiting", "1m30s", "hdeploy attach web1 abcd1234"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := web1(t)
			c.change(&h.facts)
			refusal(t, h.checkHost(), c.step, c.says...)
		})
	}
	h := web1(t)
	h.facts.Transaction = &protocol.Status{State: transaction.RolledBack}
	if err := h.checkHost(); err != nil {
		t.Errorf("a finished transaction locks: %v", err)
	}
}

func TestCheckSystem(t *testing.T) {
	h := web1(t)
	if err := h.checkSystem(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(h.system.OutPath, "switch-inhibitors"), `{"dbus":"broker","same":"x"}`)
	h.facts.Inhibitors = json.RawMessage(`{"dbus":"daemon","same":"x"}`)
	refusal(t, h.checkSystem(), "judge", "dbus", "needs a reboot", "--or-boot web1")
	put(t, filepath.Join(h.system.OutPath, "switch-inhibitors"), `{`)
	refusal(t, h.checkSystem(), "judge", "read switch inhibitors")
	h.system.OutPath = t.TempDir()
	refusal(t, h.checkSystem(), "judge", "is not a NixOS system", "deploy.toml")
}

func TestInhibited(t *testing.T) {
	for _, c := range []struct {
		name, running, next string
		want                []string
		bad                 bool
	}{
		{name: "the same", running: `{"a":"1","b":"2"}`, next: `{"b":"2","a":"1"}`},
		{name: "another value", running: `{"a":"1","b":"2","c":"3"}`, next: `{"a":"x","b":"2","c":"y"}`, want: []string{"a", "c"}},
		{name: "a new key", running: `{"a":"1"}`, next: `{"a":"1","b":"2"}`},
		{name: "a lost key", running: `{"a":"1","b":"2"}`, next: `{"a":"1"}`},
		{name: "the running system has none", running: "", next: `{"a":"1"}`},
		{name: "the running one's is damaged", running: `[]`, next: `{"a":"1"}`},
		{name: "the new one's is damaged", running: `{"a":"1"}`, next: `[]`, bad: true},
		{name: "written in another way", running: `{"a":{"x":1}}`, next: "{ \"a\": {\n \"x\": 1 } }"},
		{name: "written as the wire does", running: `{"a":"x\u003cy\u0026"}`, next: `{"a":"x<y&"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := inhibited(json.RawMessage(c.running), protocol.Toplevel{Inhibitors: json.RawMessage(c.next)})
			if !slices.Equal(got, c.want) || c.bad != (err != nil) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	if got, err := inhibited(json.RawMessage(`{"a":"1"}`), protocol.Toplevel{}); got != nil || err != nil {
		t.Errorf("the new system has none: %v, %v", got, err)
	}
	if _, err := inhibited(json.RawMessage(`{"a":"1"}`), protocol.Toplevel{InhibitorsError: "read switch inhibitors: gone"}); err == nil {
		t.Error("what cannot be read counts as none")
	}
}

func TestNeedsReboot(t *testing.T) {
	h := web1(t)
	put(t, filepath.Join(h.system.OutPath, "kernel-file"), "")
	if err := os.Symlink("kernel-file", filepath.Join(h.system.OutPath, "kernel")); err != nil {
		t.Fatal(err)
	}
	file, err := filepath.EvalSymlinks(filepath.Join(h.system.OutPath, "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	for was, want := range map[string]bool{file: false, "/nix/store/other-kernel": true, "": false} {
		h.facts.Kernel = map[string]string{"kernel": was, "initrd": "/gone"}
		if got := h.needsReboot(); got != want {
			t.Errorf("booted %q: %v", was, got)
		}
	}
}

func TestUnchanged(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*protocol.Facts)
		want   bool
	}{
		{"all of it", func(*protocol.Facts) {}, true},
		{"another system runs", func(f *protocol.Facts) { f.Running = "/old" }, false},
		{"another profile", func(f *protocol.Facts) { f.Profile.Path = "/old" }, false},
		{"another system boots", func(f *protocol.Facts) { f.Boots.System = "/old" }, false},
		{"nothing known boots", func(f *protocol.Facts) { f.Boots.System = "" }, false},
		{"the loader is unknown", func(f *protocol.Facts) { f.Boots, f.BootsError = bootloader.Default{}, "no boot loader" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := web1(t)
			want := h.system.OutPath
			h.facts.Running, h.facts.Profile = want, profiles.Generation{Path: want}
			h.facts.Boots = bootloader.Default{System: want}
			c.change(&h.facts)
			if got := h.unchanged(); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
