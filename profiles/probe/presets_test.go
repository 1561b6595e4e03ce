package probe

import (
	"net/http/httptest"
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

const (
	token  = "eyJ" + secretBytes + ".eyJzdWIiOiJ0JCJ9.c2ln"
	caches = `{"mine":{"kind":"CachixCache","publicKeys":["k"],"authToken":"` + secretBytes + `"},"own":{"kind":"NixCache","storeURI":"s3://b","publicKeys":[],"signingKeys":["` + secretBytes + `"]}}`
)

// agentHost is a stand-in on which the agent is well.
type agentHost struct {
	*standIn
	spec       Spec
	invocation string
	base       *Baseline
}

func newAgentHost(t *testing.T) *agentHost {
	t.Helper()
	a := &agentHost{standIn: newStandIn(t), spec: quick(KindHercules)}
	a.show("good.show")
	// The baseline is of another invocation, as after a restart by the trial.
	a.change("hercules-ci-agent.service", "InvocationID=00000000000000000000000000000001")
	a.base = a.before()
	a.show("good.show")
	a.invocation = a.before().Units["hercules-ci-agent.service"].Invocation
	a.journal(a.invocation, "good.hercules-ci-agent.json", time.Minute)
	me, err := user.Current()
	must(t, err)
	must(t, os.Mkdir(filepath.Join(a.dir, "secrets"), 0o700))
	a.write("secrets/cluster-join-token.key", token+"\n")
	a.write("secrets/binary-caches.json", caches)
	service := httptest.NewTLSServer(nil)
	t.Cleanup(service.Close)
	a.spec.Ask = &HerculesSpec{User: me.Username, BaseDirectory: a.dir, Quiet: 5 * time.Second, Endpoints: []string{service.Listener.Addr().String()}}
	return a
}

func TestHercules(t *testing.T) {
	crash := func(lines ...string) func(*testing.T, *agentHost) {
		return func(t *testing.T, a *agentHost) {
			a.show("crash.show")
			a.lines(a.before().Units["hercules-ci-agent.service"].Invocation, 0, lines...)
		}
	}
	recovering := func(lines ...string) func(*testing.T, *agentHost) {
		return func(_ *testing.T, a *agentHost) {
			a.lines(a.invocation, time.Second, append([]string{"[Agent][Info] " + agentOnline, "[Agent][Warning] " + agentRecovering + ". Reconnecting."}, lines...)...)
		}
	}
	unreachable := func(then func(*testing.T, *agentHost)) func(*testing.T, *agentHost) {
		return func(t *testing.T, a *agentHost) {
			ask[HerculesSpec](a.spec).Endpoints = []string{refusing(t)}
			then(t, a)
		}
	}
	for _, c := range []struct {
		name           string
		change         func(*testing.T, *agentHost)
		verdict, class string
		contains       string
	}{
		{"online", func(*testing.T, *agentHost) {}, Pass, "", "online for 1m"},
		{"not configured", func(_ *testing.T, a *agentHost) { ask[HerculesSpec](a.spec).NotConfigured = true }, Pass, "", "services.hercules-ci-agent: judged by the host alone"},
		{"online too short", func(_ *testing.T, a *agentHost) { a.journal(a.invocation, "good.hercules-ci-agent.json", time.Second) }, Fail, "not-ready", "quiet for 5s"},
		{"old trouble", func(_ *testing.T, a *agentHost) { a.journal(a.invocation, "warn.hercules-ci-agent.json", time.Minute) }, Pass, "", ""},
		{"trouble now", func(_ *testing.T, a *agentHost) { a.journal(a.invocation, "warn.hercules-ci-agent.json", time.Second) }, Unknown, "remote", agentRecovering},
		{"trouble that goes on", recovering("HttpExceptionRequest ... ConnectionFailure"), Unknown, "remote", "ConnectionFailure"},
		{"trouble without a network", unreachable(recovering()), Unknown, "network", "refused"},
		{"session refused", recovering("MalformedResponse (ResponseHead {responseCode = 401})"), Fail, "auth", "401"},
		{"not online", func(t *testing.T, a *agentHost) {
			all := strings.SplitAfter(shifted(recorded(t, "good.hercules-ci-agent.json"), time.Minute), "\n")
			a.write("journal."+a.invocation, strings.Join(all[:2], ""))
		}, Fail, "not-online", ""},
		{"not online without a network", unreachable(func(t *testing.T, a *agentHost) {
			all := strings.SplitAfter(recorded(t, "good.hercules-ci-agent.json"), "\n")
			a.write("journal."+a.invocation, strings.Join(all[:2], ""))
		}), Unknown, "network", "refused"},
		{"journal without the start", func(t *testing.T, a *agentHost) { must(t, os.Remove(filepath.Join(a.dir, "journal."+a.invocation))) }, Unknown, "journal", ""},
		{"older than its journal", func(t *testing.T, a *agentHost) {
			must(t, os.Remove(filepath.Join(a.dir, "journal."+a.invocation)))
			a.change("hercules-ci-agent.service", "ActiveEnterTimestampMonotonic=1")
			a.base = a.before()
		}, Pass, "", "no longer holds"},
		{"one restart before it settled", func(t *testing.T, a *agentHost) {
			a.base.Monotonic = monotonic() - 60_000_000
			a.write("restarts", shifted(recorded(t, "restarts.json"), 30*time.Second))
		}, Pass, "", ""},
		{"one restart after it settled", func(t *testing.T, a *agentHost) {
			a.write("restarts", shifted(recorded(t, "restarts.json"), -time.Minute))
		}, Fail, "restarts", "1 times"},
		{"two restarts", func(t *testing.T, a *agentHost) {
			a.base.Monotonic = monotonic() - 60_000_000
			one := shifted(recorded(t, "restarts.json"), 30*time.Second)
			a.write("restarts", one+one)
		}, Fail, "restarts", "2 times"},
		{"restart before the baseline", func(t *testing.T, a *agentHost) {
			one := shifted(recorded(t, "restarts.json"), time.Hour)
			a.write("restarts", one+one)
		}, Pass, "", ""},
		{"crash of its own", crash("hercules-ci-agent: The binary-caches.json file does not exist."), Fail, "crash", "binary-caches.json"},
		{"crash for want of a network", crash("HttpExceptionRequest Request {", "ConnectionFailure Network.Socket.getAddrInfo"), Unknown, "remote", "getAddrInfo"},
		{"crash without a word", crash(), Fail, "crash", "auto-restart"},
		{"crash without a word or a network", unreachable(crash()), Unknown, "network", "refused"},
		{"waits for OpNix for ever", func(_ *testing.T, a *agentHost) { a.show("hung.show") }, Fail, "hung", "job 515"},
		{"stopped", func(_ *testing.T, a *agentHost) {
			a.change("hercules-ci-agent.service", "ActiveState=inactive", "SubState=dead")
		}, Fail, "state", "inactive/dead"},
		{"no unit", func(t *testing.T, a *agentHost) {
			must(t, os.Remove(filepath.Join(a.dir, "units/hercules-ci-agent.service")))
		}, Fail, "no-unit", "not-found"},
		{"open directory", func(t *testing.T, a *agentHost) { must(t, os.Chmod(filepath.Join(a.dir, "secrets"), 0o755)) }, Fail, "mode", "0755"},
		{"open token", func(t *testing.T, a *agentHost) {
			must(t, os.Chmod(filepath.Join(a.dir, "secrets/cluster-join-token.key"), 0o640))
		}, Fail, "mode", "0640"},
		{"token read-only", func(t *testing.T, a *agentHost) {
			must(t, os.Chmod(filepath.Join(a.dir, "secrets/cluster-join-token.key"), 0o400))
		}, Pass, "", ""},
		{"token of another user", func(_ *testing.T, a *agentHost) { ask[HerculesSpec](a.spec).User = "65533" }, Fail, "owner", ""},
		{"token missing", func(t *testing.T, a *agentHost) {
			must(t, os.Remove(filepath.Join(a.dir, "secrets/cluster-join-token.key")))
		}, Fail, "missing-file", ""},
		{"token empty", func(_ *testing.T, a *agentHost) { a.write("secrets/cluster-join-token.key", "") }, Fail, "empty-file", ""},
		{"token of two parts", func(_ *testing.T, a *agentHost) { a.write("secrets/cluster-join-token.key", secretBytes+".x") }, Fail, "token-shape", ""},
		{"caches not JSON", func(_ *testing.T, a *agentHost) { a.write("secrets/binary-caches.json", secretBytes) }, Fail, "caches-shape", "not a JSON object"},
		{"caches without keys", func(_ *testing.T, a *agentHost) {
			a.write("secrets/binary-caches.json", `{"`+secretBytes+`":{"kind":"CachixCache","authToken":"x"}}`)
		}, Fail, "caches-shape", "1 of 1 entries"},
		{"journal unreadable", func(_ *testing.T, a *agentHost) { a.write("broken-journal", "") }, Unknown, "journal", ""},
		{"journal hangs", func(_ *testing.T, a *agentHost) {
			a.write("hang-journal", "")
			a.spec.Deadline, a.spec.Timeout = 400*time.Millisecond, 400*time.Millisecond
		}, Unknown, "journal", ""},
		{"systemd silent", func(_ *testing.T, a *agentHost) { a.write("broken", "") }, Unknown, "systemd", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAgentHost(t)
			c.change(t, a)
			r := runOne(t, a.spec, a.host(a.base))
			r.want(t, c.verdict, c.class, c.contains)
			if strings.Contains(r.Expected+r.Seen+r.Evidence+r.Hint, secretBytes) {
				t.Errorf("a secret got out: %+v", r)
			}
		})
	}
}

