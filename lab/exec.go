package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

const (
	debianPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	nixosPath  = "/run/current-system/sw/bin:/run/wrappers/bin"

	// execTimeout bounds a command whose caller gave no deadline.
	execTimeout = 10 * time.Minute
)

// Result is what a command that was run in a host left.
type Result struct {
	Stdout, Stderr string
	Code           int // 128 plus the signal for a command that a signal ended
}

// Exec runs a command as root in the host and waits for it, ten minutes if ctx has no
// deadline. An exit code other than 0 is no error; an error means that the command could
// not run, or not to its end.
func (h *Host) Exec(ctx context.Context, command ...string) (Result, error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, execTimeout)
		defer cancel()
	}
	var stdout, stderr bytes.Buffer
	process, err := h.Start(ctx, ExecOptions{Stdout: &stdout, Stderr: &stderr}, command...)
	if err != nil {
		return Result{}, err
	}
	code, err := process.Wait()
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}, err
}

// ExecOptions are the surroundings of a command in a host.
type ExecOptions struct {
	Dir            string    // as the host sees it; its root if empty
	Env            []string  // added to PATH, HOME, USER and LC_ALL
	Stdin          io.Reader // an *os.File is passed on, a terminal too
	Stdout, Stderr io.Writer
}

// Process is a command that runs in a host.
type Process struct {
	// PID is its id inside the host, 0 if it ended before anybody could look.
	PID int

	cmd *exec.Cmd
	ctx context.Context
}

// Start runs a command as root in the host. It is killed when ctx ends. Wait must be called.
func (h *Host) Start(ctx context.Context, options ExecOptions, command ...string) (*Process, error) {
	if len(command) == 0 {
		return nil, errors.New("start command: none given")
	}
	leader, ok := h.leader()
	if !ok {
		return nil, fmt.Errorf("start %s: host %s does not run", command[0], h.Name)
	}
	dir := options.Dir
	if dir == "" {
		dir = "/"
	}
	args := []string{"--target", fmt.Sprint(leader.PID), "--all", "--wdns=" + dir, "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(args, command...)...)
	path := debianPath + ":/hdeploy"
	if h.record.Kind == kindHost {
		path = nixosPath
	}
	cmd.Env = append([]string{"PATH=" + path, "HOME=/root", "USER=root", "LC_ALL=C.UTF-8"}, options.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = options.Stdin, options.Stdout, options.Stderr
	cmd.WaitDelay = 2 * time.Second
	process := &Process{cmd: cmd, ctx: ctx}
	cmd.Cancel = process.Kill
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s in host %s: %v", command[0], h.Name, err)
	}
	process.findPID()
	return process, nil
}

// inner is the command itself, as this machine numbers it: the child of nsenter.
func (p *Process) inner() int {
	if children := childrenOf(p.cmd.Process.Pid); len(children) > 0 {
		return children[0]
	}
	return 0
}

// findPID waits until nsenter has forked, or has ended.
func (p *Process) findPID() {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	_ = poll(ctx, time.Millisecond, func() (bool, error) {
		if inner := p.inner(); inner != 0 {
			p.PID = innerPID(inner)
			return true, nil
		}
		stat, err := readStat(p.cmd.Process.Pid)
		return err != nil || stat.state == "Z", nil
	})
}

// Kill sends SIGKILL to the command, not to what it started.
func (p *Process) Kill() error { return p.Signal(syscall.SIGKILL) }

// Signal sends a signal to the command.
func (p *Process) Signal(signal syscall.Signal) error {
	inner := p.inner()
	if inner == 0 {
		return p.cmd.Process.Signal(signal)
	}
	return syscall.Kill(inner, signal)
}

// Wait returns the exit code, 128 plus the signal for a command that a signal ended. It
// must be called once.
func (p *Process) Wait() (code int, err error) {
	err = p.cmd.Wait()
	if p.ctx.Err() != nil && err != nil {
		return -1, fmt.Errorf("run in host: %w", context.Cause(p.ctx))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return -1, fmt.Errorf("run in host: %v", err)
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return p.cmd.ProcessState.ExitCode(), nil
}
