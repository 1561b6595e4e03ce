//go:build lab

package tests

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

// effectUser deploys in these tests: it has no entry in the list of users, no home, and
// the Nix daemon does not trust it.
const effectUser = 4242

// effect is a host, and what an effect of Hercules CI is handed to deploy to it.
type effect struct {
	*site
	// closure is the system to deploy, built before.
	closure string
}

// newEffect makes a host whose new system is built in the workstation.
func newEffect(t *testing.T, options lab.HostOptions) effect {
	t.Helper()
	e := effect{site: newSite(t, options)}
	e.build("effect")
	e.open()
	e.give(map[string]string{})
	return e
}

// open lets the effect's user reach hdeploy and its files.
func (e effect) open() {
	e.t.Helper()
	inShell(e.t, workstation, "chmod 755 /root "+e.dir+" && install -m 755 /hdeploy/hdeploy "+e.dir+"/hdeploy")
}

// build builds the next system.
func (e *effect) build(revision string) {
	e.t.Helper()
	e.configure(settings{"revision": revision})
	e.write("flake.toml", e.inventory.String())
	out := inShell(e.t, workstation, "cd "+e.dir+" && XDG_STATE_HOME="+e.dir+"/state /hdeploy/hdeploy build --config flake.toml --output quiet "+hostName)
	e.closure = out
}

