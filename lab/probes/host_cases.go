//go:build lab

package probes

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
	}, {
		name:    "command: the wanted exit code is not 0",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["sh", "-c", "exit 3"]`, `exit_code = 3`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "command: another output",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["echo", "out of order"]`, `output = "^all is well"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "output", note: "out of order"},
	}, {
		name:    "command: it runs as another user",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["id", "-un"]`, `user = "admin"`, `output = "^admin"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "command: a user that the host does not know",
		system:  settings{},
		probes:  probe("check", "command", `argv = ["true"]`, `user = "nosuchuser"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-started"},
		more:    true,
	}, {
		name:    "current-system: the deployed one runs",
		system:  settings{},
		probes:  probe("current-system", "current-system", window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
	},
}
