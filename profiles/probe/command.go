package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// CommandSpec runs a program without a shell. On a host its name is looked up
// in the toplevel's sw/bin and it gets only PATH, HOME and LC_ALL; on the
// deployer it is looked up in PATH and inherits the environment. The last line
// that it prints is told where it fails: it must not print what is secret.
type CommandSpec struct {
	Argv []string `json:"argv"`
	// ExitCode is the wanted exit code.
	ExitCode int `json:"exit_code,omitempty"`
	// Output is a regular expression (RE2) that the first 64 KiB of standard
	// output, without a line break at its end, must match; empty for any.
	Output string `json:"output,omitempty"`
	// User runs it with the user's id and groups and nothing of the caller's
	// environment, which only root may; empty for the caller. Users of systemd's
	// that are in neither passwd nor group are not known.
	User string `json:"user,omitempty"`
}

func (c *CommandSpec) validate() error {
	var errs []error
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		errs = append(errs, errors.New("argv must name a program"))
	}
	for _, arg := range c.Argv {
		if len(arg) > longestArgument || strings.ContainsRune(arg, 0) {
			errs = append(errs, fmt.Errorf("argv: an argument must be at most %d bytes without NUL", longestArgument))
		}
	}
	if c.ExitCode < 0 || c.ExitCode > 255 {
		errs = append(errs, fmt.Errorf("exit_code must be from 0 to 255, not %d", c.ExitCode))
	}
	return errors.Join(append(errs, validName("user", c.User), validPattern("output", c.Output))...)
}

// outputLimit caps what is kept of a command's output.
const outputLimit = 64 << 10

func commandKind() kind {
	return kind{
		About: About{
			Kind: KindCommand, Vantages: []string{FromHost, FromDeployer}, Text: "a program ends as wanted",
			Params: []Param{
				{Name: "argv", Type: Texts, Required: true, Text: "the program and its arguments; there is no shell"},
				{Name: "exit_code", Type: Number, Default: "0", Text: "the wanted exit code"},
				{Name: "output", Type: Text, Text: "a regular expression that the first 64 KiB of standard output match, without the line break at their end"},
				{Name: "user", Type: Text, Default: "root on the host, who runs hdeploy on the deployer", Text: "who runs it, by name or number, with the groups and the home of that user"},
			},
		},
		question: func() Question { return &CommandSpec{} },
		defaults: func(s *Spec) { s.Timeout = 0 },
	}
}

func (*CommandSpec) units() []string { return nil }

func (c *CommandSpec) try(ctx context.Context, a attempt) finding {
	expected := c.expected()
	cmd, output, said := c.prepare(ctx, a.host)
	if c.User != "" {
		if err := runAs(cmd, c.User); err != nil {
			return a.notStarted(expected, err)
		}
	}
	err := cmd.Run()
	if cmd.Process != nil {
		_ = endGroup(cmd) // what the program left behind must not outlive the probe
	}
	evidence := redact(lastLine(said.kept.String() + "\n" + output.kept.String()))
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
	if pattern, err := regexp.Compile(c.Output); err != nil || !pattern.Match(withoutLastBreak(output.kept.Bytes())) {
		return fail("output", expected, fmt.Sprintf("the output of %d bytes does not match", output.kept.Len())).because(evidence)
	}
	return pass(expected, ending(cmd.ProcessState))
}

// prepare makes the command, in a process group of its own that ends with ctx.
func (c *CommandSpec) prepare(ctx context.Context, host *Host) (cmd *exec.Cmd, output, said *head) {
	program := c.Argv[0]
	if host != nil && !strings.Contains(program, "/") {
		program = filepath.Join(host.Systemd.Bin, program)
	}
	cmd = exec.CommandContext(ctx, program, c.Argv[1:]...)
	if host != nil {
		cmd.Env, cmd.Dir = host.Systemd.Env(), "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return endGroup(cmd) }
	cmd.WaitDelay = 500 * time.Millisecond
	output, said = &head{limit: outputLimit}, &head{limit: outputLimit}
	cmd.Stdout, cmd.Stderr = output, said
	return cmd, output, said
}

// runAs makes the command that of a user: ids, groups and environment.
func runAs(cmd *exec.Cmd, name string) error {
	u, err := user.Lookup(name)
	if isNumber(name) {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return fmt.Errorf("find the user: %v", err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("find the user's groups: %v", err)
	}
	credential := &syscall.Credential{}
	for _, id := range []struct {
		text string
		into *uint32
	}{{u.Uid, &credential.Uid}, {u.Gid, &credential.Gid}} {
		if _, err := fmt.Sscan(id.text, id.into); err != nil {
			return fmt.Errorf("read the ids of %s: %v", u.Username, err)
		}
	}
	for _, group := range groups {
		var id uint32
		if _, err := fmt.Sscan(group, &id); err != nil {
			return fmt.Errorf("read the groups of %s: %v", u.Username, err)
		}
		credential.Groups = append(credential.Groups, id)
	}
	cmd.SysProcAttr.Credential = credential
	cmd.Env, cmd.Dir = environmentOf(u, cmd.Env), "/"
	return nil
}

// environmentOf keeps of what was there where programs are, and no more.
func environmentOf(u *user.User, was []string) []string {
	path := "PATH=" + os.Getenv("PATH")
	for _, setting := range was {
		if strings.HasPrefix(setting, "PATH=") {
			path = setting
		}
	}
	return []string{path, "LC_ALL=C", "HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username}
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
	// Who is not root may not become another user.
	if a.host == nil || errors.Is(err, syscall.EPERM) && os.Geteuid() != 0 {
		return unknown("not-started", expected, "the program was not started").because(err.Error())
	}
	return fail("not-started", expected, "the program was not started").because(err.Error())
}

func (c *CommandSpec) expected() string {
	text := fmt.Sprintf("%s ends with %d", filepath.Base(c.Argv[0]), c.ExitCode)
	if c.User != "" {
		text = c.User + " runs it: " + text
	}
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

// withoutLastBreak is what a program printed as a shell's $(...) has it, so that ^…$ means
// all of a single line.
func withoutLastBreak(output []byte) []byte { return bytes.TrimSuffix(output, []byte("\n")) }

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
