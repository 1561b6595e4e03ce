//go:build lab

package tests

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// runbook is docs/incidents.md: each of its commands has to be run.
type runbook struct {
	*site
	commands []string
	run      map[string]bool
}

const console = "console: "

// openRunbook reads the commands that stand in the page, one per line of its
// blocks. Those of a host's console begin with console.
func openRunbook(s *site) *runbook {
	s.t.Helper()
	page, err := os.ReadFile("../../docs/incidents.md")
	if err != nil {
		s.t.Fatal(err)
	}
	b := &runbook{site: s, run: map[string]bool{}}
	blocks := strings.Split(string(page), "```")
	for i := 1; i < len(blocks); i += 2 {
		kind, text, _ := strings.Cut(blocks[i], "\n")
		prefix, known := map[string]string{"sh": "", "sh console": console}[kind]
		if !known {
			s.t.Errorf("a block of kind %q", kind)
		}
		for line := range strings.Lines(text) {
			b.commands = append(b.commands, prefix+strings.TrimSpace(line))
		}
	}
	if lines := strings.Count(string(page), "\n"); lines > 120 {
		s.t.Errorf("the page has %d lines: it is no page any more", lines)
	}
	return b
}

// do runs a command of the page as a person at a terminal does, who says yes, and
// wants its exit code.
func (b *runbook) do(command string, generation, code int) string {
	b.t.Helper()
	if !slices.Contains(b.commands, command) {
		b.t.Fatalf("this command does not stand in the page: %s", command)
	}
	b.run[command] = true
	typed := strings.NewReplacer("HOST", hostName, "ADDRESS", b.host.Address, "GENERATION", fmt.Sprint(generation)).Replace(command)
	if onHost, ok := strings.CutPrefix(typed, console); ok {
		return b.on(onHost)
	}
	// The keys of the lab's hosts are nobody's.
	typed = strings.Replace(typed, "ssh ", "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null ", 1)
	b.write("typed", typed+"\n")
	script := fmt.Sprintf("cd %s; (sleep 2; echo y; sleep 1) | TERM=screen XDG_STATE_HOME=%s/state timeout 120 script -qec 'sh typed' /dev/null; echo code $?", b.dir, b.dir)
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	result, err := workstation.Exec(ctx, "sh", "-c", script)
	if err != nil {
		b.t.Fatal(err)
	}
	if !strings.HasSuffix(strings.TrimSpace(result.Stdout), fmt.Sprintf("code %d", code)) {
		b.t.Fatalf("%s: not exit code %d:\n%s", command, code, result.Stdout)
	}
	return result.Stdout
}

// inTrial begins a deployment and returns while the host waits.
func (b *runbook) inTrial(revision string) *run {
	b.t.Helper()
	inventory := b.inventory
	b.inventory.Timeouts = strings.Replace(shortTimeouts, `confirm = "8s"`, `confirm = "60s"`, 1)
	b.hold(50 * time.Second)
	b.faulty(revision, nil)
	r := b.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	b.inventory = inventory
	b.write("deploy.toml", b.inventory.String())
	return r
}

func TestEveryCommandOfTheRunbookWorks(t *testing.T) {
	b := openRunbook(newSite(t, lab.HostOptions{Loader: lab.GRUB}))
	systems := b.committed("1", "2", "3")

	b.do("hdeploy status --no-flake HOST", 0, 0)
	b.inventory.Probes = `["no-new-failed-units"]`
	b.write("deploy.toml", b.inventory.String())
	if said := b.do("hdeploy probe HOST --recorded", 0, 0); !strings.Contains(said, "healthy") {
		t.Errorf("it does not say whether the host is healthy:\n%s", said)
	}
	b.inventory.Probes = ""
	b.write("deploy.toml", b.inventory.String())
	b.do(`hdeploy lock HOST -m "an incident"`, 0, 0)
	b.deploy().require("refused", 5).requireFailure("an incident")
	b.do("hdeploy rollback HOST", 0, 0)
	requireRuns(t, b.snapshot(), systems[1])
	b.do("hdeploy unlock HOST", 0, 0)
	b.do("hdeploy switch HOST --force", 0, 0)
	requireRuns(t, b.snapshot(), systems[2])

	if listed := b.do("hdeploy generations HOST", 0, 0); !strings.Contains(listed, "confirmed") {
		t.Errorf("what is known of the generations is not told:\n%s", listed)
	}
	b.do("hdeploy rollback HOST --to GENERATION --yes", 2, 0)
	requireRuns(t, b.snapshot(), systems[0])
	before := b.snapshot()

	first := b.inTrial("aborted")
	b.do("hdeploy abort HOST", 0, 0)
	first.wait().require("rolled-back", 7)
	b.do("hdeploy attach HOST", 0, 7)
	if said := b.do("hdeploy log HOST", 0, 0); !strings.Contains(said, "lab-marker.service") {
		t.Errorf("it does not tell what the activation printed:\n%s", said)
	}
	requireRestored(t, before, b.snapshot())

	first = b.inTrial("confirmed")
	first.kill()
	b.do("hdeploy confirm HOST", 0, 0)
	b.do("hdeploy attach HOST", 0, 0)
	confirmed := b.snapshot()
	if confirmed.Running == before.Running {
		t.Error("it was not confirmed")
	}

	b.on(systems[1] + "/bin/switch-to-configuration test")
	b.do(console+"/nix/var/nix/profiles/system/bin/switch-to-configuration test", 0, 0)
	requireRuns(t, b.snapshot(), confirmed.Running)

	if said := b.do(`ssh root@ADDRESS "journalctl --no-pager -n 200 -u 'hdeploy-*'"`, 0, 0); !strings.Contains(said, "committed") {
		t.Errorf("the journal does not tell of the transactions:\n%s", said)
	}
	said := b.do(`ssh root@ADDRESS "readlink /run/current-system /nix/var/nix/profiles/system; systemctl --failed --no-pager"`, 0, 0)
	if !strings.Contains(said, confirmed.Running) || !strings.Contains(said, confirmed.Profile) {
		t.Errorf("it does not say what runs:\n%s", said)
	}
	b.do(`ssh root@ADDRESS "nix-collect-garbage --delete-older-than 30d"`, 0, 0)
	for _, kept := range b.snapshot().Roots {
		b.on("nix-store --check-validity " + kept)
	}

	for _, command := range b.commands {
		if !b.run[command] {
			t.Errorf("nobody runs this command of the page: %s", command)
		}
	}
}
