package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

const (
	// The payload is {"sub":"t$"}.
	token  = "eyJ" + secretBytes + ".eyJzdWIiOiJ0JCJ9.c2ln"
	caches = `{"mine":{"kind":"CachixCache","publicKeys":["k"],"authToken":"` + secretBytes + `"},"own":{"kind":"NixCache","storeURI":"s3://b","publicKeys":[],"signingKeys":["` + secretBytes + `"]}}`
)

// agentHost is a stand-in on which the agent is well.
type agentHost struct {
	*standIn
	spec       Spec
	invocation string
	base       *Baseline
	// connections of the unit's control group: one, none, or that it cannot be read.
	connections int
}

func newAgentHost(t *testing.T) *agentHost {
	t.Helper()
	a := &agentHost{standIn: newStandIn(t), spec: quick(KindHercules)}
	a.show("good.show")
	a.enable()
	// The baseline is of another invocation, as after a restart by the trial.
	a.change("hercules-ci-agent.service", "InvocationID=00000000000000000000000000000001")
	a.base = a.before()
	a.show("good.show")
	a.enable()
	a.connections = 1
	a.invocation = a.before().Units["hercules-ci-agent.service"].Invocation
	a.journal(a.invocation, "good.hercules-ci-agent.json", time.Minute)
	me, err := user.Current()
	must(t, err)
	must(t, os.Mkdir(filepath.Join(a.dir, "secrets"), 0o700))
	must(t, os.Mkdir(filepath.Join(a.dir, "secretState"), 0o700))
	a.write("secretState/session.key", token)
	a.write("secrets/cluster-join-token.key", token+"\n")
	a.write("secrets/binary-caches.json", caches)
	service := httptest.NewTLSServer(nil)
	t.Cleanup(service.Close)
	a.spec.Ask = &HerculesSpec{User: me.Username, BaseDirectory: a.dir, Quiet: 5 * time.Second, LateRestart: time.Minute, APIBaseURL: service.URL}
	return a
}

func (a *agentHost) ask() *HerculesSpec { return ask[HerculesSpec](a.spec) }

// enable does what NixOS does: the recorded unit was not enabled.
func (a *agentHost) enable() { a.change("hercules-ci-agent.service", "UnitFileState=enabled") }

// judge tries once, on a host with the connections of the stand-in.
func (a *agentHost) judge(t *testing.T, b *Baseline) Result {
	t.Helper()
	host := a.host(b)
	host.groups = filepath.Join(a.dir, "cgroup")
	procs := filepath.Join(host.groups, "system.slice/hercules-ci-agent.service/cgroup.procs")
	must(t, os.RemoveAll(procs))
	must(t, os.MkdirAll(filepath.Dir(procs), 0o700))
	switch {
	case a.connections < 0:
		must(t, os.Mkdir(procs, 0o700))
	case a.connections > 0:
		a.connect(t)
		must(t, os.WriteFile(procs, fmt.Appendln(nil, os.Getpid()), 0o600))
	}
	return runOne(t, a.spec, host)
}

// connect makes this process one that the agent could be, connected to the service
// as far as that is there.
func (a *agentHost) connect(t *testing.T) {
	t.Helper()
	address, _ := a.ask().apiAddress()
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
}

