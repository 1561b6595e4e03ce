//go:build lab

package probes

import (
	"context"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

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
	}, {
		name:    "policy: could-not-tell alerts where nothing else is said",
		system:  settings{},
		probes:  good + probe("lost", "command", `argv = ["no-such-program"]`, `from = "deployer"`, window),
		outcome: "degraded",
		want:    answer{verdict: "pass"},
		others:  []answer{{probe: "lost", verdict: "unknown", class: "not-started"}},
		more:    true,
	}, {
		name:    "policy: could-not-tell rolls back where that is asked for",
		system:  settings{},
		probes:  probe("lost", "command", `argv = ["no-such-program"]`, `from = "deployer"`, `on_unknown = "rollback"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "unknown", class: "not-started"},
	}, {
		name:    "policy: what could not be told even when asked again has failed",
		system:  settings{},
		probes:  probe("lost", "command", `argv = ["no-such-program"]`, `from = "deployer"`, `on_unknown = "retry"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "unknown", class: "not-started"},
		more:    true,
	}, {
		name:   "policy: what could not be told passes when it is asked again",
		system: settings{},
		during: after(4*time.Second, func(ctx context.Context, h *lab.Host) error {
			return workstation.WriteFile(ctx, "/root/late-"+h.Name, []byte("#!/bin/sh\n"), 0o755)
		}),
		probes:  probe("late", "command", `argv = ["/root/late-@host@"]`, `from = "deployer"`, `on_unknown = "retry"`, `deadline = "3s"`),
		outcome: "committed",
		want:    answer{verdict: "pass"},
	}, {
		name:    "ignore: a unit that fails and may",
		system:  settings{"faults": settings{"failUnit": "at-once"}},
		probes:  probe("no-new-failed-units", "no-new-failed-units", `ignore = ["lab-fail*.service"]`, watch),
		outcome: "committed",
		want:    answer{verdict: "pass", note: "lab-failing.service"},
	}, {
		name:    "ignore: another unit than the one that may fail",
		system:  settings{"faults": settings{"failUnit": "after-5s"}},
		probes:  probe("no-new-failed-units", "no-new-failed-units", `ignore = ["web.service"]`, `deadline = "4s"`, `soak = "8s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "failed", seen: "lab-failing.service"},
		more:    true,
	}, {
		name:    "passes: what passes only now and then does not pass",
		system:  settings{},
		probes:  probe("flapping", "command", `argv = ["sh", "-c", "if test -e /run/flap; then rm /run/flap; exit 1; fi; touch /run/flap"]`, `passes = 3`, `interval = "500ms"`, `deadline = "5s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "exit-code|unsteady"},
		more:    true,
	}, {
		name:    "after_rollback: what the rollback did not mend is told",
		system:  settings{},
		during:  shell("rm -f /run/lab-marker"),
		probes:  probe("marker", "file", `path = "/run/lab-marker"`, `settle = "2s"`, window) + bad,
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "missing-file"},
		more:    true,
	}, {
		name:    "after_rollback: what must be well after a rollback and is not",
		before:  shell("touch /var/lib/precious"),
		system:  settings{},
		during:  shell("rm /var/lib/precious"),
		probes:  probe("precious", "file", `path = "/var/lib/precious"`, `settle = "2s"`, `after_rollback = "required"`, window),
		outcome: "rollback-failed",
		want:    answer{verdict: "fail", class: "missing-file"},
	},
}
