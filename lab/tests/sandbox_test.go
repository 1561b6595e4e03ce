//go:build lab

package tests

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
	"github.com/hbohlen/hdeploy/lab/ci"
)

// ciSite is a host with a Hercules CI agent that runs effects.
type ciSite struct {
	*site
	ci *ci.Host
}

// agentKnobs are those of an agent that is restarted by every revision, and by nothing else.
var agentKnobs = settings{"labelRevision": true, "restarter": false, "handshake": 1, "pause": 1, "restartSec": 2}

func newCI(t *testing.T) *ciSite {
	t.Helper()
	s := &ciSite{site: newSite(t, lab.HostOptions{})}
	s.configure(settings{"revision": "first", "opnix": settings{}, "hercules": agentKnobs})
	s.deploy().require("committed", 0)
	var err error
	if s.ci, err = ci.New(t.Context(), world, workstation, s.host); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *ciSite) push(p ci.Push) *ci.Task {
	s.t.Helper()
	task, err := s.ci.Push(s.t.Context(), p)
	if err != nil {
		s.t.Fatal(err)
	}
	return task
}

// effect runs a script as an effect, to its end.
func (s *ciSite) effect(script string) ci.Result {
	s.t.Helper()
	return s.end(s.push(ci.Push{Script: script}))
}

func (s *ciSite) end(task *ci.Task) ci.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	result, err := task.Wait(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// What the tests of effects stand on: the sandbox is what they say it is.
func TestAnEffectSeesItsSandboxOnly(t *testing.T) {
	s := newCI(t)
	closure := s.on("readlink -f /run/current-system")
	r := s.effect(`for a in id hostname ls cat touch; do eval "$a() { /usr/bin/busybox $a \"\$@\"; }"; done
say() { echo "$1=$(shift; "$@" 2>&1 | /usr/bin/busybox tr '\n' ' ')"; }
say uid id -u
say boot cat /proc/sys/kernel/random/boot_id
say umask umask
say root ls /
say etc ls /etc
say nix ls /nix/var/nix
say env /usr/bin/busybox env
say cwd pwd
say write touch /nix/store/written
say secrets cat /secrets/secrets.json
say spoil touch /secrets/secrets.json.other
test -t 1 && test -t 2 && ! test -t 0 && echo terminal=yes
say processes ls /proc
say interfaces cat /proc/net/dev
say valid /usr/bin/nix-store --check-validity ` + closure + `
say trusted /usr/bin/nix --extra-experimental-features nix-command store info --json
echo done
exit 3
`)
	if r.Killed || r.Code != 3 {
		t.Fatalf("it ended otherwise: %+v", r)
	}
	said := map[string]string{}
	for line := range strings.Lines(r.Output) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		said[key] = strings.TrimSpace(value)
	}
	for key, want := range map[string]string{
		"uid": "0", "boot": s.on("cat /proc/sys/kernel/random/boot_id"), "umask": "0077", "cwd": "/build", "terminal": "yes", "valid": "",
		"root": "bin build dev etc lib lib64 nix proc secrets sys usr", "etc": "passwd resolv.conf", "nix": "daemon-socket",
	} {
		if said[key] != want {
			t.Errorf("%s: got %q, want %q", key, said[key], want)
		}
	}
	for key, want := range map[string][]string{
		"write": {"Read-only file system"}, "spoil": {"Read-only file system"},
		"secrets":    {`"ssh":{"kind":"Secret","data":{"privateKey":"-----BEGIN`, `"hercules-ci":{"data":{"token":`},
		"env":        {"PATH=/path-not-set ", "HOME=/build/home ", "IN_HERCULES_CI_EFFECT=true ", "NIX_REMOTE=daemon "},
		"interfaces": {"host0"},
		"trusted":    {`"trusted":0`},
	} {
		for _, word := range want {
			if !strings.Contains(said[key]+" ", word) {
				t.Errorf("%s: got %q, want a word of %q", key, said[key], word)
			}
		}
	}
	if strings.Contains(said["processes"], s.on("systemctl show -P MainPID hercules-ci-agent")) {
		t.Errorf("it sees processes of the host: %s", said["processes"])
	}
	if r := s.end(s.push(ci.Push{Script: "exit 0\n", Branch: "feature"})); r.Code != 0 || r.Killed {
		t.Errorf("an effect without secrets: %+v", r)
	}
	s.on("journalctl -b -u hercules-ci-agent | grep -q 'Completed failed task' && journalctl -b -u hercules-ci-agent | grep -q 'Completed task successfully'")
}

// The agent is stopped as NixOS does it: whatever is in its control group is told, and killed if it does not listen.
func TestAnEffectEndsWithTheAgent(t *testing.T) {
	s := newCI(t)
	const patient = "trap 'echo told; exit 10' TERM; echo here; while :; do /usr/bin/busybox sleep 0.1; done\n"
	for _, hangup := range []bool{false, true} {
		task := s.push(ci.Push{Script: patient, Hangup: hangup})
		eventually(t, time.Minute, func() string {
			if !strings.Contains(task.Output(t.Context()), "here") {
				return "the effect has not begun"
			}
			return ""
		})
		s.on("systemctl restart hercules-ci-agent")
		r := s.end(task)
		listened := !r.Killed && r.Code == 10 && strings.Contains(r.Output, "told")
		// Without its terminal it dies, unless it was the faster one.
		if !listened && !(hangup && r.Killed) {
			t.Errorf("hangup %v: it ended otherwise: %+v", hangup, r)
		}
	}
	s.on("! pgrep -f '[/]nix/store/.*-effect-deploy'")
	if r := s.effect("echo again\n"); r.Code != 0 {
		t.Errorf("the agent does not work any more: %+v", r)
	}
}