func TestHerculesFailedBefore(t *testing.T) {
	a := newAgentHost(t)
	a.show("crash.show")
	b := a.before()
	a.spec.Deadline, a.spec.Interval = time.Minute, time.Second
	r := runOne(t, a.spec, a.host(b))
	r.want(t, Unknown, ClassFailedBefore, "auto-restart")
	if r.Seconds > 10 {
		t.Errorf("waited %.0f s for what it does not judge", r.Seconds)
	}
	a.spec.Deadline, a.spec.Interval = 2*time.Second, 2*time.Second
	a.change("hercules-ci-agent.service", "InvocationID=00000000000000000000000000000002")
	runOne(t, a.spec, a.host(b)).want(t, Fail, "crash", "")
}

func TestHerculesTellsOfTheNameThatDoesNotExist(t *testing.T) {
	a := newAgentHost(t)
	a.change("hercules-ci-agent.service", "After=onepassword-secrets.service basic.target")
	r := runOne(t, a.spec, a.host(a.base))
	r.want(t, Pass, "", "")
	if !strings.Contains(r.Hint, "OpNix's unit is opnix-secrets.service") {
		t.Errorf("hint %q", r.Hint)
	}
}

func TestCaches(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                          "",
		caches:                        "",
		`null`:                        "not a JSON object",
		`[]`:                          "not a JSON object",
		`{"a":1}`:                     noObject,
		`{"a":null}`:                  noObject,
		`{"apiVersion":"v1"}`:         noObject,
		`{"a":{}}`:                    unknownKind,
		`{"a":{"kind":"AtticCache"}}`: unknownKind,
		`{"a":{"kind":"CachixCache","publicKeys":"k"}}`:                                  badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":null}}`:                                 badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":[null]}}`:                               badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":[]}}`:                                   "",
		`{"a":{"kind":"NixCache","publicKeys":[],"signingKeys":[]}}`:                     badNix,
		`{"a":{"kind":"NixCache","storeURI":"s3://x","publicKeys":[],"signingKeys":[]}}`: "",
	} {
		if got := cachesFlaw([]byte(text)); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
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

func FuzzCaches(f *testing.F) {
	f.Add([]byte(caches))
	f.Fuzz(func(t *testing.T, text []byte) {
		got := cachesFlaw(text)
		for _, known := range []string{noObject, unknownKind, badCachix, badNix, "not a JSON object"} {
			if got == "" || strings.HasSuffix(got, known) {
				return
			}
		}
		t.Errorf("got %q, which may quote the file", got)
	})
}