func TestHercules(t *testing.T) {
	crash := func(lines ...string) func(*testing.T, *agentHost) {
		return func(t *testing.T, a *agentHost) {
			a.show("crash.show")
			a.enable()
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
			a.ask().APIBaseURL = "https://" + refusing(t)
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
		{"not configured", func(_ *testing.T, a *agentHost) { a.ask().NotConfigured = true }, Pass, "", "services.hercules-ci-agent: judged by the host alone"},
		{"online too short", func(_ *testing.T, a *agentHost) { a.journal(a.invocation, "good.hercules-ci-agent.json", time.Second) }, Fail, "not-ready", "quiet for 5s"},
		{"old trouble", func(_ *testing.T, a *agentHost) { a.journal(a.invocation, "warn.hercules-ci-agent.json", time.Minute) }, Pass, "", ""},
		{"trouble now", func(_ *testing.T, a *agentHost) { a.journal(a.invocation, "warn.hercules-ci-agent.json", time.Second) }, Unknown, "socket", agentRecovering},
		{"trouble that goes on", recovering("HttpExceptionRequest ... ConnectionFailure"), Unknown, "connect", "ConnectionFailure"},
		{"trouble without a network", unreachable(recovering()), Unknown, "connect", "refused"},
		{"session refused", recovering("MalformedResponse (ResponseHead {responseCode = 401})"), Fail, "auth", "401"},
		{"not online", func(t *testing.T, a *agentHost) {
			all := strings.SplitAfter(shifted(recorded(t, "good.hercules-ci-agent.json"), time.Minute), "\n")
			a.write("journal."+a.invocation, strings.Join(all[:2], ""))
		}, Fail, "not-online", ""},
		{"not online without a network", unreachable(func(t *testing.T, a *agentHost) {
			all := strings.SplitAfter(recorded(t, "good.hercules-ci-agent.json"), "\n")
			a.write("journal."+a.invocation, strings.Join(all[:2], ""))
		}), Unknown, "connect", "refused"},
		{"journal without the start", func(t *testing.T, a *agentHost) { must(t, os.Remove(filepath.Join(a.dir, "journal."+a.invocation))) }, Unknown, "journal", ""},
		{"older than its journal", func(t *testing.T, a *agentHost) {
			must(t, os.Remove(filepath.Join(a.dir, "journal."+a.invocation)))
			a.change("hercules-ci-agent.service", "ActiveEnterTimestampMonotonic=1")
			a.base = a.before()
		}, Pass, "", "no longer holds"},
		{"one restart that nothing explains", func(t *testing.T, a *agentHost) {
			a.base.Monotonic = monotonic() - 60_000_000
			a.write("restarts", shifted(recorded(t, "restarts.json"), 30*time.Second))
		}, Fail, "crash-loop", "1 times"},
		{"one restart for want of a network", func(t *testing.T, a *agentHost) {
			a.base.Monotonic = monotonic() - 60_000_000
			a.write("restarts", shifted(recorded(t, "restarts.json"), 30*time.Second))
			a.unitLog(40*time.Second, "HttpExceptionRequest", "ConnectionFailure Network.Socket.getAddrInfo")
		}, Pass, "", ""},
		{"one restart for want of a file that is there now", func(t *testing.T, a *agentHost) {
			a.base.Monotonic = monotonic() - 60_000_000
			a.write("restarts", shifted(recorded(t, "restarts.json"), 30*time.Second))
			a.unitLog(40*time.Second, "hercules-ci-agent: The binary-caches.json file does not exist.")
		}, Pass, "", ""},
		{"the counter grew without a record", func(_ *testing.T, a *agentHost) { a.change("hercules-ci-agent.service", "NRestarts=2") }, Fail, "crash-loop", "no record"},
		{"one late restart by the path unit", func(_ *testing.T, a *agentHost) { a.starts(-10 * time.Second) }, Pass, "", ""},
		{"two late restarts", func(_ *testing.T, a *agentHost) { a.starts(-10*time.Second, -20*time.Second) }, Fail, "restarts", "2 times more"},
		{"a restart long after", func(_ *testing.T, a *agentHost) { a.starts(-3 * time.Minute) }, Fail, "restarts", "after the activation"},
		{"starts of the activation", func(_ *testing.T, a *agentHost) {
			a.base.Monotonic = monotonic() - 60_000_000
			a.starts(20*time.Second, 10*time.Second)
		}, Pass, "", ""},
		{"about to be restarted", func(_ *testing.T, a *agentHost) {
			a.unit("Id=hercules-ci-agent-restarter.service\nLoadState=loaded\nActiveState=activating\nSubState=start\nJob=7")
		}, Fail, "not-ready", "about to restart"},
		{"the restarter found the files wanting", func(_ *testing.T, a *agentHost) {
			a.unit(fmt.Sprintf("Id=hercules-ci-agent-restarter.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\nInvocationID=77\nExecMainStartTimestampMonotonic=%d", monotonic()+1000))
			a.lines("77", time.Second, "AesonException: Error in $: key", "WARNING: Not restarting agent because config is not valid at this time.")
		}, Fail, "self-test", "did not restart it"},
		{"two restarts", func(t *testing.T, a *agentHost) {
			a.base.Monotonic = monotonic() - 60_000_000
			one := shifted(recorded(t, "restarts.json"), 30*time.Second)
			a.write("restarts", one+one)
		}, Fail, "crash-loop", "2 times"},
		{"restart before the baseline", func(t *testing.T, a *agentHost) {
			one := shifted(recorded(t, "restarts.json"), time.Hour)
			a.write("restarts", one+one)
		}, Pass, "", ""},
		{"crash of its own", crash("hercules-ci-agent: The binary-caches.json file does not exist."), Fail, "crash", "binary-caches.json"},
		{"crash for want of a network", crash("HttpExceptionRequest Request {", "ConnectionFailure Network.Socket.getAddrInfo"), Unknown, "dns", "getAddrInfo"},
		{"crash without a word", crash(), Fail, "crash", "auto-restart"},
		{"crash without a word or a network", unreachable(crash()), Unknown, "connect", "refused"},
		{"waits for OpNix for ever", func(_ *testing.T, a *agentHost) { a.show("hung.show"); a.enable() }, Fail, "hung", "job 515"},
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
		{"token of another user", func(_ *testing.T, a *agentHost) { a.ask().User = "65533" }, Fail, "owner", ""},
		{"token missing", func(t *testing.T, a *agentHost) {
			must(t, os.Remove(filepath.Join(a.dir, "secrets/cluster-join-token.key")))
		}, Fail, "missing-file", ""},
		{"token empty", func(_ *testing.T, a *agentHost) { a.write("secrets/cluster-join-token.key", "") }, Fail, "empty-file", ""},
		{"token of two parts", func(_ *testing.T, a *agentHost) { a.write("secrets/cluster-join-token.key", secretBytes+".x") }, Fail, "token-shape", ""},
		{"caches not JSON", func(_ *testing.T, a *agentHost) { a.write("secrets/binary-caches.json", secretBytes) }, Fail, "caches-shape", "not a JSON object"},
		{"token of another kind", func(_ *testing.T, a *agentHost) {
			a.write("secrets/cluster-join-token.key", "eyJ."+secretBytes+".x")
		}, Fail, "token-shape", "no JSON"},
		{"caches of no known kind", func(_ *testing.T, a *agentHost) {
			a.write("secrets/binary-caches.json", `{"a":{"kind":"AtticCache"}}`)
		}, Pass, "", ""},
		{"session gone", func(t *testing.T, a *agentHost) { must(t, os.Remove(filepath.Join(a.dir, "secretState/session.key"))) }, Fail, "no-session", "no such file"},
		{"session's placeholder", func(_ *testing.T, a *agentHost) { a.write("secretState/session.key", "x\n") }, Fail, "no-session", "empty"},
		{"no connection", func(_ *testing.T, a *agentHost) { a.connections = 0 }, Fail, "no-connection", "no connection to the service"},
		{"no connection since its trouble", func(_ *testing.T, a *agentHost) {
			a.connections = 0
			a.lines(a.invocation, time.Minute, "[Agent][Info] "+agentOnline, "[Agent][Warning] "+agentRecovering+". Reconnecting.")
		}, Unknown, "socket", "is not back"},
		{"no connection and no network", unreachable(func(_ *testing.T, a *agentHost) { a.connections = 0 }), Unknown, "connect", "refused"},
		{"connections unreadable", func(_ *testing.T, a *agentHost) { a.connections = -1 }, Unknown, "sockets", "control group"},
		{"name that is not resolved", func(_ *testing.T, a *agentHost) {
			a.connections = 0
			a.ask().APIBaseURL = "https://hercules-ci.invalid"
		}, Unknown, "dns", "hercules-ci.invalid"},
		{"no TLS", func(t *testing.T, a *agentHost) {
			a.connections = 0
			a.ask().APIBaseURL = strings.Replace(plainServer(t, 200), "http:", "https:", 1)
		}, Unknown, "tls", "tls:"},
		{"the service's own error", func(t *testing.T, a *agentHost) {
			a.connections = 0
			a.ask().APIBaseURL = plainServer(t, 503)
		}, Unknown, "http-5xx", "503"},
		{"not enabled", func(_ *testing.T, a *agentHost) { a.change("hercules-ci-agent.service", "UnitFileState=linked") }, Fail, "not-enabled", "linked"},
		{"base directory of nobody", func(_ *testing.T, a *agentHost) { a.ask().BaseDirectory = filepath.Join(a.dir, "gone") }, Fail, "base-directory", "it does not"},
		{"not after OpNix", func(_ *testing.T, a *agentHost) {
			a.ask().AfterOpNix = true
			a.change("hercules-ci-agent.service", "After=basic.target")
		}, Fail, "ordering", "OpNix writes its files"},
		{"OpNix wrote the files after its start", func(_ *testing.T, a *agentHost) {
			a.ask().AfterOpNix = true
			a.base.Units["opnix-secrets.service"] = systemdUnit("opnix-secrets.service", "1")
		}, Fail, "stale-files", "was written since"},
		{"self-test failed", func(t *testing.T, a *agentHost) {
			crash()(t, a)
			failed := a.before().Units["hercules-ci-agent.service"].Invocation
			a.entries(failed, `"_PID":"1","MESSAGE_ID":"`+messageExited+`","MESSAGE":"hercules-ci-agent.service: Control process exited, code=exited, status=1/FAILURE"`,
				`"_PID":"7","MESSAGE":"AesonException: Error in $.lab: key \"publicKeys\" not found"`)
		}, Fail, "self-test", "publicKeys"},
		{"died after it was online, without a network", unreachable(crash("[Agent] "+agentOnline, "segmentation fault")), Fail, "crash", "segmentation"},
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
			r := a.judge(t, a.base)
			r.Evidence += strings.Join(r.Notes, "; ")
			r.want(t, c.verdict, c.class, c.contains)
			if strings.Contains(fmt.Sprintf("%+v", r), secretBytes) {
				t.Errorf("a secret got out: %+v", r)
			}
		})
	}
}

