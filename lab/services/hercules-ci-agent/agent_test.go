package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	joinToken  = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0JGxhYiJ9.c2lnbmVk"
	goodCaches = `{"lab":{"kind":"CachixCache","publicKeys":["a"]}}`
)

// service answers requests and counts open sockets on the channel it returns.
func service(t *testing.T) (address string, sockets <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{}, 8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { connection.Close() })
			request, err := bufio.NewReader(connection).ReadString('\n')
			if err != nil {
				continue
			}
			fmt.Fprintln(connection, "answer")
			if request == "socket\n" {
				opened <- struct{}{}
			}
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return "http://" + listener.Addr().String(), opened
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
		"nobody answers":       {"http://127.0.0.1:1", joinToken, goodCaches, "getServiceInfo"},
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
