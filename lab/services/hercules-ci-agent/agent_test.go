package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	joinToken = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0JGxhYiJ9.c2lnbmVk"
	// The payload is {"sub":"a$lab","parent":"lab"}.
	session    = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhJGxhYiIsInBhcmVudCI6ImxhYiJ9.c2Vzc2lvbg"
	goodCaches = `{"lab":{"kind":"CachixCache","publicKeys":["a"]}}`
)

// service answers requests and tells of open sockets on the channel it returns.
func service(t *testing.T) (address string, sockets <-chan struct{}) {
	t.Helper()
	opened := make(chan struct{}, 8)
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/getServiceInfo", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/api/v1/createAgentSession", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(claim(r.Header.Get("Authorization"), "sub"), "t$") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, session)
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer connection.Close()
		fmt.Fprint(connection, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		opened <- struct{}{}
		_, _ = io.Copy(io.Discard, connection)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, opened
}

func configure(t *testing.T, address, token, caches string) (file, base string) {
	t.Helper()
	base = t.TempDir()
	settings := agent{
		BaseDirectory: base, ClusterJoinTokenPath: filepath.Join(base, "token"), BinaryCachesPath: filepath.Join(base, "caches.json"),
		APIBaseURL: address,
	}
	data, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(base, "config.json")
	for path, text := range map[string]string{file: string(data), settings.ClusterJoinTokenPath: token, settings.BinaryCachesPath: caches} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file, base
}

func TestSelfTest(t *testing.T) {
	address, _ := service(t)
	tests := map[string]struct{ address, token, caches, want string }{
		"healthy":              {address, joinToken, goodCaches, ""},
		"no caches configured": {address, joinToken, "{}", ""},
		"unknown kind":         {address, joinToken, `{"lab":{"kind":"AtticCache"}}`, ""},
		"token is not checked": {address, "not-a-token", goodCaches, ""},
		"no caches file":       {address, joinToken, "", "binary-caches.json file does not exist"},
		"no JSON":              {address, joinToken, "{", "AesonException"},
		"no public keys":       {address, joinToken, `{"lab":{"kind":"CachixCache"}}`, `key "publicKeys" not found`},
		"no token":             {address, "", goodCaches, "cannot be read"},
		"nobody answers":       {"http://127.0.0.1:1", joinToken, goodCaches, "ConnectionFailure Network.Socket.connect"},
		"name unknown":         {"https://hercules-ci.invalid", joinToken, goodCaches, "getAddrInfo"},
		"no TLS":               {strings.Replace(address, "http:", "https:", 1), joinToken, goodCaches, "HandshakeFailed"},
		"service not well":     {address + "/nothing", joinToken, goodCaches, "statusCode = 404"},
		"no kind":              {address, joinToken, `{"lab":{}}`, `key "kind" not found`},
		"keys not in a list":   {address, joinToken, `{"lab":{"kind":"CachixCache","publicKeys":"k"}}`, "expected Array"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file, _ := configure(t, test.address, test.token, test.caches)
			_, err := start(file)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("start: %v, want %q", err, test.want)
			}
		})
	}
}

func TestSession(t *testing.T) {
	address, _ := service(t)
	file, base := configure(t, address, "not-a-token", goodCaches)
	a, err := start(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openSession(); err == nil {
		t.Error("a session was made with a token that is none")
	}
	if err := os.WriteFile(a.ClusterJoinTokenPath, []byte(joinToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.openSession(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(base, "secretState", "session.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("session.key: %v, %v", info, err)
	}
	if err := os.WriteFile(a.ClusterJoinTokenPath, []byte("not-a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.openSession(); err != nil {
		t.Errorf("the old session is not used: %v", err)
	}
	a.APIBaseURL = "http://127.0.0.1:1"
	if err := os.WriteFile(a.ClusterJoinTokenPath, []byte(joinToken), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.openSession(); err != nil {
		t.Errorf("the service was asked for a session that was there: %v", err)
	}
	// {"sub":"t$new"}: another join token needs another session.
	if err := os.WriteFile(a.ClusterJoinTokenPath, []byte("eyJ.eyJzdWIiOiJ0JG5ldyJ9.c2ln"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.openSession(); err == nil || !strings.Contains(err.Error(), "createAgentSession") {
		t.Errorf("the session of another token is used: %v", err)
	}
}

func TestSocketThatIsNotAcceptedIsTriedAgain(t *testing.T) {
	tried := make(chan struct{}, 8)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		tried <- struct{}{}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	a := &agent{APIBaseURL: server.URL, handshake: 5 * time.Second, pause: time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.holdSocket(ctx) }()
	<-tried
	<-tried
	stop()
	<-done
}

func TestServeHoldsASocketUntilItIsStopped(t *testing.T) {
	address, sockets := service(t)
	file, _ := configure(t, address, joinToken, goodCaches)
	a, err := start(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int)
	go func() { code <- a.serve(ctx) }()
	<-sockets
	stop()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d", got)
	}
}

func TestCrash(t *testing.T) {
	address, _ := service(t)
	file, _ := configure(t, address, joinToken, goodCaches)
	a, err := start(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LAB_CRASH_AFTER", "0")
	if got := a.serve(t.Context()); got != 1 {
		t.Errorf("exit code %d, want 1", got)
	}
}
