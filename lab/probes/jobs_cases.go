//go:build lab

package probes

// slow is a unit outside of any system whose start does not end.
var slow = shell("printf '[Service]\nType=oneshot\nExecStart=/usr/bin/sleep 100000\n' >/run/systemd/system/slow.service; systemctl daemon-reload")

var startSlow = shell("systemctl start --no-block slow.service")

// unitStateCases are what the kind unit asks for beside active or not, and jobs.
var unitStateCases = []probeCase{
	{
		name:    "unit: a oneshot did its work and is inactive",
		system:  units("work.service", unitText("echo done", once)),
		probes:  probe("work", "unit", `unit = "work.service"`, `finished = true`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
	}, {
		name:    "unit: its condition is not met, so that it does not run",
		system:  units("web.service", "[Unit]\nConditionPathExists=/nonexistent\n"+running),
		probes:  probe("web", "unit", `unit = "web.service"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "skipped", seen: "condition"},
	}, {
		name:    "unit: its condition is not met, as it should be",
		system:  units("web.service", "[Unit]\nConditionPathExists=/nonexistent\n"+running),
		probes:  probe("web", "unit", `unit = "web.service"`, `condition = false`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "unit: it is ordered after a unit that does not exist",
		system:  units("web.service", "[Unit]\nAfter=onepassword-secrets.service\n"+running),
		probes:  probe("web", "unit", `unit = "web.service"`, `after = ["onepassword-secrets.service"]`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "dangling-ordering", seen: "onepassword-secrets.service is not-found", hint: "systemctl cat onepassword-secrets.service"},
	}, {
		name:    "unit: it is not ordered after the unit that it needs",
		system:  units("web.service", running),
		probes:  probe("web", "unit", `unit = "web.service"`, `after = ["lab-marker.service"]`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "no-ordering", hint: "After web.service"},
		more:    true,
	}, {
		name:    "unit: it is ordered after the unit that it needs",
		system:  units("web.service", "[Unit]\nAfter=lab-marker.service\n"+running),
		probes:  probe("web", "unit", `unit = "web.service"`, `after = ["lab-marker.service"]`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "unit: the new system did not start it anew",
		since:   units("web.service", running),
		system:  units("web.service", running),
		probes:  probe("web", "unit", `unit = "web.service"`, `restarted = true`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-restarted"},
		more:    true,
	}, {
		name:    "unit: the new system started it anew, and should not",
		since:   units("web.service", running),
		system:  units("web.service", running+"TimeoutStopSec=7\n"),
		probes:  probe("web", "unit", `unit = "web.service"`, `restarted = false`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "restarted"},
		more:    true,
	}, {
		name:    "unit: systemd restarted it more often than it may",
		system:  units("web.service", unitText("test -e /run/seen && exec sleep 100000; touch /run/seen; sleep 1; exit 1", "Restart=always", "RestartSec=100ms")),
		probes:  probe("web", "unit", `unit = "web.service"`, `max_restarts = 0`, `settle = "3s"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "restarts", seen: "1 times"},
		more:    true,
	}, {
		name:    "unit: it ended with another exit status",
		system:  units("web.service", unitText("sleep 1; exit 0", "SuccessExitStatus=4")),
		probes:  probe("web", "unit", `unit = "web.service"`, `active = "inactive"`, `exit_status = 4`, `settle = "2s"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "exit-status", seen: "exit status 0"},
		more:    true,
	}, {
		name:    "unit: it must have been active for some time, and is",
		system:  units("web.service", running),
		probes:  probe("web", "unit", `unit = "web.service"`, `min_uptime = "3s"`, `deadline = "10s"`),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "unit: it is masked, and must be",
		system:  settings{},
		probes:  probe("ssh", "unit", `unit = "ssh.service"`, `load = "masked"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "unit: its start does not end",
		before:  slow,
		system:  settings{},
		during:  startSlow,
		probes:  probe("slow", "unit", `unit = "slow.service"`, `settle = "2s"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "hung", hint: "systemctl list-jobs"},
	}, {
		name:    "failed-jobs: none hangs",
		system:  settings{},
		probes:  probe("failed-jobs", "failed-jobs", window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "failed-jobs: a start that does not end",
		before:  slow,
		system:  settings{},
		during:  startSlow,
		probes:  probe("failed-jobs", "failed-jobs", `older_than = "2s"`, `settle = "3s"`, `deadline = "3s"`, `soak = "4s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "hung", seen: "slow.service start running", hint: "systemctl list-jobs"},
	}, {
		name:    "failed-jobs: it hung before",
		before:  and(slow, startSlow),
		system:  settings{},
		probes:  probe("failed-jobs", "failed-jobs", `older_than = "2s"`, `settle = "3s"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", note: "slow.service"},
		more:    true,
	},
}

var socketCases = []probeCase{
	{
		name:    "socket: the unit listens",
		before:  pages,
		system:  web,
		probes:  probe("port", "socket", `unit = "web.service"`, `local = ":8080"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "8080"},
	}, {
		name:    "socket: the unit runs and does not listen",
		system:  units("web.service", running),
		probes:  probe("port", "socket", `unit = "web.service"`, `local = ":8080"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-listening", hint: "ss -lnp"},
	}, {
		name:    "socket: another unit has the port",
		before:  and(pages, shell("systemd-run --quiet --unit=squatter /usr/bin/busybox httpd -f -p 8080 -h /srv/web")),
		system:  units("web.service", running),
		probes:  probe("port", "socket", `unit = "web.service"`, `local = ":8080"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "other-owner", seen: "squatter.service"},
	}, {
		name:    "socket: the unit has no connection",
		system:  units("web.service", running),
		probes:  probe("line", "socket", `unit = "web.service"`, `state = "established"`, `remote = ":443"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-connected", hint: "journalctl -u web.service"},
		more:    true,
	}, {
		name:    "socket: there is no such unit",
		system:  settings{},
		probes:  probe("port", "socket", `unit = "web.service"`, `local = ":8080"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-loaded"},
		more:    true,
	}, {
		name:    "socket: it closes while it is watched",
		before:  pages,
		system:  units("web.service", unitText("timeout 5 /usr/bin/busybox httpd -f -p 8080 -h /srv/web; exec sleep 100000")),
		probes:  probe("port", "socket", `unit = "web.service"`, `local = ":8080"`, `deadline = "3s"`, `soak = "6s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-listening"},
		more:    true,
	},
}
