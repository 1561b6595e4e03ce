package nixos

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	oldUsage = `echo "Usage: $0 [switch|boot|test|dry-activate]

switch: make the configuration the boot default" >&2; exit 1`
	failedCheck = `echo "Usage: is not what this is" ; echo "Pre-switch check 'disk' failed" >&2; echo "Pre-switch checks failed" >&2; exit 1`
)

func TestPreSwitchChecks(t *testing.T) {
	for _, c := range []struct {
		name, stc string
		why       string
		boot      bool
	}{
		{"pass", `[ "$#" = 1 ] && [ "$1" = check ]`, "", false},
		{"not known to an older system", oldUsage, "", false},
		{"fail", failedCheck, "Pre-switch check 'disk' failed", true},
		{"crash", "exit 101", "exit 101", true},
		{"lock is held", `echo "Could not acquire lock" >&2; exit 11`, "another switch-to-configuration", false},
		{"another architecture, wrapped", "exit 126", "another architecture", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := toplevel(t, map[string]string{"bin/switch-to-configuration": c.stc})
			got := check(within(t), top, top)
			switch {
			case c.why == "" && got != nil:
				t.Errorf("objects: %s", got.Why)
			case c.why != "" && (got == nil || !strings.Contains(got.Why, c.why) || got.Boot != c.boot):
				t.Errorf("got %+v", got)
			}
		})
	}
	top := toplevel(t, map[string]string{"bin/switch-to-configuration": ""})
	// A program for a machine that is none.
	if err := os.WriteFile(filepath.Join(top, "bin/switch-to-configuration"), []byte("\x7fELF\x02\x01\x01"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := check(within(t), top, top); got == nil || !strings.Contains(got.Why, "another architecture") || got.Boot {
		t.Errorf("got %+v", got)
	}
	if got := check(within(t), top, t.TempDir()); got == nil || !strings.Contains(got.Why, "cannot be run") {
		t.Errorf("got %+v", got)
	}
}

func TestObject(t *testing.T) {
	top := func(system, init, stc string) string {
		dir := toplevel(t, map[string]string{"bin/switch-to-configuration": stc})
		for name, text := range map[string]string{"system": system, "init-interface-version": init} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	running := top(nixSystem(), "systemd 2", "")
	for _, c := range []struct {
		name, new string
		action    transaction.Action
		why       string
		boot      bool
	}{
		{"nothing", top(nixSystem(), "systemd 2", ""), transaction.Switch, "", false},
		{"another architecture", top("riscv64-linux", "systemd 2", ""), transaction.Switch, "riscv64-linux, the host is " + nixSystem(), false},
		{"another architecture to boot", top("riscv64-linux", "systemd 2", ""), transaction.Boot, "riscv64-linux", false},
		{"another init", top(nixSystem(), "systemd 3", ""), transaction.Switch, "systemd 3", true},
		{"another init to boot once", top(nixSystem(), "systemd 3", failedCheck), transaction.Reboot, "", false},
		{"another init to boot", top(nixSystem(), "systemd 3", ""), transaction.Boot, "", false},
		{"a check", top(nixSystem(), "systemd 2", failedCheck), transaction.Test, "disk", true},
		{"a check of what is to be booted", top(nixSystem(), "systemd 2", failedCheck), transaction.Boot, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Object(within(t), running, c.new, c.action)
			switch {
			case c.why == "" && got != nil:
				t.Errorf("objects: %s", got.Why)
			case c.why != "" && (got == nil || !strings.Contains(got.Why, c.why) || got.Boot != c.boot):
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestLockHolder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if pid := lockHolder(name, "/proc/locks"); pid != 0 {
		t.Errorf("held by %d", pid)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	// Who waits for the lock does not hold it.
	waiting := exec.CommandContext(within(t), "flock", name, "true")
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if pid := lockHolder(name, "/proc/locks"); pid != os.Getpid() {
		t.Errorf("held by %d, this is %d", pid, os.Getpid())
	}
	if says := process(os.Getpid()); !strings.Contains(says, filepath.Base(os.Args[0])) {
		t.Errorf("named %q", says)
	}
	f.Close()
	if err := waiting.Wait(); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "1: FLOCK\n", "1: POSIX  ADVISORY  WRITE 7 00:00:1 0 EOF\n"} {
		locks := filepath.Join(t.TempDir(), "locks")
		if err := os.WriteFile(locks, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid := lockHolder(name, locks); pid != 0 {
			t.Errorf("%q: held by %d", text, pid)
		}
	}
}

func TestWhatASwitchSaysBeforeItChangesAnything(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                false,
		"Pre-switch checks failed\n":      false,
		"the check is stopping nothing\n": false,
		"stopping the following units: a.service\n": true,
		"x\nactivating the configuration...\n":      true,
		"stopping swap device: /dev/sda2\n":         true,
	} {
		if changes.MatchString(text) != want {
			t.Errorf("%q: not %v", text, want)
		}
	}
}

func TestUnitsUntouched(t *testing.T) {
	was := systemd.Unit{ID: "web.service", Active: "active", Sub: "running", Invocation: "1"}
	for name, c := range map[string]struct {
		is   string
		want bool
	}{
		"the same":          {"Id=web.service\nActiveState=active\nSubState=running\nInvocationID=1\n", true},
		"restarted":         {"Id=web.service\nActiveState=active\nSubState=running\nInvocationID=2\n", false},
		"stopped":           {"Id=web.service\nActiveState=inactive\nSubState=dead\nInvocationID=1\n", false},
		"and a new one too": {"Id=web.service\nActiveState=active\nSubState=running\nInvocationID=1\n\nId=other.service\nActiveState=active\n", true},
	} {
		m, _ := scripted(t, `case "$1" in show) cat units;; list-units) echo "web.service loaded active running Web";; esac`, map[string]string{"units": c.is})
		h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}, Clock: Clock{}}
		if err := h.Store.SaveBaseline(id, probe.Baseline{Units: map[string]systemd.Unit{was.ID: was}}); err != nil {
			t.Fatal(err)
		}
		r := transaction.Record{ID: id, Previous: transaction.Previous{Running: strings.TrimSuffix(m.Bin, "/sw/bin")}}
		if got := h.unitsUntouched(within(t), r); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	h := Host{Store: transaction.Store{Dir: t.TempDir(), Run: t.TempDir()}, Clock: Clock{}}
	for _, exit := range []int{0, 2, 4, 101} {
		if h.untouched(within(t), transaction.Record{ID: id}, exit) {
			t.Errorf("exit %d leaves a host untouched", exit)
		}
	}
	if h.unitsUntouched(within(t), transaction.Record{ID: id}) {
		t.Error("without a baseline nothing is known")
	}
}
