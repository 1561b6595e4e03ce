//go:build lab

package probes

// opnixCases are the fault classes of the preset onepassword-secrets.
var opnixCases = []probeCase{
	{
		name:    "opnix: all is well",
		system:  settings{"opnix": settings{}},
		probes:  "[probes.onepassword-secrets]\n@secrets@\n",
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "1 secrets as declared"},
	},
	{
		name:    "opnix: secrets with another mode",
		system:  settings{"opnix": settings{"wrongMode": true}},
		probes:  "[probes.onepassword-secrets]\n@secrets@\n",
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "mode", seen: "0644"},
	},
}
