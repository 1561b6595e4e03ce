// Command hercules-api answers a lab host's agent in place of hercules-ci.com: a few calls over HTTPS, with a certificate of its
// own that it makes a root of the host, and the agent's socket, held open for as long as the agent wants. Each way in which the
// real one can be away or not well is a variable of its environment.
package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	stateDirectory = "/var/lib/lab-hercules-api"
	rootsDirectory = "/etc/ssl/certs"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: hercules-api ADDRESS")
		os.Exit(1)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "hercules-api: %v\n", err)
		os.Exit(1)
	}
}

// run returns when it fails, or when it is to go away.
func run(address string) error {
	certificate, err := ownCertificate(stateDirectory, rootsDirectory)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %v", err)
	}
	if err := notifyReady(); err != nil {
		return err
	}
	if os.Getenv("LAB_NO_TLS") == "" {
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	}
	server := &http.Server{Handler: newService().handler(), ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-awayAfter():
		return nil // the process ends, and with it every connection
	}
}

// awayAfter fires when the service is to go away; never where that is not asked for.
func awayAfter() <-chan time.Time {
	seconds, err := strconv.Atoi(os.Getenv("LAB_AWAY_AFTER"))
	if err != nil {
		return nil
	}
	return time.After(time.Duration(seconds) * time.Second)
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
