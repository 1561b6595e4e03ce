package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const joinToken = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0JGxhYiJ9.c2lnbmVk"

func call(t *testing.T, s *service, path, token string) (int, string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil)
	request.Header.Set("Authorization", "Bearer "+token)
	answer := httptest.NewRecorder()
	s.handler().ServeHTTP(answer, request)
	return answer.Code, answer.Body.String()
}

func TestCalls(t *testing.T) {
	for _, c := range []struct {
		s           *service
		path, token string
		status      int
		body        string
	}{
		{&service{}, "/api/v1/getServiceInfo", "", 200, "ok"},
		{&service{status: 503}, "/api/v1/getServiceInfo", "", 503, ""},
		{&service{}, "/api/v1/createAgentSession", joinToken, 200, "."},
		{&service{}, "/api/v1/createAgentSession", "not-a-token", 401, ""},
		{&service{revoked: true}, "/api/v1/createAgentSession", joinToken, 401, ""},
		{&service{}, "/api/v1/accounts/lab/agentSessions", "lab-api-token", 200, `"available":false`},
		{&service{sockets: 1}, "/api/v1/accounts/lab/agentSessions", "lab-api-token", 200, `"available":true`},
		{&service{}, "/api/v1/accounts/lab/agentSessions", "other", 401, ""},
	} {
		if status, body := call(t, c.s, c.path, c.token); status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %q, want %d %q", c.path, status, body, c.status, c.body)
		}
	}
}

func TestSocket(t *testing.T) {
	for _, c := range []struct {
		s     *service
		first string
		held  bool
	}{
		{&service{}, "HTTP/1.1 101", true},
		{&service{refuseSocket: true}, "HTTP/1.1 503", false},
		{&service{muteSocket: true}, "", true},
	} {
		server := httptest.NewServer(c.s.handler())
		connection, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(connection, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := connection.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(connection)
		first, _ := reader.ReadString('\n')
		_, err = io.Copy(io.Discard, reader)
		if held := errors.Is(err, os.ErrDeadlineExceeded); held != c.held || !strings.HasPrefix(first, c.first) || c.first == "" && first != "" {
			t.Errorf("%+v: %q, then %v", c.s, first, err)
		}
		connection.Close()
		server.Close()
	}
}

func TestCertificateStays(t *testing.T) {
	state, roots := filepath.Join(t.TempDir(), "state"), t.TempDir()
	first, err := ownCertificate(state, roots)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ownCertificate(state, roots)
	if err != nil || string(first.Certificate[0]) != string(second.Certificate[0]) {
		t.Errorf("another certificate, %v", err)
	}
	if info, err := os.Stat(filepath.Join(state, "key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
	if err := first.Leaf.VerifyHostname("agent-socket.hercules-ci.com"); err != nil {
		t.Error(err)
	}
	var _ tls.Certificate = first
}
