package probe

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const secretBytes = "SECRETBYTES"

// vault is a stand-in on which OpNix did its work.
type vault struct {
	*standIn
	spec Spec
	// invocation is OpNix's in the recording.
	invocation string
}

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{standIn: newStandIn(t), spec: quick(KindOnePassword)}
	v.show("good.show")
	v.invocation = v.before().Units["opnix-secrets.service"].Invocation
	v.journal(v.invocation, "good.opnix-secrets.json", time.Minute)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	v.write("token", "ops_"+secretBytes)
	v.write("secret", secretBytes)
	ask[OnePasswordSpec](v.spec).TokenFile = filepath.Join(v.dir, "token")
	ask[OnePasswordSpec](v.spec).Secrets = []Secret{{Name: "joinToken", Path: filepath.Join(v.dir, "secret"), Owner: me.Username, Group: group.Name, Mode: "0600",
		Services: []string{"hercules-ci-agent"}}}
	return v
}

func (v *vault) secret() *Secret { return &ask[OnePasswordSpec](v.spec).Secrets[0] }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnePassword(t *testing.T) {
	for _, c := range []struct {
		name           string
		change         func(*testing.T, *vault)
		verdict, class string
		contains       string
	}{
		{"fetched", func(*testing.T, *vault) {}, Pass, "", "1 secrets as declared"},
		{"symlink to a file", func(t *testing.T, v *vault) {
			must(t, os.Symlink(v.secret().Path, filepath.Join(v.dir, "link")))
			v.secret().Path = filepath.Join(v.dir, "link")
		}, Pass, "", ""},
		{"nothing declared", func(_ *testing.T, v *vault) { v.spec.Ask = &OnePasswordSpec{NotConfigured: true} }, Pass, "", "judged by the host alone"},
		{"second candidate", func(t *testing.T, v *vault) {
			must(t, os.Remove(filepath.Join(v.dir, "units/opnix-secrets.service")))
			v.unit(strings.Split(recorded(t, "good.show"), "\n\n")[0], "Id=onepassword-secrets.service")
			v.change("hercules-ci-agent.service", "After=onepassword-secrets.service", "Wants=onepassword-secrets.service")
		}, Pass, "", "onepassword-secrets.service is active/exited"},
		{"no unit", func(t *testing.T, v *vault) { must(t, os.Remove(filepath.Join(v.dir, "units/opnix-secrets.service"))) }, Fail, "no-unit", ""},
		{"missing token and a good end", func(t *testing.T, v *vault) { v.journal(v.invocation, "warn.opnix-secrets.json", time.Minute) }, Fail, "no-token", "WARNING: Token file"},
		{"token taken away", func(t *testing.T, v *vault) { must(t, os.Remove(ask[OnePasswordSpec](v.spec).TokenFile)) }, Fail, "no-token", "does not exist"},
		{"token emptied", func(_ *testing.T, v *vault) { v.write("token", "") }, Fail, "empty-token", "empty"},
		{"token is a directory", func(_ *testing.T, v *vault) { ask[OnePasswordSpec](v.spec).TokenFile = v.dir }, Fail, "no-token", "directory"},
		{"token open to all", func(t *testing.T, v *vault) { must(t, os.Chmod(ask[OnePasswordSpec](v.spec).TokenFile, 0o644)) }, Fail, "mode", "0644"},
		{"secret missing", func(t *testing.T, v *vault) { must(t, os.Remove(v.secret().Path)) }, Fail, "missing-file", "secret joinToken"},
		{"secret empty", func(_ *testing.T, v *vault) { v.write("secret", "") }, Fail, "empty-file", "empty"},
		{"secret is a directory", func(_ *testing.T, v *vault) { v.secret().Path = v.dir }, Fail, "not-a-file", "directory"},
		{"wrong mode", func(_ *testing.T, v *vault) { v.secret().Mode = "0640" }, Fail, "mode", "mode 0600"},
		{"wrong owner", func(_ *testing.T, v *vault) { v.secret().Owner = "65533" }, Fail, "owner", "id"},
		{"wrong group", func(_ *testing.T, v *vault) { v.secret().Group = "65533" }, Fail, "owner", "id"},
		{"user of a dynamic service", func(_ *testing.T, v *vault) { v.secret().Owner = "atticd-of-nobody" }, Fail, "unknown-owner", "atticd-of-nobody"},
		{"consumer not ordered", func(_ *testing.T, v *vault) {
			v.change("hercules-ci-agent.service", "After=onepassword-secrets.service")
		}, Fail, "ordering", "not ordered"},
		{"consumer missing", func(_ *testing.T, v *vault) { v.secret().Services = []string{"no-such"} }, Fail, "ordering", "not-found"},
		{"journal unreadable", func(_ *testing.T, v *vault) { v.write("broken-journal", "") }, Unknown, "journal", ""},
		{"systemd silent", func(_ *testing.T, v *vault) { v.write("broken", "") }, Unknown, "systemd", ""},
		{"systemd hangs", func(_ *testing.T, v *vault) {
			v.write("hang", "")
			v.spec.Deadline, v.spec.Timeout = 300*time.Millisecond, 300*time.Millisecond
		}, Unknown, "systemd", ""},
		{"hung in a job", func(_ *testing.T, v *vault) { v.show("hung.show") }, Fail, "hung", "activating/start, job 457"},
		{"stopped", func(_ *testing.T, v *vault) {
			v.change("opnix-secrets.service", "ActiveState=inactive", "SubState=dead")
		}, Fail, "state", "inactive/dead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t)
			c.change(t, v)
			r := runOne(t, v.spec, v.host(nil))
			r.want(t, c.verdict, c.class, c.contains)
			if strings.Contains(r.Expected+r.Seen+r.Evidence+r.Hint, secretBytes) {
				t.Errorf("a secret got out: %+v", r)
			}
		})
	}
}

