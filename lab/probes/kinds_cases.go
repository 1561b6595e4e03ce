//go:build lab

package probes

import "time"

// oneshot is a unit that stays active after its work.
func oneshot(script string) string {
	return "[Unit]\nDescription=Works once\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c \"" + script + "\"\n"
}

// service is a unit that runs.
func service(script, settings string) string {
	return "[Unit]\nDescription=Serves\n[Service]\nExecStart=/bin/sh -c \"" + script + "\"\n" + settings
}

// unitProbe asks for a unit.
func unitProbe(unit, parameters string) string {
	return "[probes.unit]\nkind = \"unit\"\nunit = \"" + unit + "\"\n@window@\n" + parameters + "\n"
}

// kindsCases are the fault classes of every kind that is no preset.
var kindsCases = []probeCase{
	{
		name:    "unit: a service runs",
		system:  settings{"extraUnits": settings{"web.service": service("exec sleep 1000", "")}},
		probes:  unitProbe("web.service", ""),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "active/running"},
	},
	{
		name:    "unit: there is none of the name",
		system:  settings{},
		probes:  unitProbe("web.service", ""),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-loaded", seen: "web.service is not-found", hint: "systemctl cat web.service"},
	},
	{
		name:    "unit: it ended by itself with success",
		system:  settings{"extraUnits": settings{"web.service": service("sleep 0.2", "")}},
		probes:  unitProbe("web.service", ""),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "state", seen: "inactive/dead", hint: "systemctl status web.service"},
	},
	{
		name:    "unit: it is killed while it is judged",
		system:  settings{"extraUnits": settings{"web.service": service("exec sleep 1000", "")}},
		probes:  unitProbe("web.service", "settle = \"3s\""),
		during:  after(time.Second, shell("systemctl kill --signal=SIGKILL web.service")),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "result signal", hint: "journalctl -u web.service"},
	},
	{
		name:    "no-new-failed-units: a unit dies after five seconds",
		system:  settings{"faults": settings{"failUnit": "after-5s"}},
		probes:  "[probes.no-new-failed-units]\ndeadline = \"4s\"\nsoak = \"8s\"\n",
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "lab-failing.service", note: "giving up", hint: "journalctl -u lab-failing.service"},
	},
	{
		name:    "a unit fails at once: the activation tells, no probe is asked",
		system:  settings{"faults": settings{"failUnit": "at-once"}},
		probes:  "[probes.no-new-failed-units]\n@watch@\n",
		outcome: "rolled-back",
		cause:   "lab-failing.service",
	},
	{
		name:    "unchanged: nothing is deployed and the probes are asked",
		since:   settings{},
		probes:  "[probes.no-new-failed-units]\n@window@\n",
		outcome: "unchanged",
		want:    answer{verdict: "pass"},
	},
}
