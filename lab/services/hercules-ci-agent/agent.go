package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

const (
	version        = "0.10.8"
	handshakeLimit = 30 * time.Second
	reconnectPause = 10 * time.Second
)

// agent is one configured agent.
type agent struct {
	BaseDirectory        string `json:"baseDirectory"`
	ClusterJoinTokenPath string `json:"clusterJoinTokenPath"`
	BinaryCachesPath     string `json:"binaryCachesPath"`
	APIBaseURL           string `json:"apiBaseUrl"`

	hostName string
}

// start is what the self-test covers: configuration, caches, token readable, one call that is not repeated. It does not look
// into the token.
func start(configFile string) (*agent, error) {
	data, err := os.ReadFile(configFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %v", err)
	}
	var a agent
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, fmt.Errorf("parse configuration: %v", err)
	}
	if a.hostName, err = os.Hostname(); err != nil {
		return nil, fmt.Errorf("find host name: %v", err)
	}
	if err := a.checkCaches(); err != nil {
		return nil, err
	}
	if _, err := os.ReadFile(a.ClusterJoinTokenPath); err != nil {
		return nil, fmt.Errorf("%s: openBinaryFile: does not exist or cannot be read: %v", a.ClusterJoinTokenPath, err)
	}
	if _, err := a.call("getServiceInfo"); err != nil {
		return nil, fmt.Errorf("Exception in getServiceInfo: ConnectionError: %v", err)
	}
	return &a, nil
}

// checkCaches reads binary-caches.json as the agent does: an unknown kind is only a warning.
func (a *agent) checkCaches() error {
	data, err := os.ReadFile(a.BinaryCachesPath)
	if os.IsNotExist(err) {
		return errors.New("The binary-caches.json file does not exist.")
	}
	if err != nil {
		return err
	}
	var caches map[string]map[string]any
	if err := json.Unmarshal(data, &caches); err != nil {
		return fmt.Errorf("AesonException: Error in $: %v", err)
	}
	if len(caches) == 0 {
		a.log("Warning", "Hercules/Agent/Cache.hs:41:7", "You did not configure any caches.")
	}
	names := make([]string, 0, len(caches))
	for name := range caches {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := a.checkCache(name, caches[name]); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) checkCache(name string, cache map[string]any) error {
	required := map[string][]string{
		"CachixCache": {"publicKeys"},
		"NixCache":    {"storeURI", "publicKeys", "signingKeys"},
	}
	kind, _ := cache["kind"].(string)
	keys, known := required[kind]
	if !known {
		a.log("Warning", "Hercules/Formats/CacheKeys.hs:58:5", fmt.Sprintf("Cache %s has unknown kind %s", name, kind))
		return nil
	}
	for _, key := range keys {
		if _, found := cache[key]; !found {
			return fmt.Errorf("AesonException: Error in $.%s: key %q not found", name, key)
		}
	}
	return nil
}

// openSession reuses the session of an earlier run; only without one does the token have to be good.
func (a *agent) openSession() error {
	file := filepath.Join(a.BaseDirectory, "secretState", "session.key")
	token, err := os.ReadFile(a.ClusterJoinTokenPath)
	if err != nil {
		return err
	}
	session, err := os.ReadFile(file)
	if err == nil && len(bytes.TrimSpace(session)) > 1 {
		if !isJWT(string(token)) {
			a.log("Warning", "Hercules/Agent/Token.hs:104:9",
				"Failed to check whether session token matches cluster join token. Using old session.")
		}
		return nil
	}
	if !isJWT(string(token)) {
		return errors.New("Exception in createAgentSession: FailureResponse: 401 Unauthorized")
	}
	answer, err := a.call("createAgentSession")
	if err != nil {
		return fmt.Errorf("Exception in createAgentSession: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(answer), 0o600)
}

// isJWT tells whether the text has the shape of a token whose subject is a cluster join token.
func isJWT(text string) bool {
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Sub string `json:"sub"`
	}
	return json.Unmarshal(payload, &claims) == nil && strings.HasPrefix(claims.Sub, "t$")
}

func (a *agent) dial(request string) (net.Conn, string, error) {
	address := strings.TrimPrefix(strings.TrimPrefix(a.APIBaseURL, "http://"), "https://")
	connection, err := net.DialTimeout("tcp", address, handshakeLimit)
	if err != nil {
		return nil, "", err
	}
	if err := connection.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		connection.Close()
		return nil, "", err
	}
	if _, err := fmt.Fprintln(connection, request); err != nil {
		connection.Close()
		return nil, "", err
	}
	answer, err := bufio.NewReader(io.LimitReader(connection, 8192)).ReadString('\n')
	if err != nil {
		connection.Close()
		return nil, "", err
	}
	return connection, strings.TrimSpace(answer), nil
}

func (a *agent) call(request string) (string, error) {
	connection, answer, err := a.dial(request)
	if err != nil {
		return "", err
	}
	return answer, connection.Close()
}

// holdSocket keeps one connection, and comes back ten seconds after it is lost.
func (a *agent) holdSocket(ctx context.Context) {
	for ctx.Err() == nil {
		connection, _, err := a.dial("socket")
		if err != nil {
			a.log("Warning", "Hercules/Agent/Socket.hs:163:9", "Recovering from exception in socket handler. Reconnecting.")
		} else if a.readUntilClosed(ctx, connection); ctx.Err() == nil {
			a.log("Info", "Hercules/Agent/Socket.hs:171:9", "Socket closed. Reconnecting.")
		}
		select {
		case <-ctx.Done():
		case <-time.After(reconnectPause):
		}
	}
}

func (a *agent) readUntilClosed(ctx context.Context, connection net.Conn) {
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	defer connection.Close()
	if connection.SetDeadline(time.Time{}) == nil {
		_, _ = io.Copy(io.Discard, connection)
	}
}

// log writes a line in the agent's form. The severity stands in the text only: journald gives every line the same priority.
func (a *agent) log(severity, place, message string) {
	fmt.Fprintf(os.Stderr, "[%s][Agent][%s][%s][PID %d][ThreadId 4][agent-version:%s][main:%s] %s\n",
		time.Now().UTC().Format("2006-01-02 15:04:05"), severity, a.hostName, os.Getpid(), version, place, message)
}
