package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestTable(t *testing.T) {
	got := table([]string{"NAME", "N", "LAST"}, []row{
		{cells: []string{"größer", "1", "x"}, below: []string{"more"}},
		{cells: []string{"a", "a sentence that is long"}},
		{cells: []string{"b\x1b]0;t\x07", "22", ""}},
	})
	want := `NAME           N   LAST
größer         1   x
  more
a              a sentence that is long
b\x1b]0;t\x07  22
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

const (
	systemA = "/nix/store/11111111111111111111111111111111-nixos-system-web1-25.05.20250601.abcdef1"
	systemB = "/nix/store/22222222222222222222222222222222-nixos-system-web1-25.05.20250601.abcdef1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)

func TestStatusTable(t *testing.T) {
	healthy := deploy.HostStatus{Host: "web1", Reachable: true, Running: systemA, Profile: systemA, Generation: 12, Boots: systemA, Flake: systemA}
	troubled := deploy.HostStatus{
		Host: "web2", Reachable: true, Running: systemB, Profile: systemA, Generation: 3, Boots: systemA, FlakeError: "it is broken\nat line 3",
		RebootNeeded: true, FailedUnits: []string{"a.service", "b.service"}, Freeze: &deploy.Freeze{Owner: "ann@desk", Message: "the disk", Since: noon},
		Transaction: &deploy.Transaction{Action: "switch", State: "waiting", Deployer: "bob@desk", Closure: systemB, Started: noon, Confirm: 43, DeadMan: 300},
	}
	stale := healthy
	stale.Host, stale.Flake, stale.NoNix, stale.FlakeError = "web3", "", true, "there is no nix"
	stale.Transaction = &deploy.Transaction{Action: "switch", State: "trying", Deployer: "bob@desk", Closure: systemB, Started: noon, Stale: "left by an earlier boot"}
	stale.Boots, stale.BootsError = "", "no loader"
	gone := deploy.HostStatus{Host: "web4", Code: deploy.CodeUnreachable, Failure: &event.Failure{Cause: "no answer within 10s\nmore"}}

	got := statusTable([]deploy.HostStatus{healthy, troubled, stale, gone})
	for _, want := range []string{
		"HOST  RUNS       BOOTS    FLAKE   REBOOT  FAILED  DEPLOYMENT  LOCK\n",
		"web1  gen 12     same     same    no      none    none        none\n",
		"web2  not gen 3  other    error   needed  2       waiting     held\n",
		"web3  gen 12     unknown  no nix  no      none    stale       held\n",
		"web4  unreachable: no answer within 10s\n\n",
		"web2: locked by ann@desk since 2026-01-02 12:00: the disk\n",
		"web2: the flake: it is broken\n",
		"web2: failed: a.service, b.service\n",
		"web2: unless it is confirmed within 43.0 s, it goes back within 5 min 00 s\n",
		"web3: it is stale: left by an earlier boot; the next hdeploy command that\n  changes the host settles it\n",
		"web3: what boots is not known: no loader\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

// requireFits fails where a line is wider than an ordinary terminal, unless it is
// nothing but a store path: half a path cannot be copied.
func requireFits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		path := strings.HasPrefix(strings.TrimLeft(line, " "), "/nix/store/") && strings.Count(strings.TrimLeft(line, " "), " ") == 0
		if ansi.StringWidth(line) > 80 && !path {
			t.Errorf("%d columns: %s", ansi.StringWidth(line), line)
		}
	}
}

// Whatever state a host is in, its status fits an ordinary terminal.
func TestStatusFitsAnOrdinaryTerminal(t *testing.T) {
	long := strings.Repeat("long-", 12) + "name"
	worst := deploy.HostStatus{
		Reachable: true, Running: systemB, Profile: systemA, Generation: 123456, Boots: systemA, Flake: systemA, RebootNeeded: true,
		FailedUnits: slices.Repeat([]string{"container@" + long + ".service"}, 12),
		Freeze:      &deploy.Freeze{Owner: "somebody@" + long, Message: strings.Repeat("the disk is being replaced ", 9), Since: noon},
	}
	unknown := deploy.HostStatus{Reachable: true, Running: systemB, Profile: systemA, Generation: 123456,
		BootsError: strings.Repeat("no loader ", 20), UnitsError: strings.Repeat("no bus ", 20), StateError: strings.Repeat("no disk ", 20),
		FlakeError: strings.Repeat("undefined ", 20) + "\nmore"}
	unreachable := deploy.HostStatus{Code: deploy.CodeUnreachable, Failure: &event.Failure{Cause: strings.Repeat("no route to "+long+" ", 4)}}
	for _, names := range [][]string{{"web1", "web2", "web3"}, {"web1", "web2." + long, long}} {
		for _, state := range transaction.States {
			var all []deploy.HostStatus
			for _, stale := range []string{"", strings.Repeat("left by an earlier boot ", 4)} {
				for _, h := range []deploy.HostStatus{worst, unknown} {
					h.Transaction = &deploy.Transaction{Action: "rollback", State: string(state), Deployer: "somebody@" + long, Closure: systemB, Started: noon,
						Confirm: 86399, DeadMan: 5 * 86399, Stale: stale}
					all = append(all, h)
				}
			}
			all = append(all, worst, unknown, unreachable, deploy.HostStatus{Reachable: true})
			for i := range all {
				all[i].Host = names[i%len(names)]
			}
			requireFits(t, statusTable(all))
		}
	}
}

func TestLongNameStandsAlone(t *testing.T) {
	long := strings.Repeat("n", 70)
	got := table([]string{"HOST", "RUNS"}, []row{{cells: []string{long, "gen 12 of many"}}, {cells: []string{"web1", "none"}}, {cells: []string{long}}})
	want := "HOST  RUNS\n" + long + "\n      gen 12 of many\nweb1  none\n" + long + "\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRowsFitAnOrdinaryTerminal(t *testing.T) {
	generations := table([]string{"NUMBER", "DATE", "NIXOS", "KERNEL", "VERDICT"}, []row{generationRow(protocol.Generation{
		Number: 1234, Date: noon, Path: systemA, Version: "25.05.20250601.abcdef1", Kernel: "6.12.30", Verdict: "confirmed", Deployer: "ann@desk",
		Revision: strings.Repeat("0123456789", 4), Dirty: true, Current: true, Running: true, Boots: true, LastKnownGood: true,
	})})
	history := table([]string{"NUMBER", "ID", "STARTED", "ACTION", "OUTCOME", "TOOK"}, []row{transactionRow(deploy.Transaction{
		Number: 1234, ID: "mfz3k2q7w5x4y6aa", Started: noon, Ended: noon.Add(time.Minute), Seconds: 61, Action: "rollback", State: "rollback-failed",
		Deployer: "ann@desk", Closure: systemA, Steps: []deploy.TransactionStep{{State: "prepared", Seconds: 1}, {State: "rollback-failed"}},
	})})
	requireFits(t, generations+history)
	for _, want := range []string{"runs, boots, last known good\n", "by ann@desk, revision 012345678901, dirty\n", "prepared 1.0 s\n", "rollback-failed  61.0 s\n"} {
		if !strings.Contains(generations+history, want) {
			t.Errorf("%q is missing in\n%s%s", want, generations, history)
		}
	}
}

func TestTransactionRowTellsWhy(t *testing.T) {
	got := table(make([]string, 6), []row{transactionRow(deploy.Transaction{
		ID: "abcd1234", State: "rolled-back", Closure: systemA, Reason: "probe site failed: expected 200, saw 502", Notes: []string{"a note"},
		Probes: []event.Probe{{Name: "site", Verdict: "fail"}, {Name: "late", Verdict: "unknown", Expected: "an answer", Seen: "none"}, {Name: "ok", Verdict: "pass"}},
	})})
	for _, want := range []string{"not over", "1 of 3 probes passed", "probe late: unknown: expected an answer, saw none", "because probe site failed: expected 200, saw 502", "note: a note"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "probe site: fail") {
		t.Errorf("the reason is told twice:\n%s", got)
	}
}
