package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestAnswers(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- serve(listener, refuse) }()

		if answer, _ := ask(t, listener, "getServiceInfo"); answer != "ok\n" {
			t.Errorf("service info: %q", answer)
		}
		answer, connection := ask(t, listener, "socket")
		if err := connection.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err = connection.Read(make([]byte, 1))
		if held := errors.Is(err, os.ErrDeadlineExceeded); held == refuse || (answer == "welcome\n") == refuse {
			t.Errorf("refuse=%v: answer %q, then %v", refuse, answer, err)
		}
		listener.Close()
		if err := <-done; err == nil {
			t.Error("serve ended without an error")
		}
	}
}

func ask(t *testing.T, listener net.Listener, request string) (string, net.Conn) {
	t.Helper()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	if _, err := fmt.Fprintln(connection, request); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return answer, connection
}