func TestHerculesFailedBefore(t *testing.T) {
	a := newAgentHost(t)
	a.show("crash.show")
	a.enable()
	b := a.before()
	a.spec.Deadline, a.spec.Interval = time.Minute, time.Second
	r := a.judge(t, b)
	r.want(t, Unknown, ClassFailedBefore, "auto-restart")
	if r.Seconds > 10 {
		t.Errorf("waited %.0f s for what it does not judge", r.Seconds)
	}
	a.spec.Deadline, a.spec.Interval = 2*time.Second, 2*time.Second
	a.change("hercules-ci-agent.service", "InvocationID=00000000000000000000000000000002")
	a.judge(t, b).want(t, Unknown, ClassFailedBefore, "")
}

// unitLog puts lines in place as what the unit's processes wrote in all their runs.
func (a *agentHost) unitLog(age time.Duration, lines ...string) {
	a.t.Helper()
	a.lines("tmp", age, lines...)
	must(a.t.(*testing.T), os.Rename(filepath.Join(a.dir, "journal.tmp"), filepath.Join(a.dir, "unitlog")))
}

// starts records starts of the unit that are so old; younger than now if negative.
func (a *agentHost) starts(ages ...time.Duration) {
	var text strings.Builder
	for _, age := range ages {
		fmt.Fprintf(&text, `{"MESSAGE":"Started","MESSAGE_ID":%q,"_PID":"1","__MONOTONIC_TIMESTAMP":"%d"}`+"\n", messageStarted, monotonic()-age.Microseconds())
	}
	a.write("restarts", text.String())
}

