//go:build lab

package probes

// herculesCases are the fault classes of the preset hercules-ci-agent.
var herculesCases = []probeCase{
	{
		name:    "hercules: all is well",
		system:  settings{"hercules": settings{}},
		probes:  "[probes.hercules-ci-agent]\n@agent@\n",
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "online for"},
	},
	{
		name:    "hercules: the service refuses the socket",
		system:  settings{"hercules": settings{"offline": true, "restarter": false}},
		probes:  "[probes.hercules-ci-agent]\n@agent@\n",
		outcome: "degraded",
		want:    answer{verdict: "unknown", class: "remote"},
	},
}
