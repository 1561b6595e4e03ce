//go:build lab

// Package ci pushes to a lab host's Hercules CI agent, and reads what its effects told.
//
// What it builds and starts on a host is what the agent would: nothing that an effect gets comes from anywhere but the host's store,
// the secrets of the agent and the push.
package ci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

const (
	baseDirectory = "/var/lib/hercules-ci-agent"
	workDirectory = baseDirectory + "/work"
	checkout      = "/srv/checkout"

	// SecretName is what the agent calls the secret with the deployer's key.
	SecretName = "hetzner-deploy"
)

// Host is a lab host with the agent, and what is pushed to it.
type Host struct {
	*lab.Host
	// Program is hdeploy, a store path.
	Program string

	pushes atomic.Int64
}

// New makes a host, whose running system has the agent, ready for pushes: with hdeploy's program in its store, a checkout of the
// lab's flake, and the deployer's key among the agent's secrets.
func New(ctx context.Context, world *lab.World, workstation, host *lab.Host) (*Host, error) {
	h := &Host{Host: host}
	program, err := os.ReadFile(filepath.Join(world.BinDir(), "hdeploy"))
	if err != nil {
		return nil, fmt.Errorf("read hdeploy: %v", err)
	}
	if h.Program, err = h.AddToStore(ctx, "hdeploy", program, true); err != nil {
		return nil, err
	}
	if err := host.NewFlake(ctx, checkout); err != nil {
		return nil, err
	}
	key, err := workstation.ReadFile(ctx, "/root/.ssh/id_ed25519")
	if err != nil {
		return nil, fmt.Errorf("read deployer's key: %v", err)
	}
	return h, h.giveSecrets(ctx, string(key))
}

func (h *Host) giveSecrets(ctx context.Context, key string) error {
	secrets, err := json.Marshal(map[string]any{SecretName: map[string]any{
		"kind": "Secret", "data": map[string]string{"privateKey": key}, "condition": "isDefaultBranch",
	}})
	if err != nil {
		return err
	}
	const file = baseDirectory + "/secrets/secrets.json"
	if err := h.WriteFile(ctx, file, secrets, 0o600); err != nil {
		return err
	}
	_, err = h.Shell(ctx, "chown hercules-ci-agent: "+file)
	return err
}

// Shell runs a script as root on the host and returns what it printed. Another exit code than 0 is an error.
func (h *Host) Shell(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	result, err := h.Exec(ctx, "sh", "-c", script)
	if err != nil {
		return "", fmt.Errorf("run %.60q on %s: %w", script, h.Name, err)
	}
	if result.Code != 0 {
		return "", fmt.Errorf("run %.60q on %s: code %d: %s%s", script, h.Name, result.Code, result.Stdout, result.Stderr)
	}
	return strings.TrimSpace(result.Stdout), nil
}

// AddToStore puts a file into the host's store, and keeps it there.
func (h *Host) AddToStore(ctx context.Context, name string, content []byte, executable bool) (string, error) {
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	file := "/srv/store/" + name
	if err := h.WriteFile(ctx, file, content, mode); err != nil {
		return "", err
	}
	return h.Shell(ctx, fmt.Sprintf("p=$(nix-store --add %s) && ln -sfn $p /nix/var/nix/gcroots/lab-$(basename $p) && echo $p", file))
}

// Build is the agent's part before an effect: the system of the checkout, with the settings of one hosts/NAME.json.
func (h *Host) Build(ctx context.Context, name string, settings any) (closure string, err error) {
	if err := h.WriteHostConfig(ctx, checkout, name, settings); err != nil {
		return "", err
	}
	return h.Shell(ctx, fmt.Sprintf("nix build --no-link --print-out-paths %s#nixosConfigurations.%s.config.system.build.toplevel", checkout, name))
}

// Push is an effect that the agent is to run.
type Push struct {
	// Script is what the effect runs, by busybox's shell.
	Script string
	// Branch is that of the push, main if empty. Only main may have the deployer's key, as the secret "ssh".
	Branch string
	// Hangup makes the effect's terminal end with its worker where the unit is stopped.
	Hangup bool
}

// Task is an effect that was begun.
type Task struct {
	host *Host
	name string
}

// Push gives an effect to the agent.
func (h *Host) Push(ctx context.Context, p Push) (*Task, error) {
	if p.Branch == "" {
		p.Branch = "main"
	}
	effect, err := h.AddToStore(ctx, "effect-deploy", []byte("#!/bin/sh\n"+p.Script), true)
	if err != nil {
		return nil, err
	}
	push := map[string]any{"effect": effect, "project": "github/hbohlen/pantherOS", "branch": p.Branch, "hangup": p.Hangup}
	if p.Branch == "main" {
		push["secrets"] = map[string]string{"ssh": SecretName}
	}
	text, err := json.Marshal(push)
	if err != nil {
		return nil, err
	}
	task := &Task{host: h, name: fmt.Sprintf("push-%d", h.pushes.Add(1))}
	unfinished := workDirectory + "/" + task.name
	if err := h.WriteFile(ctx, unfinished, text, 0o644); err != nil {
		return nil, err
	}
	_, err = h.Shell(ctx, fmt.Sprintf("mv %s %s/queue/%s.json", unfinished, workDirectory, task.name))
	return task, err
}

func (t *Task) dir() string { return workDirectory + "/tasks/" + t.name }

// Output is what the effect has told its terminal so far.
func (t *Task) Output(ctx context.Context) string {
	text, _ := t.host.ReadFile(ctx, t.dir()+"/output") // there is none before it begins
	return string(text)
}

// Result is how an effect ended.
type Result struct {
	// Code is its exit code, and Took how long it ran. Both are unknown, and Killed is true, where its worker did not live to
	// write them down.
	Code   int
	Took   time.Duration
	Killed bool
	Output string
}

// ErrRunning says that an effect has not ended.
var ErrRunning = errors.New("the effect has not ended")

// Result is how the effect ended, or ErrRunning.
func (t *Task) Result(ctx context.Context) (Result, error) {
	// The worker names its task; it is asked for before the file that it writes last.
	running, err := t.host.Shell(ctx, fmt.Sprintf("[ -e %s/queue/%s.json ] || pgrep -f '[-]worker %s ' >/dev/null && echo yes || echo no", workDirectory, t.name, t.dir()))
	if err != nil {
		return Result{}, err
	}
	if running == "yes" {
		return Result{}, ErrRunning
	}
	result := Result{Output: t.Output(ctx)}
	text, err := t.host.ReadFile(ctx, t.dir()+"/status.json")
	if err != nil {
		result.Killed = true
		return result, nil //nolint:nilerr // the missing file is the answer
	}
	var status struct {
		Code         int
		Began, Ended time.Time
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return Result{}, fmt.Errorf("parse status of %s: %v", t.name, err)
	}
	result.Code, result.Took = status.Code, status.Ended.Sub(status.Began)
	return result, nil
}

// Wait waits until the effect has ended, by itself or killed.
func (t *Task) Wait(ctx context.Context) (Result, error) {
	for {
		result, err := t.Result(ctx)
		if !errors.Is(err, ErrRunning) {
			return result, err
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("wait for the effect %s: %w; it told:\n%s", t.name, context.Cause(ctx), t.Output(context.WithoutCancel(ctx)))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
