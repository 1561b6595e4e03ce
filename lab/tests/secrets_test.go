//go:build lab

package tests

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/lab"
)

// marker stands in every secret of the host; planted in what is no secret.
const (
	marker  = "MARKER7f3a9c"
	planted = "PLANTED51e0b"
)

// tap keeps on the host what goes over each SSH session, decrypted, in both
// directions: the agent's stream among it.
const tap = `#!/bin/bash
wire=/root/wire/$$
exec /bin/bash -c "$SSH_ORIGINAL_COMMAND" < <(tee "$wire.in") > >(tee "$wire.out") 2> >(tee "$wire.err" >&2)
`

// watched is a host whose secrets are marked, and all that hdeploy told of it.
type watched struct {
	*site
	told map[string]string
}

func watch(s *site) *watched {
	s.t.Helper()
	s.install("/root/tap", tap)
	// sshd reads this file first.
	s.on("umask 077; mkdir -p /root/wire /root/.ssh; chmod 700 /root/tap; sed -n 's,^ssh-,command=\"/root/tap\" &,p' /etc/ssh/authorized_keys.d/root >/root/.ssh/authorized_keys; test -s /root/.ssh/authorized_keys")
	s.on("mkdir -p /run/systemd/system/opnix-secrets.service.d; printf '[Service]\\nEnvironment=LAB_VAULT=/root/vault.json\\n' >/run/systemd/system/opnix-secrets.service.d/marked.conf")
	s.on("umask 077; echo ops_" + marker + " >/etc/opnix-token")
	return &watched{s, map[string]string{}}
}

