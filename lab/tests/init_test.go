//go:build lab

package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// What init writes for a flake, completed by the levels of the file, deploys.
func TestInitWritesAFileThatDeploys(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "2"})
	const file = "fresh.toml"
	s.ask("init", "--flake", "./flake", "--config", file).says(t, 0, "wrote "+file, hostName)
	s.ask("init", "--flake", "./flake", "--config", file).says(t, 2, "overwrites no file")
	written := inShell(t, workstation, "cat "+s.dir+"/"+file)
	if !strings.Contains(written, "\n[hosts."+hostName+"]\n") || !strings.Contains(written, "flake = \"./flake\"\n") {
		t.Fatalf("written was\n%s", written)
	}
	s.ask("hosts", "--config", file).says(t, 0, hostName)

	levels := fmt.Sprintf("[defaults]\nuser = \"root\"\ntimeouts = { confirm = \"20s\", activation = \"40s\" }\n[tags.lab]\nhost_keys = [%q]\ntimeouts = { confirm = \"8s\" }\n\n", s.host.HostKey())
	host := fmt.Sprintf("[hosts.%s]\naddress = %q\ntags = [\"lab\"]\n", hostName, s.host.Address)
	s.write(file, strings.Replace(written, "[hosts."+hostName+"]\n", levels+host, 1))
	s.ask("config", "--config", file, hostName).says(t, 0, `timeouts.confirm = "8s"`, "[tags.lab]", `timeouts.activation = "40s"`, "[defaults]")
	s.ask("switch", "--config", file, hostName).says(t, 0, "committed")
}