// The suggestions and counts that OpNix prints after every error name causes
// that are not the cause.
func TestOnePasswordFaults(t *testing.T) {
	suggestions := []string{"Check if the token has expired: visit 1Password admin console", "Check internet connectivity", "If rate-limited, wait for the 1Password reset window before retrying"}
	counts := []string{"provider resolution failed", "missing references: 0", "invalid references: 0", "ambiguous references: 0", "rate limited: 0"}
	for _, c := range []struct {
		line           string
		status         string
		verdict, class string
	}{
		{"ERROR: Token file is empty!", "1", Fail, "empty-token"},
		{"ERROR: Token file /etc/opnix-token is not readable!", "1", Fail, "no-token"},
		{"user 'atticd' does not exist", "1", Fail, "unknown-owner"},
		{"group 'atticd' does not exist", "1", Fail, "unknown-owner"},
		{"  - rate_limited: 1Password rate limit exceeded", "1", Unknown, "rate-limited"},
		{"something new", "75", Unknown, "rate-limited"},
		{"  - missing_reference for op://Vault/Item/field: no item matched the secret reference query", "1", Fail, "missing-reference"},
		{"something new", "65", Fail, "missing-reference"},
		{"Cause: unauthorized: invalid service account token", "1", Fail, "auth"},
		{"Cause: dial tcp: lookup my.1password.com: no such host", "1", Unknown, "network"},
		{"something new", "1", Fail, "failed"},
	} {
		v := newVault(t)
		v.show("crash.show")
		v.change("opnix-secrets.service", "ExecMainStatus="+c.status)
		b := v.before()
		v.lines(b.Units["opnix-secrets.service"].Invocation, 0, append(append(counts, c.line), suggestions...)...)
		r := runOne(t, v.spec, v.host(nil))
		r.want(t, c.verdict, c.class, "")
		if r.Hint == "" {
			t.Errorf("%s: no hint", c.class)
		}
		if strings.Contains(r.Evidence, "Vault/Item") {
			t.Errorf("a reference got out: %+v", r)
		}
		runOne(t, v.spec, v.host(b)).want(t, Unknown, ClassFailedBefore, "")
	}
}

// Without a token before the trial, and not run again by it: not the trial's fault.
func TestOnePasswordWarnedBefore(t *testing.T) {
	v := newVault(t)
	v.journal(v.invocation, "warn.opnix-secrets.json", time.Hour)
	b := v.before()
	must(t, os.Remove(ask[OnePasswordSpec](v.spec).TokenFile))
	r := runOne(t, v.spec, v.host(b))
	r.want(t, Unknown, ClassFailedBefore, "WARNING: Token file")
	if MustRollBack([]Result{r}) {
		t.Error("rolls back")
	}
}

func TestTokenShape(t *testing.T) {
	for text, want := range map[string]bool{
		"a.b.c": true, " a.b.c\n": true, "": false, "a.b": false, "a.b.c.d": false, "a..c": false, "a b.c.d": false, "a.b\n.c": false,
	} {
		if got := isToken([]byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

// A pipe where the file should be must not hold the probe up.
func TestReadSecretOfAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(path, 0o600))
	done := make(chan error, 1)
	go func() { _, err := readSecret(path); done <- err }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("it hangs")
	}
}
