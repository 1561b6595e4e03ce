package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// service is what the agent and the probe's user ask.
type service struct {
	// status is given to every call but the socket; zero for a service that is well.
	status int
	// refuseSocket closes the agent's socket at once, muteSocket never answers it.
	refuseSocket, muteSocket bool
	// revoked refuses the cluster join token.
	revoked bool

	mutex   sync.Mutex
	sockets int
}

func newService() *service {
	status, _ := strconv.Atoi(os.Getenv("LAB_STATUS"))
	return &service{
		status: status, refuseSocket: os.Getenv("LAB_REFUSE_SOCKET") != "", muteSocket: os.Getenv("LAB_MUTE_SOCKET") != "",
		revoked: os.Getenv("LAB_REVOKED") != "",
	}
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.well(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	mux.HandleFunc("/api/v1/createAgentSession", s.well(s.createSession))
	mux.HandleFunc("/api/v1/accounts/lab/agentSessions", s.well(s.agentSessions))
	mux.HandleFunc("/socket", s.socket)
	return mux
}

func (s *service) well(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.status != 0 {
			w.WriteHeader(s.status)
			return
		}
		then(w, r)
	}
}

// createSession gives a session whose parent is the join token that asks for it.
func (s *service) createSession(w http.ResponseWriter, r *http.Request) {
	id, ok := joinTokenID(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if !ok || s.revoked {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	payload, _ := json.Marshal(map[string]string{"sub": "a$lab", "parent": id})
	fmt.Fprintf(w, "eyJhbGciOiJIUzI1NiJ9.%s.c2Vzc2lvbg\n", base64.RawURLEncoding.EncodeToString(payload))
}

func joinTokenID(token string) (string, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Sub string `json:"sub"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return "", false
	}
	return strings.CutPrefix(claims.Sub, "t$")
}

// agentSessions shows this host's agent to the token of the lab's user.
func (s *service) agentSessions(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer lab-api-token" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name, _ := os.Hostname()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	_ = json.NewEncoder(w).Encode([]map[string]any{{
		"hostname": name, "agentVersion": "0.10.8", "available": s.sockets > 0, "lastSeen": time.Now().UTC().Format(time.RFC3339),
	}})
}

// socket is the agent's one connection.
func (s *service) socket(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.refuseSocket:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case s.muteSocket:
		<-r.Context().Done()
		return
	}
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\n\r\n"); err != nil || connection.SetDeadline(time.Time{}) != nil {
		return
	}
	s.count(1)
	defer s.count(-1)
	_, _ = io.Copy(io.Discard, connection)
}

func (s *service) count(n int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.sockets += n
}
