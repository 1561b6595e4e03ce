//go:build lab

package probes

import (
	"slices"
	"strings"
	"time"
)

// kindsCases are the fault classes of every kind that is no preset.
var kindsCases = slices.Concat(unitCases, failedUnitsCases, netCases, commandCases, policyCases)

// unitText is a service whose main process is a script.
func unitText(script string, lines ...string) string {
	return "[Unit]\nDescription=Is probed\n[Service]\nExecStart=/bin/sh -c \"" + script + "\"\n" + strings.Join(lines, "\n") + "\n"
}

// once makes a unit a oneshot, and stays one that is active after its work.
const (
	once  = "Type=oneshot"
	stays = "RemainAfterExit=yes"
)

// units are knobs that add units to a system.
func units(nameAndText ...string) settings {
	extra := settings{}
	for pair := range slices.Chunk(nameAndText, 2) {
		extra[pair[0]] = pair[1]
	}
	return settings{"extraUnits": extra}
}

// probe is a table of deploy.toml.
func probe(name, kind string, lines ...string) string {
	return "[probes." + name + "]\nkind = \"" + kind + "\"\n" + strings.Join(lines, "\n") + "\n\n"
}

const (
	window = "@window@"
	watch  = "@watch@"
)

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
		system:  units("web.service", unitText("sleep 3; echo cannot go on; exit 7")),
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
		system:  units("web.service", unitText("sleep 4; echo it was too much; exit 1")),
		probes:  probe("web", "unit", `unit = "web.service"`, `deadline = "4s"`, `soak = "6s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "result exit-code", note: "it was too much"},
		more:    true,
	}, {
		name:    "unit: it waits for its restart after RestartSec=120",
		system:  units("web.service", unitText("sleep 3; echo crashing; exit 1", "Restart=always", "RestartSec=120")),
		probes:  probe("web", "unit", `unit = "web.service"`, `settle = "4s"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "activating/auto-restart", note: "crashing"},
	}, {
		name:    "unit: it is restarted once, and then stays",
		system:  units("web.service", unitText("test -e /run/seen && exec sleep 100000; touch /run/seen; sleep 3; exit 1", "Restart=always", "RestartSec=1")),
		probes:  probe("web", "unit", `unit = "web.service"`, `settle = "3s"`, `deadline = "8s"`),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "active/running"},
		more:    true,
	}, {
		name:    "unit: it failed before and is not started again",
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
		system:  units("web.service", unitText("sleep 4; echo crashing; exit 1", "Restart=always", "RestartSec=120")),
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

// web serves /srv/web at port 8080.
var web = units("web.service", "[Unit]\nDescription=Serves\n[Service]\nExecStart=/usr/bin/busybox httpd -f -p 8080 -h /srv/web\n")

// pages are what it serves.
var pages = shell(`mkdir -p /srv/web/cgi-bin
echo 'the service is well' >/srv/web/index.html
page() { printf '#!/bin/sh\n%s\n' "$2" >/srv/web/cgi-bin/$1; chmod 755 /srv/web/cgi-bin/$1; }
page broken 'printf "HTTP/1.0 500 Broken\r\nContent-Type: text/plain\r\n\r\nboom\n"'
page moved 'printf "HTTP/1.0 302 Found\r\nLocation: /index.html\r\n\r\n"'
page slow 'sleep 30'`)

var netCases = []probeCase{
	{
		name:    "tcp: a port accepts connections",
		before:  pages,
		system:  web,
		probes:  probe("port", "tcp", `address = "127.0.0.1:8080"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "accepted"},
		more:    true,
	}, {
		name:    "tcp: nothing listens",
		system:  settings{},
		probes:  probe("port", "tcp", `address = "127.0.0.1:8080"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "refused", seen: "refused"},
	}, {
		name:    "tcp: it listens only after two seconds",
		before:  pages,
		system:  units("web.service", unitText("sleep 2; exec /usr/bin/busybox httpd -f -p 8080 -h /srv/web")),
		probes:  probe("port", "tcp", `address = "127.0.0.1:8080"`, `deadline = "10s"`),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "tcp: the host's firewall drops what comes from outside",
		before:  and(pages, shell("nft 'add table inet probed; add chain inet probed in { type filter hook input priority -5; }; add rule inet probed in iifname host0 tcp dport 8080 drop'")),
		system:  web,
		probes:  probe("inside", "tcp", `address = "127.0.0.1:8080"`, window) + probe("outside", "tcp", `address = "@address@:8080"`, `from = "deployer"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "pass"},
		others:  []answer{{probe: "outside", verdict: "fail", class: "timeout"}},
	}, {
		name:    "http: the answer is as wanted, from both sides",
		before:  pages,
		system:  web,
		probes:  probe("inside", "http", `url = "http://127.0.0.1:8080/index.html"`, `body = "is well"`, window) + probe("outside", "http", `url = "http://@address@:8080/index.html"`, `from = "deployer"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "200"},
		others:  []answer{{probe: "outside", verdict: "pass"}},
	}, {
		name:    "http: status 500",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/cgi-bin/broken"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "status", seen: "500"},
	}, {
		name:    "http: a redirect is not followed unasked",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/cgi-bin/moved"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "status", seen: "302", note: "/index.html"},
	}, {
		name:    "http: another body",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/index.html"`, `body = "is ill"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "body", seen: "does not match"},
		more:    true,
	}, {
		name:    "http: no answer in time",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/cgi-bin/slow"`, `deadline = "4s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "timeout"},
		more:    true,
	}, {
		name:    "http: it speaks no TLS",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "https://127.0.0.1:8080/"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "tls"},
		more:    true,
	}, {
		name:    "http: the host does not know the name",
		system:  settings{},
		probes:  probe("site", "http", `url = "http://nosuchname.example/"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "dns", seen: "not resolved"},
	}, {
		name:    "http: the deployer does not know the name",
		system:  settings{},
		probes:  probe("site", "http", `url = "http://nosuchname.example/"`, `from = "deployer"`, window),
		outcome: "degraded",
		want:    answer{verdict: "unknown", class: "dns"},
	},
}

var commandCases = []probeCase{
	{
		name:    "command: it ends with success",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["systemctl", "is-active", "multi-user.target"]`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "ended with 0"},
		more:    true,
	}, {
		name:    "command: another exit code",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["sh", "-c", "echo no such thing; exit 3"]`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "exit-code", seen: "ended with 3", note: "no such thing"},
	}, {
		name:    "command: it does not end",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["sleep", "100"]`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "timeout", seen: "did not end in time"},
		more:    true,
	}, {
		name:    "command: the host has no such program",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["no-such-program"]`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-started"},
		more:    true,
	}, {
		name:    "command: the deployer has no such program",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["no-such-program"]`, `from = "deployer"`, window),
		outcome: "degraded",
		want:    answer{verdict: "unknown", class: "not-started"},
		more:    true,
	},
}

// Probes that pass and fail wherever they are asked.
var (
	good = probe("good", "command", `argv = ["true"]`, window)
	bad  = probe("bad", "command", `argv = ["false"]`, window)
	loud = probe("loud", "command", `argv = ["false"]`, `on_fail = "alert"`, window)
)

var policyCases = []probeCase{
	{
		name:    "policy: one that fails beside one that passes rolls back",
		system:  settings{},
		probes:  good + bad,
		outcome: "rolled-back",
		want:    answer{verdict: "pass"},
		others:  []answer{{probe: "bad", verdict: "fail", class: "exit-code"}},
		more:    true,
	}, {
		name:    "policy: one that fails and only alerts degrades",
		system:  settings{},
		probes:  good + loud,
		outcome: "degraded",
		want:    answer{verdict: "pass"},
		others:  []answer{{probe: "loud", verdict: "fail", class: "exit-code"}},
	}, {
		name:    "policy: where one alerts and another rolls back, it is rolled back",
		system:  settings{},
		probes:  loud + bad + good,
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "exit-code"},
		others:  []answer{{probe: "bad", verdict: "fail", class: "exit-code"}, {probe: "good", verdict: "pass"}},
		more:    true,
	},
}