// entries puts journal entries of these fields in place.
func (a *agentHost) entries(invocation string, fields ...string) {
	var text strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&text, `{%s,"__MONOTONIC_TIMESTAMP":"%d"}`+"\n", f, monotonic())
	}
	a.write("journal."+invocation, text.String())
}

func systemdUnit(id, invocation string) systemd.Unit {
	return systemd.Unit{ID: id, Load: "loaded", Active: "active", Invocation: invocation}
}

// plainServer answers every request with a status, without TLS.
func plainServer(t *testing.T, status int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(server.Close)
	return server.URL
}

func (r Result) notes(t *testing.T, wanted ...string) {
	t.Helper()
	for _, text := range wanted {
		if !strings.Contains(strings.Join(r.Notes, "\n"), text) {
			t.Errorf("no note of %q: %q", text, r.Notes)
		}
	}
}

func TestHerculesNotes(t *testing.T) {
	a := newAgentHost(t)
	a.change("hercules-ci-agent.service", "After=onepassword-secrets.service basic.target")
	a.write("secrets/binary-caches.json", `{"a":{"kind":"AtticCache"}}`)
	a.lines(a.invocation, time.Minute, "[x][Agent][Warning][main:X] Cache a has unknown kind AtticCache", agentOnline)
	before := a.base.Units["hercules-ci-agent.service"].Invocation
	a.lines(before, time.Hour, "[Agent] Starting task", "[Agent] Starting task", "[Agent] Completed failed task")
	must(t, os.Chmod(filepath.Join(a.dir, "secretState/session.key"), 0o644))
	r := a.judge(t, a.base)
	r.want(t, Pass, "", "connected to the service")
	r.notes(t, "OpNix's unit is opnix-secrets.service", "1 of 1 entries of binary-caches.json are ignored",
		"the agent says: Cache a has unknown kind AtticCache", "broke off what it worked on: tasks: 1", "mode 0644")
}

