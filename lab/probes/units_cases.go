//go:build lab

package probes

import "time"

// running is a service that goes on until it is killed.
var running = unitText("exec sleep 100000")

// fragile fails as soon as its file is there.
var fragile = units("fragile.service", fragileText)

var fragileText = unitText("test ! -e /var/lib/fragile || exit 3", once, stays)

var breakFragile = shell("touch /var/lib/fragile; systemctl restart fragile.service || true; systemctl is-failed fragile.service")

var unitCases = []probeCase{
	{
		name:    "unit: a service runs",
		system:  units("web.service", running),
		probes:  probe("web", "unit", `unit = "web.service"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "active/running"},
	}, {
		name:    "unit: a oneshot did its work and stays active",
		system:  units("web.service", unitText("true", once, stays)),
		probes:  probe("web", "unit", `unit = "web.service"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "active/exited"},
		more:    true,
	}, {
		name:    "unit: there is none of the name",
		system:  settings{},
		probes:  probe("web", "unit", `unit = "web.service"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-loaded", seen: "web.service is not-found", hint: "systemctl cat web.service"},
	}, {
		name:    "unit: it ended by itself, with success",
		system:  units("web.service", unitText("sleep 0.2")),
		probes:  probe("web", "unit", `unit = "web.service"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "state", seen: "inactive/dead", hint: "systemctl status web.service"},
		more:    true,
	}, {
		name:    "unit: the right one ended with the wrong result",
		system:  units("web.service", unitText("echo cannot go on; sleep 3; exit 7")),
		probes:  probe("web", "unit", `unit = "web.service"`, `settle = "4s"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "exit status 7", note: "cannot go on", hint: "journalctl -u web.service"},
	}, {
		name:    "unit: it is killed while it is judged",
		system:  units("web.service", running),
		probes:  probe("web", "unit", `unit = "web.service"`, `settle = "3s"`, window),
		during:  after(time.Second, shell("systemctl kill --signal=SIGKILL web.service")),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "result signal", hint: "journalctl -u web.service"},
		more:    true,
	}, {
		name:    "unit: it passes, and dies while it is watched",
		system:  units("web.service", unitText("echo it was too much; sleep 4; exit 1")),
		probes:  probe("web", "unit", `unit = "web.service"`, `deadline = "4s"`, `soak = "6s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "result exit-code", note: "it was too much"},
		more:    true,
	}, {
		name:    "unit: it waits for its restart after RestartSec=120",
		system:  units("web.service", unitText("echo crashing; sleep 3; exit 1", "Restart=always", "RestartSec=120")),
		probes:  probe("web", "unit", `unit = "web.service"`, `settle = "4s"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "crash-loop", seen: "activating/auto-restart", note: "crashing"},
	}, {
		name:    "unit: it is restarted once, and then stays",
		system:  units("web.service", unitText("test -e /run/seen && exec sleep 100000; touch /run/seen; sleep 3; exit 1", "Restart=always", "RestartSec=1")),
		probes:  probe("web", "unit", `unit = "web.service"`, `settle = "3s"`, `deadline = "8s"`),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "active/running"},
		more:    true,
	}, {
		name:    "unit: it failed before, and nobody starts it again",
		before:  shell("printf '[Service]\\nType=oneshot\\nExecStart=/usr/bin/false\\n' >/run/systemd/system/old.service; systemctl daemon-reload; systemctl start old.service || true"),
		system:  settings{},
		probes:  probe("old", "unit", `unit = "old.service"`, window),
		outcome: "degraded",
		want:    answer{verdict: "unknown", class: "failed-before", note: "failed before"},
	}, {
		name:    "unit: it failed before, is started again, and fails as before",
		since:   fragile,
		before:  breakFragile,
		system:  fragile,
		probes:  probe("fragile", "unit", `unit = "fragile.service"`, window),
		outcome: "degraded",
		want:    answer{verdict: "unknown", class: "failed-before", note: "failed before"},
	}, {
		name:    "unit: it failed before, and the new system mends it",
		since:   fragile,
		before:  breakFragile,
		system:  units("fragile.service", unitText("true", once, stays)),
		probes:  probe("fragile", "unit", `unit = "fragile.service"`, window) + probe("no-new-failed-units", "no-new-failed-units", watch),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		others:  []answer{{probe: "no-new-failed-units", verdict: "pass"}},
	},
}

var failedUnitsCases = []probeCase{
	{
		name:    "no-new-failed-units: none fails",
		system:  units("web.service", running),
		probes:  probe("no-new-failed-units", "no-new-failed-units", watch),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "none of"},
		more:    true,
	}, {
		name:    "no-new-failed-units: a unit dies after five seconds",
		system:  settings{"faults": settings{"failUnit": "after-5s"}},
		probes:  probe("no-new-failed-units", "no-new-failed-units", `deadline = "4s"`, `soak = "8s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "lab-failing.service", note: "giving up", hint: "journalctl -u lab-failing.service"},
	}, {
		name:    "a unit fails at once: the activation tells, no probe is asked",
		system:  settings{"faults": settings{"failUnit": "at-once"}},
		probes:  probe("no-new-failed-units", "no-new-failed-units", watch),
		outcome: "rolled-back",
		cause:   "lab-failing.service",
	}, {
		name:    "no-new-failed-units: a unit failed before, and still does",
		since:   fragile,
		before:  breakFragile,
		system:  fragile,
		probes:  probe("no-new-failed-units", "no-new-failed-units", watch),
		outcome: "committed",
		want:    answer{verdict: "pass", note: "failed before: fragile.service"},
	}, {
		name:    "no-new-failed-units: one failed before, and another is new",
		since:   fragile,
		before:  breakFragile,
		system:  settings{"extraUnits": settings{"fragile.service": fragileText}, "faults": settings{"failUnit": "after-5s"}},
		probes:  probe("no-new-failed-units", "no-new-failed-units", `deadline = "4s"`, `soak = "8s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "lab-failing.service"},
		more:    true,
	}, {
		name:    "no-new-failed-units: a crash loop with RestartSec=1",
		system:  settings{"faults": settings{"crashLoop": 1}},
		probes:  probe("no-new-failed-units", "no-new-failed-units", `settle = "1s"`, `deadline = "4s"`, `soak = "8s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed|crash-loop", seen: "lab-crashing.service"},
		more:    true,
	}, {
		name:    "no-new-failed-units: a crash loop with RestartSec=120",
		system:  units("web.service", unitText("echo crashing; sleep 4; exit 1", "Restart=always", "RestartSec=120")),
		probes:  probe("no-new-failed-units", "no-new-failed-units", `deadline = "4s"`, `soak = "8s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "web.service is activating/auto-restart", note: "crashing"},
	}, {
		name:    "no-new-failed-units: a unit that was restarted is not one that fails",
		system:  units("web.service", unitText("test -e /run/seen && exec sleep 100000; touch /run/seen; sleep 1; exit 1", "Restart=always", "RestartSec=100ms")),
		probes:  probe("no-new-failed-units", "no-new-failed-units", `settle = "2s"`, watch),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "unchanged: nothing is deployed, and the probes are asked",
		since:   settings{},
		probes:  probe("no-new-failed-units", "no-new-failed-units", watch),
		outcome: "unchanged",
		want:    answer{verdict: "pass"},
	}, {
		name:    "unchanged: nothing is deployed, and a probe fails",
		since:   settings{},
		probes:  probe("web", "unit", `unit = "web.service"`, window),
		outcome: "degraded",
		want:    answer{verdict: "fail", class: "not-loaded"},
		more:    true,
	},
}
