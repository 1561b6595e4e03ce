package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// outputLimit caps what is kept of a command's output.
const outputLimit = 64 << 10

func (a attempt) command(ctx context.Context) finding {
	c := a.Command
	expected := c.expected()
	cmd, output, said := a.prepare(ctx)
	err := cmd.Run()
	if cmd.Process != nil {
		_ = endGroup(cmd) // what the program left behind must not outlive the probe
	}
	evidence := lastLine(said.kept.String() + "\n" + output.kept.String())
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fail("timeout", expected, "it did not end in time").because(evidence)
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		return a.notStarted(expected, err)
	}
	if code := cmd.ProcessState.ExitCode(); code != c.ExitCode {
		return fail("exit-code", expected, ending(cmd.ProcessState)).because(evidence)
	}
	if pattern, err := regexp.Compile(c.Output); err != nil || !pattern.Match(output.kept.Bytes()) {
		return fail("output", expected, fmt.Sprintf("the output of %d bytes does not match", output.kept.Len())).because(evidence)
	}
	return pass(expected, ending(cmd.ProcessState))
}

// prepare makes the command, in a process group of its own that ends with ctx.
func (a attempt) prepare(ctx context.Context) (cmd *exec.Cmd, output, said *head) {
	program := a.Command.Argv[0]
	if a.host != nil && !strings.Contains(program, "/") {
		program = filepath.Join(a.host.Systemd.Bin, program)
	}
	cmd = exec.CommandContext(ctx, program, a.Command.Argv[1:]...)
	if a.host != nil {
		cmd.Env, cmd.Dir = a.host.Systemd.Env(), "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return endGroup(cmd) }
	cmd.WaitDelay = 500 * time.Millisecond
	output, said = &head{limit: outputLimit}, &head{limit: outputLimit}
	cmd.Stdout, cmd.Stderr = output, said
	return cmd, output, said
}

func endGroup(cmd *exec.Cmd) error {
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		return os.ErrProcessDone
	}
	return nil
}

// notStarted judges a program that could not be run. On the host it is part of
// the system that is judged, on the deployer it is not.
func (a attempt) notStarted(expected string, err error) finding {
	if a.host == nil {
		return unknown("not-started", expected, "the program was not started").because(err.Error())
	}
	return fail("not-started", expected, "the program was not started").because(err.Error())
}

func (c CommandSpec) expected() string {
	text := fmt.Sprintf("%s ends with %d", filepath.Base(c.Argv[0]), c.ExitCode)
	if c.Output != "" {
		text += " and prints what matches " + c.Output
	}
	return text
}

func ending(state *os.ProcessState) string {
	if state.ExitCode() >= 0 {
		return fmt.Sprintf("it ended with %d", state.ExitCode())
	}
	return "it was ended by " + strings.TrimPrefix(state.String(), "signal: ")
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