func TestHerculesTellsEveryFlaw(t *testing.T) {
	a := newAgentHost(t)
	must(t, os.Chmod(filepath.Join(a.dir, "secrets"), 0o755))
	a.write("secrets/cluster-join-token.key", "")
	a.write("secrets/binary-caches.json", "{")
	a.connections = 0
	r := a.judge(t, a.base)
	r.want(t, Fail, "mode", "0755")
	r.notes(t, "also empty-file", "also caches-shape", "also no-connection")
}

// What is certain ends the probe after two looks, and does not wait for the
// deadline; what somebody is about to mend does.
func TestHerculesIsSureInSeconds(t *testing.T) {
	a := newAgentHost(t)
	a.show("crash.show")
	a.enable()
	a.change("hercules-ci-agent.service", fmt.Sprintf("StateChangeTimestampMonotonic=%d", monotonic()+1_000_000))
	a.lines(a.before().Units["hercules-ci-agent.service"].Invocation, 0, "hercules-ci-agent: The binary-caches.json file does not exist.")
	a.spec.Deadline, a.spec.Interval = time.Minute, 100*time.Millisecond
	r := a.judge(t, a.base)
	r.want(t, Fail, "crash", "binary-caches.json")
	if r.Seconds > 20 {
		t.Errorf("it took %.0f s", r.Seconds)
	}
	a.unit("Id=opnix-secrets.service\nLoadState=loaded\nActiveState=activating\nSubState=start")
	a.spec.Deadline = 2 * time.Second
	if r := a.judge(t, a.base); r.Seconds < 1.5 {
		t.Errorf("it did not wait for OpNix: %.1f s, %+v", r.Seconds, r)
	}
}

// An agent that is not ready is given up before the deadline, which has room for
// a restart, unless systemd is about to start it.
func TestHerculesReady(t *testing.T) {
	a := newAgentHost(t)
	a.connections = 0
	a.ask().Ready = time.Second
	a.spec.Deadline, a.spec.Interval = 30*time.Second, 200*time.Millisecond
	r := a.judge(t, a.base)
	r.want(t, Fail, "no-connection", "")
	if r.Seconds < 0.9 || r.Seconds > 15 {
		t.Errorf("given up after %.1f s", r.Seconds)
	}
}