// give writes the secrets that the effect has, with the deployer's key among them, and
// deploy.toml.
func (e effect) give(more map[string]string) {
	e.t.Helper()
	data := map[string]string{"privateKey": inShell(e.t, workstation, "cat /root/.ssh/id_ed25519")}
	for name, value := range more {
		data[name] = value
	}
	text, err := json.Marshal(map[string]any{
		"ssh":         map[string]any{"kind": "Secret", "data": data},
		"hercules-ci": map[string]any{"data": map[string]any{"token": "x"}},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.write("secrets.json", string(text))
	e.write("deploy.toml", strings.Replace(e.inventory.String(), "flake = \"./flake\"\n", "", 1))
	inShell(e.t, workstation, fmt.Sprintf("chown %d %s/secrets.json %s/deploy.toml", effectUser, e.dir, e.dir))
}

// effectSummary is the last line that an effect prints.
type effectSummary struct {
	Type, Revision, Branch, Deployer string
	Code                             int
	Hosts                            []struct {
		Host string
		event.Outcome
	}
	Failure *event.Failure
}

// run runs hdeploy as the sandbox would, on a terminal, with an environment of nothing
// but these.
func (e effect) run(env []string, args ...string) (said string, summary effectSummary) {
	e.t.Helper()
	env = append([]string{"HERCULES_CI_SECRETS_JSON=" + e.dir + "/secrets.json", "NIX_REMOTE=daemon", "HDEPLOY_NIX=/usr/bin/nix",
		"IN_HERCULES_CI_EFFECT=true", "TERM=xterm-256color"}, env...)
	command := fmt.Sprintf("umask 077; cd %s; exec setpriv --reuid=%d --regid=%d --groups=\"$(getent group nix-users | cut -d: -f3)\" env -i %s ./hdeploy effect %s",
		e.dir, effectUser, effectUser, strings.Join(env, " "), strings.Join(args, " "))
	result, err := workstation.Exec(e.t.Context(), "script", "-qec", "sh -c '"+command+"'", "/dev/null")
	if err != nil {
		e.t.Fatal(err)
	}
	said = strings.ReplaceAll(result.Stdout, "\r\n", "\n")
	if at := strings.IndexAny(said, "\x1b\r\b"); at >= 0 {
		e.t.Errorf("there is a control character at %d of:\n%q", at, said)
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil || summary.Type != "effect" {
		e.t.Fatalf("the last line is no summary (%v):\n%s", err, said)
	}
	if summary.Code != result.Code {
		e.t.Errorf("exit code %d, and the summary says %d", result.Code, summary.Code)
	}
	return said, summary
}

// requireNoKey looks for the key in every file of the effect's user, on whatever file system:
// others have the deployer's key too, for tests of their own.
func (e effect) requireNoKey() {
	e.t.Helper()
	body := inShell(e.t, workstation, "sed -n 3p /root/.ssh/id_ed25519")
	found := inShell(e.t, workstation, fmt.Sprintf("find / '(' -path /proc -o -path /sys ')' -prune -o -type f -user %d -exec grep -laF -- '%s' {} + || true", effectUser, body))
	if !strings.Contains(found, e.dir+"/secrets.json") {
		e.t.Errorf("the key is not even in the secrets that were given: %q", found)
	}
	for file := range strings.Lines(found) {
		file = strings.TrimSpace(file)
		if path.Base(file) != "secrets.json" {
			e.t.Errorf("the key is in %s", file)
		}
	}
	if left := inShell(e.t, workstation, fmt.Sprintf("find / -xdev -user %d -not -path '/proc/*' -not -path '/root/*'", effectUser)); left != "" {
		e.t.Errorf("the effect has left %s", left)
	}
}

func TestEffectDeploysWithItsSecretsAlone(t *testing.T) {
	e := newEffect(t, lab.HostOptions{})
	manifest, err := json.Marshal(map[string]any{
		"version": 1, "hostName": hostName, "system": "x86_64-linux", "toplevel": e.closure,
		"expectations": map[string]any{"services": map[string]any{"onepassword-secrets": nil, "hercules-ci-agent": nil}, "units": []string{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.write("expectations.json", string(manifest))
	inShell(t, workstation, "chmod 644 "+e.dir+"/expectations.json")
	commit := strings.Repeat("0123456789abcdef", 4)[:40]

	said, summary := e.run([]string{"HERCULES_CI_PROJECT_PATH=github/hbohlen/pantherOS"}, hostName, "--closure", e.closure,
		"--expectations", "expectations.json", "--rev", commit, "--branch", "main")
	if summary.Code != 0 || len(summary.Hosts) != 1 {
		t.Fatalf("it did not deploy:\n%s", said)
	}
	o := summary.Hosts[0]
	if o.Host != hostName || o.Outcome.Outcome != "committed" || o.Closure != e.closure || o.Proof != "new-connection" || o.Transaction == "" {
		t.Errorf("the summary says %+v", o)
	}
	if summary.Revision != commit || summary.Branch != "main" || summary.Deployer != "hercules-ci github/hbohlen/pantherOS main@0123456789ab" {
		t.Errorf("the summary says %+v", summary)
	}
	requireRuns(t, e.snapshot(), e.closure)
	record := e.on("cat /var/lib/hdeploy/transaction.json")
	for _, word := range []string{commit, `"branch":"main"`, summary.Deployer} {
		if !strings.Contains(strings.ReplaceAll(record, `": `, `":`), word) {
			t.Errorf("the host's record has no %s", word)
		}
	}
	e.requireNoKey()

	// Once more for the same: the host has decided.
	if _, summary := e.run(nil, hostName, "--closure", e.closure); summary.Code != 0 || summary.Hosts[0].Transaction != o.Transaction {
		t.Errorf("the second run says %+v", summary)
	}
}

func TestEffectBelievesNoUnknownKey(t *testing.T) {
	e := newEffect(t, lab.HostOptions{})
	before := e.snapshot()
	e.inventory.HostKeys = ""
	e.give(map[string]string{})
	said, summary := e.run(nil, hostName, "--closure", e.closure)
	if summary.Code != 5 || len(summary.Hosts) != 1 || summary.Hosts[0].Failure == nil {
		t.Fatalf("an unknown key was not refused:\n%s", said)
	}
	f := summary.Hosts[0].Failure
	if !strings.Contains(f.Cause, "SHA256:") || !strings.Contains(f.Next, e.host.HostKey()) || strings.Contains(said, "hdeploy trust") {
		t.Errorf("the refusal says %+v", f)
	}
	requireUntouched(t, before, e.snapshot())

	e.give(map[string]string{"knownHosts": e.host.Address + " " + e.host.HostKey() + "\n"})
	if said, summary = e.run(nil, hostName, "--closure", e.closure); summary.Code != 0 {
		t.Fatalf("knownHosts of the secret do not count:\n%s", said)
	}
	requireRuns(t, e.snapshot(), e.closure)
	e.requireNoKey()
}

func TestEffectBecomesRootByItsSecret(t *testing.T) {
	s := newPasswordSite(t)
	s.inventory.Lines = "user = \"admin\"\nelevation = \"sudo\"\nelevation_password = \"ask\""
	e := effect{site: s}
	e.build("by password")
	inShell(t, workstation, "rm "+e.dir+"/password")
	e.open()
	e.give(map[string]string{})
	said, summary := e.run(nil, hostName, "--closure", e.closure)
	if summary.Code != 5 || !strings.Contains(said, "data.sudoPassword") {
		t.Fatalf("it did not say what is missing:\n%s", said)
	}
	e.give(map[string]string{"sudoPassword": rootPassword})
	if said, summary = e.run(nil, hostName, "--closure", e.closure); summary.Code != 0 {
		t.Fatalf("it did not deploy:\n%s", said)
	}
	if strings.Contains(said, rootPassword[:11]) {
		t.Error("it printed the password")
	}
	inShell(t, workstation, "rm "+e.dir+"/secrets.json")
	e.requireSecret()
}

func TestSwitchToAClosureWithoutAFlake(t *testing.T) {
	e := newEffect(t, lab.HostOptions{})
	bare := "/srv" + e.dir // no deploy.toml is above it
	inShell(t, workstation, "mkdir -p "+bare+"/.ssh && cd "+bare+" && ln -s "+e.closure+" result && cp /root/.ssh/id_ed25519 .ssh/ && echo '"+
		e.host.Address+" "+e.host.HostKey()+"' >.ssh/known_hosts")
	r := e.launch(bare, command{
		args: []string{"switch", e.host.Address, "--closure", "./result", "--output", "json", "--confirm-timeout", "20s"},
		env:  []string{"HOME=" + bare},
	}).wait().require("committed", 0)
	if r.Outcome.Closure != e.closure {
		t.Errorf("deployed %s and not %s", r.Outcome.Closure, e.closure)
	}
	requireRuns(t, e.snapshot(), e.closure)
	r.requireStep(event.Evaluate, event.Skipped)
	r.requireStep(event.Build, event.Skipped)
	if keeps := inShell(t, workstation, "readlink "+e.dir+"/state/hdeploy/roots/*/system"); !strings.Contains(keeps, e.closure) {
		t.Errorf("nothing keeps the closure at the deployer: %s", keeps)
	}

	// What is built already is copied from here, whatever deploy.toml says of builds.
	e.inventory.Lines = `build = "host"`
	e.build("from here")
	r = e.startSwitch(command{args: []string{"--closure", e.closure}}).wait().require("committed", 0)
	r.requireStep(event.Copy, event.Done)
	requireRuns(t, e.snapshot(), e.closure)

	// A closure for another machine is refused as with a flake.
	e.configure(settings{"revision": "other", "hostName": "another"})
	out := inShell(t, workstation, "cd "+e.dir+" && XDG_STATE_HOME="+e.dir+"/state2 /hdeploy/hdeploy build --config flake.toml --output quiet "+hostName)
	e.startSwitch(command{args: []string{"--closure", out}}).wait().require("refused", 5).requireFailure("calls itself", "another")
}
