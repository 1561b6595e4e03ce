// Command hercules-api answers a lab host's agent in place of hercules-ci.com: one line in, one line out, and the agent's socket
// is held open for as long as the agent wants. It speaks no TLS, since only the agent's stand-in calls it.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: hercules-api ADDRESS")
		os.Exit(1)
	}
	err := listenAndServe(os.Args[1], os.Getenv("LAB_REFUSE_SOCKET") != "")
	fmt.Fprintf(os.Stderr, "hercules-api: %v\n", err)
	os.Exit(1)
}

// listenAndServe returns only when it fails.
func listenAndServe(address string, refuseSocket bool) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %v", err)
	}
	if err := notifyReady(); err != nil {
		return err
	}
	return serve(listener, refuseSocket)
}

func serve(listener net.Listener, refuseSocket bool) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accept: %v", err)
		}
		go answer(connection, refuseSocket)
	}
}

// answer ends with its connection.
func answer(connection net.Conn, refuseSocket bool) {
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return
	}
	request, err := bufio.NewReader(io.LimitReader(connection, 8192)).ReadString('\n')
	if err != nil {
		return
	}
	switch strings.TrimSpace(request) {
	case "getServiceInfo":
		fmt.Fprintln(connection, "ok")
	case "createAgentSession":
		fmt.Fprintln(connection, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhJGxhYiJ9.c2Vzc2lvbg")
	case "socket":
		if refuseSocket {
			return
		}
		if fmt.Fprintln(connection, "welcome"); connection.SetDeadline(time.Time{}) != nil {
			return
		}
		_, _ = io.Copy(io.Discard, connection)
	}
}

func notifyReady() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	connection, err := net.Dial("unixgram", path)
	if err != nil {
		return fmt.Errorf("notify: %v", err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte("READY=1")); err != nil {
		return fmt.Errorf("notify: %v", err)
	}
	return nil
}
