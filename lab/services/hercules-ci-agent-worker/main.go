// Command hercules-ci-agent-worker runs one effect for the lab's hercules-ci-agent, in a sandbox as the real agent's: an effect sees
// the store, a Nix daemon that does not trust it, its secrets, the network of the host and next to nothing else, and its output
// goes to a terminal. It needs no root.
//
// Two things are not as on NixOS, where all programs come from the store: the image's libraries, its Nix and its busybox are there
// under /usr, and /bin/sh is busybox.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// effectFailed is the exit code where the effect ran and failed.
const effectFailed = 3

// insideArgument is the first argument of the second start of this program, that in the new namespaces.
const insideArgument = "--inside"

func main() {
	var code int
	var err error
	if len(os.Args) > 1 && os.Args[1] == insideArgument {
		err = enter(os.Args[2], os.Args[3:]) // it returns with an error only
		code = 125
	} else {
		code, err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "hercules-ci-agent-worker: %v\n", err)
	}
	os.Exit(code)
}

// push is what a test asks for.
type push struct {
	// Effect is the program to run, a store path.
	Effect string `json:"effect"`
	// Secrets are the secretsMap of the effect: its own name of a secret to the agent's.
	Secrets map[string]string `json:"secrets"`
	// Project is the path of the repository: github/owner/name.
	Project string `json:"project"`
	Branch  string `json:"branch"`
	// Hangup lets the worker die at once when the unit is stopped, and the effect's terminal with it. Otherwise it holds
	// the terminal until the effect has ended, so that its last words can be read.
	Hangup bool `json:"hangup"`
}

// status is what is known of an effect that ended while its worker lived.
type status struct {
	Code  int       `json:"code"`
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
}

func run(arguments []string) (code int, err error) {
	if len(arguments) != 3 {
		return 1, errors.New("usage: hercules-ci-agent-worker TASK-DIRECTORY SECRETS-JSON API-BASE-URL")
	}
	task, secrets, api := arguments[0], arguments[1], arguments[2]
	content, err := os.ReadFile(filepath.Join(task, "push.json"))
	if err != nil {
		return 1, err
	}
	var p push
	if err := json.Unmarshal(content, &p); err != nil {
		return 1, fmt.Errorf("parse push: %v", err)
	}
	if !p.Hangup {
		// Taken and not ignored: what is ignored would be ignored by the effect as well.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	}
	if err := prepare(task, secrets, p); err != nil {
		return 1, fmt.Errorf("prepare effect: %v", err)
	}
	proxy, err := startProxy(filepath.Join(task, daemonSocket))
	if err != nil {
		return 1, err
	}
	defer proxy.Close()
	result := status{Began: time.Now()}
	if result.Code, err = runEffect(task, p, environment(api, p.Project)); err != nil {
		return 1, err
	}
	result.Ended = time.Now()
	text, err := json.Marshal(result)
	if err == nil {
		err = os.WriteFile(filepath.Join(task, "status.json"), text, 0o600)
	}
	if err != nil {
		return 1, err
	}
	if result.Code != 0 {
		return effectFailed, nil
	}
	return 0, nil
}

// runEffect starts the effect on a terminal of its own and copies what it says to the file output.
func runEffect(task string, p push, environment []string) (code int, err error) {
	output, err := os.OpenFile(filepath.Join(task, "output"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer output.Close()
	terminal, err := openTerminal()
	if err != nil {
		return 0, err
	}
	defer terminal.master.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()

	// Nothing but its own end, or that of the unit, ends an effect.
	inside := exec.Command("/proc/self/exe", insideArgument, task, p.Effect)
	inside.Env = environment
	inside.Stdin, inside.Stdout, inside.Stderr = null, terminal.slave, terminal.slave
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Setsid:      true, Setctty: true, Ctty: 1,
	}
	err = inside.Start()
	terminal.slave.Close() // so that the master ends with the last of the effect's processes
	if err != nil {
		return 0, fmt.Errorf("start sandbox: %v", err)
	}
	if _, err := io.Copy(output, terminal.master); err != nil && !errors.Is(err, syscall.EIO) {
		return 0, fmt.Errorf("keep output: %v", err)
	}
	err = inside.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("wait for effect: %v", err)
	}
	wait, _ := inside.ProcessState.Sys().(syscall.WaitStatus)
	if wait.Signaled() {
		return 128 + int(wait.Signal()), nil
	}
	return inside.ProcessState.ExitCode(), nil
}
