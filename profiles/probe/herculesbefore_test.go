package probe

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Files that the trial spoilt are not excused by an outage before it, which the agent
// only met because they were well.
func TestHerculesFailedBeforeForAnotherReason(t *testing.T) {
	for _, c := range []struct {
		was, caches    string
		verdict, class string
	}{
		{"HttpExceptionRequest: ConnectionFailure Network.Socket.getAddrInfo", "[]", Fail, "caches-shape"},
		{"HttpExceptionRequest: ConnectionFailure Network.Socket.getAddrInfo", caches, Unknown, ClassFailedBefore},
		{"AesonException: Error in $: expected Object", "[]", Unknown, ClassFailedBefore},
	} {
		a := newAgentHost(t)
		a.show("crash.show")
		a.enable()
		b := a.before()
		a.lines(b.Units["hercules-ci-agent.service"].Invocation, time.Hour, c.was)
		a.change("hercules-ci-agent.service", "InvocationID="+otherRun)
		a.write("secrets/binary-caches.json", c.caches)
		a.lines(otherRun, 0, "AesonException: Error in $: expected Object")
		a.judge(t, b).want(t, c.verdict, c.class, "")
	}
}

// What was wrong with a file before the trial, and does not keep the agent from its
// work, is told and not blamed on the trial.
func TestHerculesFlawsOfBefore(t *testing.T) {
	token, caches := "secrets/cluster-join-token.key", "secrets/binary-caches.json"
	open := func(t *testing.T, a *agentHost) { must(t, os.Chmod(filepath.Join(a.dir, token), 0o640)) }
	for _, c := range []struct {
		name           string
		before, after  func(*testing.T, *agentHost)
		verdict, class string
		note           string
	}{
		{"an open token", open, nil, Pass, "", "mode 0640"},
		{"an open token that OpNix wrote anew", open, func(_ *testing.T, a *agentHost) { a.write(token, secretToken()) }, Pass, "", "mode 0640"},
		{"a token that the trial opened", func(*testing.T, *agentHost) {}, open, Fail, "mode", ""},
		{"an open directory", func(t *testing.T, a *agentHost) { must(t, os.Chmod(filepath.Join(a.dir, "secrets"), 0o755)) }, nil, Pass, "", "mode 0755"},
		{"odd caches", func(_ *testing.T, a *agentHost) { a.write(caches, "[]") }, nil, Pass, "", "caches-shape"},
		{"odd caches, written anew", func(_ *testing.T, a *agentHost) { a.write(caches, "[]") }, func(_ *testing.T, a *agentHost) { a.write(caches, "[1]") }, Fail, "caches-shape", ""},
		{"an open token, and not ready", open, func(_ *testing.T, a *agentHost) { a.journal(a.invocation, "good.hercules-ci-agent.json", time.Second) }, Fail, "not-ready", "also mode"},
		{"odd caches, and the agent died", func(_ *testing.T, a *agentHost) { a.write(caches, "[]") }, func(_ *testing.T, a *agentHost) {
			a.change("hercules-ci-agent.service", "ActiveState=failed", "SubState=failed", "Result=exit-code")
			a.lines(a.invocation, 0, "Error in $: expected Object")
		}, Fail, "crash", "also caches-shape"},
		{"an agent that goes on with its old unit file", open, func(_ *testing.T, a *agentHost) {
			a.base.Units["hercules-ci-agent.service"] = a.before().Units["hercules-ci-agent.service"]
			a.write("fragment", "new")
			a.change("hercules-ci-agent.service", "FragmentPath="+filepath.Join(a.dir, "fragment"))
			a.base.Texts = map[string]string{"hercules-ci-agent.service": digest("old")}
		}, Fail, "mode", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAgentHost(t)
			c.before(t, a)
			must(t, a.base.Add(t.Context(), a.host(nil).Systemd, []Spec{a.spec}))
			if c.after != nil {
				c.after(t, a)
			}
			r := a.judge(t, a.base)
			r.want(t, c.verdict, c.class, "")
			if c.note != "" {
				r.notes(t, c.note)
			}
		})
	}
}

func secretToken() string { return token + "\n" }