func TestCaches(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                          "",
		caches:                        "",
		`null`:                        noCaches,
		`[]`:                          noCaches,
		"{\"a\":\"\xff\"}":            noCaches,
		`{"a":1}`:                     noObject,
		`{"a":null}`:                  noObject,
		`{"apiVersion":"v1"}`:         apiVersion,
		`{"a":{}}`:                    noKind,
		`{"a":{"kind":null}}`:         noKind,
		`{"a":{"kind":"AtticCache"}}`: "",
		`{"a":{"kind":"CachixCache","authToken":"x"}}`:                                   badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":"k"}}`:                                  badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":null}}`:                                 badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":[null]}}`:                               badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":[],"signingKeys":1}}`:                   badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":[],"authToken":1}}`:                     badCachix,
		`{"a":{"kind":"CachixCache","publicKeys":[],"authToken":null}}`:                  "",
		`{"a":{"kind":"CachixCache","publicKeys":[]}}`:                                   "",
		`{"a":{"kind":"NixCache","publicKeys":[],"signingKeys":[]}}`:                     badNix,
		`{"a":{"kind":"NixCache","storeURI":"s3://x","publicKeys":[]}}`:                  badNix,
		`{"a":{"kind":"NixCache","storeURI":"s3://x","publicKeys":[],"signingKeys":[]}}`: "",
		`{"a":{"kind":"AtticCache"},"b":{"kind":"CachixCache"}}`:                         "1 of 2 entries: " + badCachix,
	} {
		if got, _ := cachesFlaw([]byte(text)); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestToken(t *testing.T) {
	for text, want := range map[string]string{
		token: "", token + "\n": "", "a.b": "three parts", "a.!!.c": "no JSON", "a.e30.c": "no subject",
		"a.eyJzdWIiOiJhJHgifQ.c": "not that of a cluster join token", "a.eyJzdWIiOjF9.c": "no JSON",
	} {
		if got := tokenFlaw([]byte(text)); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add([]byte(token))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got := tokenFlaw(text); len(got) > 100 {
			t.Errorf("got %q, which may quote the file", got)
		}
	})
}

func FuzzCaches(f *testing.F) {
	f.Add([]byte(caches))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, note := cachesFlaw(text)
		if note != "" && got != "" || len(note) > 150 {
			t.Errorf("problem %q and note %q", got, note)
		}
		for _, known := range []string{noCaches, apiVersion, noObject, noKind, badCachix, badNix} {
			if got == "" || strings.HasSuffix(got, known) {
				return
			}
		}
		t.Errorf("got %q, which may quote the file", got)
	})
}

func TestHerculesExpectations(t *testing.T) {
	s := Defaults(KindHercules)
	s.From = FromDeployer
	s.Strict()
	evaluated := `{"onepassword-secrets":{"enable":true,"secrets":{"t":{"path":"/t"}}},
		"hercules-ci-agent":{"enable":true,"hostName":"web1","restartSec":"300","settings":{"clusterJoinTokenPath":"/t","apiBaseUrl":"https://ci.example.org:8443"}}}`
	must(t, s.Expect(json.RawMessage(evaluated)))
	h := ask[HerculesSpec](s)
	if address, secure := h.withDefaults().apiAddress(); !secure || address != "ci.example.org:8443" || !h.AfterOpNix || h.Hostname != "web1" || s.Soak != 310*time.Second {
		t.Errorf("got %+v, soak %s", h, s.Soak)
	}
	if len(h.withDefaults().Endpoints) != 0 {
		t.Errorf("the usual service's socket is asked for %s", h.APIBaseURL)
	}
	elsewhere := Defaults(KindHercules)
	must(t, elsewhere.Expect(json.RawMessage(`{"onepassword-secrets":{"enable":true,"secrets":{"t":{"path":"/other"}}},"hercules-ci-agent":{"enable":true,"settings":{}}}`)))
	if ask[HerculesSpec](elsewhere).AfterOpNix {
		t.Error("OpNix is said to write the agent's files")
	}
}

func TestOutageBoundsItsTime(t *testing.T) {
	ctx, done := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer done()
	h := HerculesSpec{APIBaseURL: "https://" + silentListener(t)}
	if step, err := h.outage(ctx); step != "tls" || err == nil {
		t.Errorf("got %s, %v", step, err)
	}
}

// What the preset judges by its cause no other check may take for the system's
// fault.
func TestHerculesUnitIsJudgedByItsCauseAlone(t *testing.T) {
	a := newAgentHost(t)
	base := a.base
	a.show("crash.show")
	a.change("opnix-secrets.service", "ActiveState=active", "SubState=exited", "Result=success")
	others := quick(KindNoNewFailedUnits)
	alone := Run(t.Context(), []Spec{others}, a.host(base), nil)
	alone[0].want(t, Fail, "failed", "hercules-ci-agent.service")
	both := Run(t.Context(), []Spec{others, a.spec}, a.host(base), nil)
	both[0].want(t, Pass, "", "")
	both[0].notes(t, "ignored: hercules-ci-agent.service")
}
