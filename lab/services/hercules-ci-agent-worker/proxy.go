package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
)

// startProxy answers at a socket for the host's Nix daemon, and trusts nobody: the agent's own user is trusted there, its effects
// must not be. Closing the listener ends it; connections that are open end with their client.
func startProxy(socket string) (net.Listener, error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("open daemon proxy: %v", err)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if err := serveUntrusted(connection.(*net.UnixConn)); err != nil {
					fmt.Fprintf(os.Stderr, "hercules-ci-agent-worker: daemon proxy: %v\n", err)
				}
			}()
		}
	}()
	return listener, nil
}

// serveUntrusted speaks with one client. This Nix judges itself what the client asks before it asks the daemon: without
// --process-ops it would only pass on bytes, and the daemon would see its trusted user.
func serveUntrusted(connection *net.UnixConn) error {
	file, err := connection.File()
	connection.Close()
	if err != nil {
		return err
	}
	defer file.Close()
	daemon := exec.Command("nix", "daemon", "--stdio", "--force-untrusted", "--process-ops")
	daemon.Env = append(os.Environ(), "NIX_CONFIG=extra-experimental-features = nix-command daemon-trust-override mounted-ssh-store")
	daemon.Stdin, daemon.Stdout, daemon.Stderr = file, file, os.Stderr
	return daemon.Run()
}
