package probe

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const sessions = `[{"hostname":"web1","available":false,"lastSeen":"2026-01-01T00:00:00Z"},{"hostname":"WEB1","available":true,"agentVersion":"0.10.8"},
	{"hostname":"web2","available":false,"lastSeen":"2026-01-02T00:00:00Z"},{"hostname":"web3","available":true,"revocation":"2026-01-02T00:00:00Z"}]`

func TestSeenByService(t *testing.T) {
	var asked, authorization string
	status := 200
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, authorization = r.URL.Path, r.Header.Get("Authorization")
		w.WriteHeader(status)
		fmt.Fprint(w, sessions)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(secretBytes+"\n"), 0o600))
	spec := quick(KindHercules)
	spec.From, spec.Interval, spec.Deadline = FromDeployer, 100*time.Millisecond, 150*time.Millisecond
	h := ask[HerculesSpec](spec)
	h.Account, h.APITokenFile, h.Hostname, h.APIBaseURL = "4f1", file, "web1", server.URL
	judge := func(verdict, class string) {
		t.Helper()
		r := runOne(t, spec, nil)
		r.want(t, verdict, class, "")
		if strings.Contains(fmt.Sprintf("%+v", r), secretBytes) {
			t.Errorf("the token got out: %+v", r)
		}
	}
	judge(Pass, "")
	if asked != "/api/v1/accounts/4f1/agentSessions" || authorization != "Bearer "+secretBytes {
		t.Errorf("asked for %s with %q", asked, authorization)
	}
	h.Hostname = "web2"
	judge(Fail, "not-available")
	h.Hostname = "web3"
	judge(Fail, "not-seen")
	status = 401
	judge(Unknown, "api-token")
	status = 502
	judge(Unknown, "http-5xx")
	status = 404
	judge(Unknown, "api")
	must(t, os.Chmod(file, 0o644))
	judge(Unknown, "api-token")
	must(t, os.Chmod(file, 0o600))
	h.APIBaseURL = "http://hercules-ci.invalid"
	judge(Unknown, "api-token")
	h.APIBaseURL = "https://" + refusing(t)
	judge(Unknown, "refused")
	h.Account, h.APITokenFile = "", ""
	judge(Unknown, "invalid")
}

func TestHerculesAsksTheService(t *testing.T) {
	a := newAgentHost(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, sessions) }))
	t.Cleanup(server.Close)
	a.write("api-token", secretBytes)
	h := a.ask()
	h.APIBaseURL, h.Account, h.APITokenFile, h.Hostname = server.URL, "4f1", filepath.Join(a.dir, "api-token"), "web1"
	r := a.judge(t, a.base)
	r.want(t, Pass, "", "")
	r.notes(t, "the service sees web1, agent 0.10.8")
	h.Hostname = "web2"
	a.judge(t, a.base).want(t, Fail, "not-available", "2026-01-02")
	must(t, os.Chmod(h.APITokenFile, 0o640))
	r = a.judge(t, a.base)
	r.want(t, Pass, "", "")
	r.notes(t, "the service was not asked")
}

func FuzzSessions(f *testing.F) {
	f.Add([]byte(sessions))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got := judgeSessions(text, "web1"); got.verdict == "" || got.class == "" && got.verdict != Pass {
			t.Errorf("got %+v", got)
		}
	})
}
