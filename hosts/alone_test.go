package hosts

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAHostThatDeploysItself(t *testing.T) {
	h := load(t, "[hosts.web1]").Hosts[0]
	if h.Mode != ModeAuto || h.Witness != "" || h.OnUnknown != OnUnknownChanged || h.Outward != nil || h.RestartAgent != RestartBySwitch || h.Drain != 0 {
		t.Errorf("by default: %+v", h)
	}
	inv := load(t, `[defaults]
witness = "edge"
outward = ["https://hercules-ci.com"]
[hosts.ci]
confirm_mode = "self"
on_unknown = "rollback"
outward = { extend = ["https://cache.example.org:8443"] }
restart_agent = "last"
drain = "10m"
[hosts.edge]
[hosts.other]
witness = "none"
confirm_mode = "remote"`)
	ci, edge, other := inv.Hosts[0], inv.Hosts[1], inv.Hosts[2]
	if ci.Mode != ModeSelf || ci.Witness != "edge" || ci.OnUnknown != OnUnknownRollback || ci.RestartAgent != RestartLast || ci.Drain != 10*time.Minute {
		t.Errorf("said: %+v", ci)
	}
	if want := []string{"https://hercules-ci.com", "https://cache.example.org:8443"}; !slices.Equal(ci.Outward, want) {
		t.Errorf("outward %q, want %q", ci.Outward, want)
	}
	if edge.Witness != "" {
		t.Errorf("the host that everybody's witness is has itself as one: %q", edge.Witness)
	}
	if other.Witness != "" || other.Mode != ModeRemote {
		t.Errorf("against the default: %q, %q", other.Witness, other.Mode)
	}
}

func TestFaultsOfAHostThatDeploysItself(t *testing.T) {
	for line, want := range map[string]string{
		`witness = "web1"`:                      "deploy.toml:2:11: host web1 cannot be its own witness",
		`witness = "web3"`:                      `deploy.toml:2:11: witness "web3" is not defined`,
		`witness = ["web2"]`:                    "deploy.toml:2:1: witness of host web1 must be a string",
		`confirm_mode = "alone"`:                `deploy.toml:2:16: confirm_mode of host web1 cannot be "alone"`,
		`on_unknown = "back"`:                   `deploy.toml:2:14: on_unknown of host web1 cannot be "back"`,
		`restart_agent = "never"`:               `deploy.toml:2:17: restart_agent of host web1 cannot be "never"`,
		`drain = "-1s"`:                         "deploy.toml:2:9: drain of host web1 must be between 0s and 24h",
		`outward = ["http://example.org"]`:      `deploy.toml:2:12: outward of host web1: "http://example.org" is no https://NAME`,
		`outward = ["https://"]`:                "is no https://NAME",
		`outward = ["https://a b"]`:             "is no https://NAME",
		`outward = ["https://example.org/x?y"]`: "try: \"https://example.org\"",
		`outward = ["https://me@example.org"]`:  "try: \"https://example.org\"",
	} {
		_, err := decode("deploy.toml", "/x/deploy.toml", []byte("[hosts.web1]\n"+line+"\n[hosts.web2]"), testKinds())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
}
