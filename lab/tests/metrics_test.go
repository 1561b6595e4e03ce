//go:build lab

package tests

import (
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

// What services.hdeploy.textfile adds to a system, with the agent where the lab has one.
var metricsUnits = settings{
	"hdeploy-metrics.service": `[Unit]
Description=hdeploy: metrics of deployments
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=-/bin/sh -c 'exec /var/lib/hdeploy/agent/hdeploy-agent-* metrics /var/lib/textfile/hdeploy.prom'
UMask=0022
PrivateNetwork=true
ProtectHome=true
ProtectSystem=strict
ReadWritePaths=-/var/lib/textfile
`,
	"hdeploy-metrics.path": `[Unit]
Description=hdeploy: a deployment went on

[Path]
PathChanged=/var/lib/hdeploy/transaction.json
PathChanged=/var/lib/hdeploy/history
`,
}

// Each deployment's end is in the file without a timer, and as the collector may read it.
func TestMetricsFollowDeployments(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.on("mkdir -m 0755 /var/lib/textfile")
	tell := func(wanted ...string) {
		t.Helper()
		eventually(t, 20*time.Second, func() string {
			text := s.on("cat /var/lib/textfile/hdeploy.prom 2>/dev/null || true")
			for _, line := range wanted {
				if !strings.Contains(text, line+"\n") {
					return line + " in " + text
				}
			}
			return ""
		})
	}
	s.configure(settings{"extraUnits": metricsUnits})
	s.deploy().require("committed", 0)
	tell("hdeploy_readable 1", `hdeploy_deployment_state{state="committed"} 1`, `hdeploy_system_verdict{verdict="confirmed"} 1`,
		"hdeploy_boots_what_runs 1", "hdeploy_deployment_number 1")
	if mode := s.on("stat -c '%a %U' /var/lib/textfile/hdeploy.prom"); mode != "644 root" {
		t.Errorf("the file is %s", mode)
	}
	// Steps that follow each other closely.
	s.on("for i in $(seq 12); do chmod 600 /var/lib/hdeploy/transaction.json; sleep 0.1; done; systemctl is-active hdeploy-metrics.path")

	s.configure(settings{"revision": "locks out", "extraUnits": metricsUnits, "faults": settings{"firewallDropSsh": true}})
	s.deploy().require("rolled-back", 7)
	tell(`hdeploy_deployment_state{state="rolled-back"} 1`, `hdeploy_deployment_state{state="committed"} 0`,
		`hdeploy_system_verdict{verdict="confirmed"} 1`, "hdeploy_boots_what_runs 1", "hdeploy_deployment_number 2")
}
