package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// openSession reuses the session of an earlier run where it was made with the present join token, without a word to the service;
// only without one does the token have to be good. The placeholder "x" is no session.
func (a *agent) openSession() error {
	file := filepath.Join(a.BaseDirectory, "secretState", "session.key")
	content, err := os.ReadFile(a.ClusterJoinTokenPath)
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(content))
	session, err := os.ReadFile(file)
	if session = bytes.TrimSpace(session); err == nil && len(session) > 1 {
		id, ok := strings.CutPrefix(claim(token, "sub"), "t$")
		if !ok {
			a.log("Warning", "Hercules/Agent/Token.hs:104:9",
				"Failed to check whether session token matches cluster join token. Using old session.")
			return nil
		}
		if claim(string(session), "parent") == id {
			return nil
		}
	}
	answer, err := a.call("createAgentSession", token)
	if err != nil {
		return fmt.Errorf("Exception in createAgentSession: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(answer), 0o600)
}

// claim is a text of a token's payload; empty if there is none.
func claim(token, name string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims map[string]any
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	text, _ := claims[name].(string)
	return text
}

// call asks the service once. Its errors read as those of the agent's HTTP library.
func (a *agent) call(name, token string) (string, error) {
	ctx, done := context.WithTimeout(context.Background(), a.handshake)
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.APIBaseURL+"/api/v1/"+name, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return "", fmt.Errorf("HttpExceptionRequest Request { path = %q } (%s)", name, exception(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("FailureResponse (Response {responseStatusCode = Status {statusCode = %d, statusMessage = %q}})", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, 8192))
	return string(bytes.TrimSpace(body)), err
}

// exception names what went wrong as http-client does.
func exception(err error) string {
	var name *net.DNSError
	var operation *net.OpError
	switch {
	case errors.As(err, &name):
		return "ConnectionFailure Network.Socket.getAddrInfo (called with preferred socket type/protocol): does not exist (Name or service not known)"
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return "ConnectionTimeout"
	case errors.As(err, &operation) && operation.Op == "dial":
		return "ConnectionFailure Network.Socket.connect: <socket: 12>: does not exist (Connection refused)"
	}
	return "InternalException (HandshakeFailed (Error_Protocol))"
}

// openSocket is the connection on which the service gives work.
func (a *agent) openSocket(ctx context.Context) (net.Conn, error) {
	base, err := url.Parse(a.APIBaseURL)
	if err != nil {
		return nil, err
	}
	address, dial := base.Host, (&net.Dialer{Timeout: a.handshake}).DialContext
	if base.Scheme == "https" {
		dial = (&tls.Dialer{NetDialer: &net.Dialer{Timeout: a.handshake}}).DialContext
		if base.Port() == "" {
			address = net.JoinHostPort("agent-socket."+base.Hostname(), "443")
		}
	}
	connection, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if err := a.shakeHands(connection); err != nil {
		connection.Close()
		return nil, err
	}
	return connection, nil
}

func (a *agent) shakeHands(connection net.Conn) error {
	if err := connection.SetDeadline(time.Now().Add(a.handshake)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(connection, "GET /socket HTTP/1.1\r\nHost: agent-socket\r\n\r\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(io.LimitReader(connection, 8192)).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.Contains(answer, " 101 ") {
		return fmt.Errorf("MalformedResponse %s", strings.TrimSpace(answer))
	}
	return connection.SetDeadline(time.Time{})
}

// holdSocket keeps one connection, and comes back some seconds after it is lost.
func (a *agent) holdSocket(ctx context.Context) {
	for ctx.Err() == nil {
		connection, err := a.openSocket(ctx)
		if err != nil {
			a.log("Warning", "Hercules/Agent/Socket.hs:163:9", "Recovering from exception in socket handler. Reconnecting.")
		} else if a.readUntilClosed(ctx, connection); ctx.Err() == nil {
			a.log("Info", "Hercules/Agent/Socket.hs:171:9", "Socket closed. Reconnecting.")
		}
		select {
		case <-ctx.Done():
		case <-time.After(a.pause):
		}
	}
}

func (a *agent) readUntilClosed(ctx context.Context, connection net.Conn) {
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	defer connection.Close()
	_, _ = io.Copy(io.Discard, connection)
}

// seconds reads a number of seconds from the environment.
func seconds(variable string, otherwise time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return time.Duration(n) * time.Second
	}
	return otherwise
}
