package main

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

// TestMain makes the real program a command of the scripts. The ssh_config of whoever
// runs the tests is kept out of them; scripts have a home of their own.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "hdeploy" {
		if err := os.Setenv("HOME", "/nonexistent"); err != nil {
			panic(err)
		}
	}
	testscript.Main(m, map[string]func(){"hdeploy": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		UpdateScripts:       *update,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"code": cmdCode, "mode": cmdMode},
	})
}

// setUp gives every script a home of its own, a fake nix that it may choose
// with PATH, and a port on which nobody listens.
func setUp(env *testscript.Env) error {
	home := env.WorkDir + "/home"
	if err := writeKey(home + "/.ssh"); err != nil {
		return err
	}
	port, err := closedPort()
	if err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("USER", "tester")
	env.Setenv("SSH_AUTH_SOCK", "")
	program, err := exec.LookPath("hdeploy")
	if err != nil {
		return err
	}
	env.Setenv("PATH_WITHOUT_NIX", filepath.Dir(program))
	env.Setenv("HDEPLOY", program)
	env.Setenv("CLOSED_PORT", strconv.Itoa(port))
	return nil
}

// writeKey makes a key to log in with; a run without one ends before it dials.
func writeKey(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return err
	}
	return os.WriteFile(dir+"/id_ed25519", pem.EncodeToMemory(block), 0o600)
}

// closedPort returns a port of the loopback address that was just given back.
func closedPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// cmdCode runs a program and wants an exit code: code 2 hdeploy switch.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program [args...]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if args[0] != strconv.Itoa(got) {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// cmdMode wants the permissions of a file: mode 600 hdeploy.log.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode OCTAL file")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := strconv.FormatInt(int64(info.Mode().Perm()), 8); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}
