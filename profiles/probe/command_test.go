package probe

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(script string) Spec {
	s := quick(KindCommand)
	ask[CommandSpec](s).Argv = []string{"/bin/sh", "-c", script}
	return s
}

func TestCommand(t *testing.T) {
	stand := newStandIn(t)
	stand.program("tool", "#!/bin/sh\necho from the toplevel\n")
	t.Setenv("HDEPLOY_PROBE_TEST", "leaked")
	for _, c := range []struct {
		name           string
		spec           CommandSpec
		verdict, class string
		contains       string
	}{
		{"ends with 0", CommandSpec{Argv: []string{"/bin/true"}}, Pass, "", "ended with 0"},
		{"other code", CommandSpec{Argv: []string{"/bin/sh", "-c", "echo reason >&2; exit 3"}}, Fail, "exit-code", "reason"},
		{"wanted code", CommandSpec{Argv: []string{"/bin/sh", "-c", "exit 3"}, ExitCode: 3}, Pass, "", ""},
		{"output", CommandSpec{Argv: []string{"/bin/echo", "all good"}, Output: "good$|good\n"}, Pass, "", ""},
		{"all of the only line", CommandSpec{Argv: []string{"/bin/echo", "admin"}, Output: "^admin$"}, Pass, "", ""},
		{"no more than one line", CommandSpec{Argv: []string{"/bin/echo", "admin\nroot"}, Output: "^admin$"}, Fail, "output", "root"},
		{"other output", CommandSpec{Argv: []string{"/bin/echo", "bad"}, Output: "good"}, Fail, "output", "bad"},
		{"output beyond the cap", CommandSpec{Argv: []string{"/bin/sh", "-c", "i=0; while [ $i -lt 9000 ]; do echo 0123456789; i=$((i+1)); done; echo good"}, Output: "good"}, Fail, "output", "65536"},
		{"no such program", CommandSpec{Argv: []string{"/no/such/program"}}, Fail, "not-started", "no such file"},
		{"name in the toplevel", CommandSpec{Argv: []string{"tool"}, Output: "toplevel"}, Pass, "", ""},
		{"killed by a signal", CommandSpec{Argv: []string{"/bin/sh", "-c", "kill -9 $$"}}, Fail, "exit-code", "ended by"},
		{"nothing of the agent's environment", CommandSpec{Argv: []string{"/bin/sh", "-c", `[ -z "$HDEPLOY_PROBE_TEST" ]`}}, Pass, "", ""},
		{"no shell", CommandSpec{Argv: []string{"/bin/echo", "$HOME;id"}, Output: `\$HOME;id`}, Pass, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := quick(KindCommand)
			s.Ask = &c.spec
			for i, arg := range c.spec.Argv {
				ask[CommandSpec](s).Argv[i] = onThisMachine(t, arg)
			}
			runOne(t, s, stand.host(nil)).want(t, c.verdict, c.class, c.contains)
		})
	}
	missing := quick(KindCommand)
	missing.From, ask[CommandSpec](missing).Argv = FromDeployer, []string{"no-such-program-anywhere"}
	runOne(t, missing, nil).want(t, Unknown, "not-started", "")
}

// As root a command becomes another user, with that user's groups and home and
// nothing of the caller's; anybody else may only become himself.
func TestCommandUser(t *testing.T) {
	t.Setenv("HDEPLOY_PROBE_TEST", "leaked")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	stand := newStandIn(t)
	who := shell(onThisMachine(t, `/bin/cat /proc/self/status; /bin/cat /proc/self/environ`))
	if os.Geteuid() != 0 {
		command := ask[CommandSpec](who)
		command.User = "0"
		runOne(t, who, stand.host(nil)).want(t, Unknown, "not-started", "not permitted")
		return
	}
	for _, from := range []string{FromHost, FromDeployer} {
		who.From = from
		host := stand.host(nil)
		if from == FromDeployer {
			host = nil
		}
		for _, name := range []string{me.Username, "nobody", "65534"} {
			u, err := user.Lookup(name)
			if err != nil {
				u, err = user.LookupId(name)
			}
			if err != nil {
				t.Fatal(err)
			}
			groups, err := u.GroupIds()
			if err != nil {
				t.Fatal(err)
			}
			command := ask[CommandSpec](who)
			command.User = name
			command.Output = fmt.Sprintf(`(?s)Uid:\t%s\t%s.*Gid:\t%s\t%s.*Groups:\t%s \n.*USER=%s\x00`, u.Uid, u.Uid, u.Gid, u.Gid, strings.Join(groups, " "), u.Username)
			runOne(t, who, host).want(t, Pass, "", "")
			command.Output = "leaked"
			runOne(t, who, host).want(t, Fail, "output", "")
		}
	}
	who = shell("exit 0")
	ask[CommandSpec](who).User = "no-such-user"
	runOne(t, who, stand.host(nil)).want(t, Fail, "not-started", "no-such-user")
	locked := t.TempDir() // only its owner may enter
	if err := os.WriteFile(filepath.Join(locked, "secret"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	who = shell(onThisMachine(t, "/bin/cat ") + filepath.Join(locked, "secret"))
	runOne(t, who, stand.host(nil)).want(t, Pass, "", "")
	if err := os.Chmod(locked, 0o700); err != nil {
		t.Fatal(err)
	}
	ask[CommandSpec](who).User = "nobody"
	runOne(t, who, stand.host(nil)).want(t, Fail, "exit-code", "denied")
}

// The whole process group ends with the deadline, and the output that a
// grandchild holds open does not keep the probe.
func TestCommandTimeoutEndsTheGroup(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "pid")
	s := shell(onThisMachine(t, "/bin/sleep 60 & echo $! > ") + mark + "; wait")
	s.Deadline, s.Interval = 500*time.Millisecond, 500*time.Millisecond
	began := time.Now()
	runOne(t, s, newStandIn(t).host(nil)).want(t, Fail, "timeout", "")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	wantGone(t, mark)
}

// A program that ends and leaves a process behind does not leave it for long.
func TestCommandLeavesNothingBehind(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "pid")
	s := shell(onThisMachine(t, "/bin/sleep 60 & echo $! > ") + mark)
	runOne(t, s, newStandIn(t).host(nil)).want(t, Pass, "", "")
	wantGone(t, mark)
}

func wantGone(t *testing.T, mark string) {
	t.Helper()
	content, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(content), &pid); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d is still there", pid)
}