// install puts a file on the host, past hdeploy.
func (s *site) install(name, text string) {
	s.t.Helper()
	if err := s.host.WriteFile(s.t.Context(), name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// secrets are what the vault answers.
type secrets struct{ app, token, caches string }

func markedSecrets() secrets {
	part := base64.RawURLEncoding.EncodeToString
	return secrets{
		app:   marker,
		token: part([]byte(`{"alg":"HS256"}`)) + "." + part([]byte(`{"sub":"t$`+marker+`"}`)) + "." + marker,
		// The agent itself writes the names of caches to the journal.
		caches: `{"lab":{"kind":"CachixCache","authToken":"` + marker + `","` + marker + `":1,"signingKeys":["` + marker +
			`"],"publicKeys":["lab.cachix.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}}`,
	}
}

func (w *watched) vault(s secrets) {
	w.t.Helper()
	values := map[string]string{}
	for _, vault := range []string{"lab", "The Lab"} {
		values["op://"+vault+"/appSecret/value"] = s.app
		values["op://"+vault+"/herculesClusterJoinToken/value"] = s.token
		values["op://"+vault+"/herculesBinaryCaches/value"] = s.caches
	}
	text, err := json.Marshal(values)
	if err != nil {
		w.t.Fatal(err)
	}
	w.install("/root/vault.json", string(text))
}

// hears runs a command of hdeploy and keeps what it prints.
func (w *watched) hears(args ...string) answered {
	w.t.Helper()
	a := w.ask(args...)
	w.told[fmt.Sprintf("%d hdeploy %s", len(w.told), strings.Join(args, " "))] = a.stdout + "\n" + a.stderr
	return a
}

// everything runs what tells of a host, at the highest log level, and wants the
// deployment to end with code.
func (w *watched) everything(revision string, code int) {
	w.t.Helper()
	w.configure(settings{"revision": revision, "opnix": settings{}, "hercules": settings{"restarter": false, "labelRevision": true}})
	loud := []string{"--log-level", "trace", "--log-file", w.dir + "/trace.log"}
	with := func(args ...string) []string { return append(args, loud...) }
	w.hears(with("switch", hostName, "--output", "json")...).says(w.t, code)
	w.hears("switch", hostName, "--output", "plain", "--log-level", "trace", "--force").says(w.t, code)
	for _, args := range [][]string{
		{"log", hostName}, {"history", hostName}, {"status", hostName}, {"generations", hostName}, {"attach", hostName}, {"probe", hostName},
	} {
		w.hears(with(args...)...)
		w.hears(with(append(args, "--json")...)...)
	}
}

// finds names the places in which a text is found, among those where none of a
// secret may be.
func (w *watched) finds(text string) []string {
	w.t.Helper()
	forms := []string{text, base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"t$` + text + `"}`))}
	contains := func(in string) bool {
		return slices.ContainsFunc(forms, func(form string) bool { return strings.Contains(in, form) })
	}
	var found []string
	for name, said := range w.told {
		if contains(said) {
			found = append(found, "output: "+name)
		}
	}
	patterns := "-e " + strings.Join(forms, " -e ")
	list := "grep -rlaF " + patterns + " %s 2>/dev/null || true"
	for file := range strings.FieldsSeq(w.on(fmt.Sprintf(list, "/var/lib/hdeploy /run/hdeploy /tmp /var/tmp /root/wire"))) {
		found = append(found, "host: "+file)
	}
	for unit := range strings.FieldsSeq(w.on("journalctl --boot --all --output=json | grep -aF " + patterns + " | grep -ao '\"_SYSTEMD_UNIT\":\"[^\"]*\"' | sort -u || true")) {
		found = append(found, "journal: "+unit)
	}
	for file := range strings.FieldsSeq(inShell(w.t, workstation, fmt.Sprintf(list, w.dir+" /tmp /var/tmp /root/.cache /root/.local"))) {
		found = append(found, "workstation: "+file)
	}
	slices.Sort(found)
	return found
}

const secretProbes = `
[probes.app]
kind = "secret"
path = "/var/lib/opnix/secrets/appSecret"
deadline = "1s"
on_fail = "rollback"

[probes.token]
kind = "secret"
path = "/var/lib/hercules-ci-agent/secrets/cluster-join-token.key"
shape = "jwt"
owner = "hercules-ci-agent"
deadline = "1s"

[probes.caches]
kind = "secret"
path = "/var/lib/hercules-ci-agent/secrets/binary-caches.json"
schema = '{"type":"object","additionalProperties":{"type":"object","required":["kind","publicKeys"]}}'
deadline = "1s"

[probes.credential]
kind = "file"
path = "/etc/opnix-token"
type = "file"
size_least = 1
size_most = 4096
deadline = "1s"

[probes.said]
kind = "journal"
unit = "opnix-secrets.service"
must = [{ pattern = "Successfully processed [0-9]+ secrets" }]
must_not = [{ pattern = "(?i)panic" }]
soak = "0s"
deadline = "4s"

[probes.onepassword-secrets]
settle = "0s"
soak = "0s"
deadline = "4s"

[probes.hercules-ci-agent]
settle = "0s"
soak = "0s"
deadline = "6s"
quiet = "1s"
`

// Whatever state its secrets are in, none of their bytes is told, kept, logged or
// sent by hdeploy, at the highest log level either.
func TestSecretsNeverLeaveTheHost(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.inventory.Probes = `["app", "token", "caches", "credential", "said", "onepassword-secrets", "hercules-ci-agent"]`
	s.inventory.Tables = secretProbes
	w := watch(s)
	good := markedSecrets()
	w.vault(good)
	w.everything("healthy", 0)
	s.on("grep -rq " + marker + " /var/lib/opnix/secrets/appSecret /var/lib/hercules-ci-agent/secrets/binary-caches.json")
	if sent := s.on("cat /root/wire/*.out | wc -c"); sent == "0" {
		t.Fatal("nothing was captured")
	}
	for _, c := range []struct {
		name   string
		change func(*secrets)
		failed []string
	}{
		{"cut-off", func(s *secrets) {
			s.caches = s.caches[:len(s.caches)-30] + marker
			s.token = marker + "." + marker + "." + marker
		}, []string{"caches", "token"}},
		{"no-json", func(s *secrets) {
			s.caches = marker
			s.app = "op://" + marker + "/" + marker + "/value"
		}, []string{"caches", "app"}},
		{"other-schema", func(s *secrets) {
			s.caches = `{"lab":{"kind":"CachixCache","authToken":"` + marker + `","` + marker + `":1}}`
		}, []string{"caches"}},
	} {
		bad := good
		c.change(&bad)
		w.vault(bad)
		s.on("systemctl restart opnix-secrets.service")
		w.everything(c.name, 7)
		told := failedProbes(t, w)
		for _, name := range c.failed {
			if !slices.Contains(told, name) {
				t.Errorf("%s: the probe %s did not fail", c.name, name)
			}
		}
	}
	if found := w.finds(marker); len(found) > 0 {
		t.Errorf("a secret got out: %s", strings.Join(found, "\n"))
	}
	w.requireSharpEyes()
}

// failedProbes are those of the newest deployment.
func failedProbes(t *testing.T, w *watched) []string {
	t.Helper()
	all := lines[transactionLine](t, w.hears("history", hostName, "--json", "--limit", "1"))
	var names []string
	for _, l := range all {
		for _, p := range l.Probes {
			if p.Verdict != "pass" {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

// requireSharpEyes shows that the search finds, in each place, what is there: a
// probe that tells it, and what is put where nothing else does.
func (w *watched) requireSharpEyes() {
	w.t.Helper()
	if found := w.finds(planted); len(found) > 0 {
		w.t.Fatalf("found before it was planted: %q", found)
	}
	w.install("/root/planted", planted+"\n")
	w.inventory.Probes = `["loose"]`
	w.inventory.Tables = "[probes.loose]\nkind = \"command\"\nargv = [\"cat\", \"/root/planted\"]\noutput = \"never\"\ndeadline = \"1s\"\n"
	w.everything("loose", 7)
	w.on("cp /root/planted /tmp/; cp /root/planted /run/hdeploy/; systemd-run --quiet --wait --unit=hdeploy-planted cat /root/planted")
	inShell(w.t, workstation, "echo "+base64.StdEncoding.EncodeToString([]byte(planted))+" >/tmp/planted")
	defer inShell(w.t, workstation, "rm /tmp/planted")
	found := strings.Join(w.finds(planted), "\n")
	for _, place := range []string{
		"--output json", "--output plain", "hdeploy history", "host: /var/lib/hdeploy/", "host: /run/hdeploy/planted", "host: /tmp/planted", "host: /root/wire/",
		"hdeploy-planted.service", "workstation: " + w.dir + "/trace.log", "workstation: /tmp/planted",
	} {
		if !strings.Contains(found, place) {
			w.t.Errorf("the search is blind in %s; it found\n%s", place, found)
		}
	}
}
