package deploy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestTransactionIsToldInSecondsAndCapped(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	long := strings.Repeat("x", 1<<20)
	many := make([]string, 3*listTold)
	got := transactionOf(protocol.Status{
		ID: "abcd1234", State: transaction.RolledBack, Deployer: long, Reason: long, Notes: many, Started: start, Ended: start.Add(1500 * time.Millisecond),
		Steps:           []transaction.Step{{State: transaction.Prepared, At: start}, {State: transaction.RolledBack, At: start.Add(1500 * time.Millisecond)}},
		Results:         []probe.Result{{Name: "host"}},
		DeployerResults: []probe.Result{{Name: "deployer"}},
		Journal: []transaction.UnitLog{
			{Unit: "a.service", Lines: append(many, long)}, {Unit: "b.service"}, {Unit: "c.service"}, {Unit: "d.service"},
		},
		ConfirmIn: time.Minute,
	})
	if got.Action != "switch" || got.Seconds != 1.5 || got.Steps[0].Seconds != 1.5 || got.Steps[1].Seconds != 0 || got.Confirm != 60 {
		t.Errorf("got %+v", got)
	}
	if len(got.Deployer) != textTold || len(got.Reason) != textTold || len(got.Notes) != listTold {
		t.Errorf("not capped: deployer %d, reason %d, %d notes", len(got.Deployer), len(got.Reason), len(got.Notes))
	}
	if len(got.Journal) != unitsTold || len(got.Journal[0].Lines) != linesTold || len(got.Journal[0].Lines[linesTold-1]) != textTold {
		t.Errorf("the journal is not capped: %d units", len(got.Journal))
	}
	if len(got.Probes) != 2 || got.Probes[0].Name != "host" || got.Probes[1].Name != "deployer" {
		t.Errorf("probes %+v", got.Probes)
	}
}

func TestRefusedQuestionsNameTheNextCommand(t *testing.T) {
	h := newHostRun(nil, hosts.Host{Name: "web1", User: "root", Address: "web1.example.org", Port: 22})
	for code, next := range map[string]string{
		protocol.CodeFrozen: "hdeploy unlock --force web1", protocol.CodeRefused: "hdeploy history web1", protocol.CodeInternal: "journalctl",
	} {
		var f *Failure
		if err := h.toldNo(&protocol.Error{Code: code, Message: "no"}); !errors.As(err, &f) || f.Code != CodeRefused || !strings.Contains(f.Next, next) {
			t.Errorf("%s: %+v", code, f)
		}
	}
	for want, facts := range map[string]protocol.Facts{
		"not a NixOS host but debian": {OS: "debian"},
		"uid 1000":                    {NixOS: true, UID: 1000},
		"the running system":          {NixOS: true},
	} {
		if err := h.notOurs(facts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", facts, err)
		}
	}
	if err := h.notOurs(protocol.Facts{NixOS: true, Running: "/nix/store/x"}); err != nil {
		t.Error(err)
	}
}

// A broken configuration of one host does not hide what the flake has for another,
// and a missing Nix is no failure of the question.
func TestStatusEvaluatesWhatCanBeEvaluated(t *testing.T) {
	dir := t.TempDir()
	const fake = `#!/bin/sh
case "$*" in
--version) echo 'nix (Nix) 2.26.3' ;;
*eval*web2*) echo '@nix {"action":"msg","level":0,"msg":"error: web2 is broken","raw_msg":"web2 is broken"}' >&2; exit 1 ;;
*eval*) echo '{"nix":"2.26.3","hosts":[{"host":"web1","derivation":"/nix/store/00000000000000000000000000000000-nixos-system-web1.drv","output":"out","out":"/nix/store/11111111111111111111111111111111-nixos-system-web1","system":"x86_64-linux","hostName":"web1","expectations":null}]}' ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "nix"), []byte(fake), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	r := StatusRequest{Flake: "/flake", Hosts: []hosts.Host{
		{Name: "web1", Attribute: "nixosConfigurations.web1.config.system.build.toplevel"},
		{Name: "web2", Attribute: "nixosConfigurations.web2.config.system.build.toplevel"},
	}}
	wanted, failures := r.evaluate(t.Context())
	if wanted["web1"].OutPath != "/nix/store/11111111111111111111111111111111-nixos-system-web1" || failures["web1"] != nil {
		t.Errorf("web1: %+v, %v", wanted["web1"], failures["web1"])
	}
	if failures["web2"] == nil || !strings.Contains(flakeCause(failures["web2"]), "web2 is broken") {
		t.Errorf("web2: %v", failures["web2"])
	}

	t.Setenv("PATH", t.TempDir())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range Status(ended, r) {
		if s.Reachable || s.Code != CodeInterrupted || !s.NoNix || s.FlakeError == "" {
			t.Errorf("without Nix, and stopped: %+v", s)
		}
	}
}
