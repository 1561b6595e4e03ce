package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestInhibitors(t *testing.T) {
	tests := map[string]struct {
		running, next string
		want          []string
	}{
		"same":                 {`{"dbus":"dbus"}`, `{"dbus":"dbus"}`, nil},
		"other value":          {`{"dbus":"dbus","init":"a"}`, `{"dbus":"broker","init":"a"}`, []string{"dbus: dbus -> broker"}},
		"only in the new one":  {`{}`, `{"dbus":"broker"}`, nil},
		"only in the old one":  {`{"dbus":"dbus"}`, `{}`, nil},
		"no file in the old":   {"", `{"dbus":"broker"}`, nil},
		"several, in an order": {`{"b":"1","a":"1"}`, `{"b":"2","a":"2"}`, []string{"a: 1 -> 2", "b: 1 -> 2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			write := func(name, text string) string {
				path := filepath.Join(t.TempDir(), name)
				if text != "" {
					if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return path
			}
			got, err := inhibitors(write("running", test.running), write("next", test.next))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("inhibitors = %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestLockIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lock(path)
	var exit *exitError
	if !errors.As(err, &exit) || exit.code != exitLockBusy || exit.message != "Could not acquire lock" {
		t.Errorf("second lock: %v", err)
	}
	held.Close()
	again, err := lock(path)
	if err != nil {
		t.Fatalf("lock after its holder ended: %v", err)
	}
	again.Close()
}

func TestUsage(t *testing.T) {
	for _, arguments := range [][]string{nil, {"rollback"}, {"switch", "now"}} {
		var exit *exitError
		if err := run(t.Context(), arguments, &bytes.Buffer{}); !errors.As(err, &exit) || exit.code != exitFailed || exit.message != usage {
			t.Errorf("run(%q) = %v", arguments, err)
		}
	}
}

// daemon answers like a D-Bus daemon and hangs up when told to.
func daemon(t *testing.T, answer string, hangUp <-chan struct{}) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		defer connection.Close()
		reader := bufio.NewReader(connection)
		if _, err := reader.ReadString('\n'); err != nil {
			return
		}
		if _, err := connection.Write([]byte(answer)); err != nil {
			return
		}
		if _, err := reader.ReadString('\n'); err != nil {
			return
		}
		if first, err := reader.ReadByte(); err != nil || first != 'l' {
			return
		}
		if _, err := connection.Write([]byte("lreply")); err != nil {
			return
		}
		<-hangUp
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return path
}

func TestBusThatGoesAwayIsNoticed(t *testing.T) {
	hangUp := make(chan struct{})
	b, err := openBus(daemon(t, "OK 1234\r\n", hangUp))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.alive(); err != nil {
		t.Errorf("alive: %v", err)
	}
	close(hangUp)
	deadline := time.Now().Add(5 * time.Second)
	for b.alive() == nil {
		if time.Now().After(deadline) {
			t.Fatal("a bus that hung up still counts as alive")
		}
	}
}

func TestBusThatRefuses(t *testing.T) {
	if _, err := openBus(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing bus was opened")
	}
	if _, err := openBus(daemon(t, "REJECTED EXTERNAL\r\n", nil)); err == nil {
		t.Error("a bus that rejects was opened")
	}
}
