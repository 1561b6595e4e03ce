package remote_test

import (
	"bytes"
	"context"
	"errors"

	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
)

// sudo behaves as sudo does with the options that it is given, and asks up to three
// times: what comes on its input is then the password.
const sudo = `#!/bin/sh
echo "sudo $*" >>"$0.log"
mode=$(cat "$0.mode")
stdin=
while :; do
	case $1 in
	-S) stdin=1 ;;
	-p) shift; prompt=$1 ;;
	-n) echo "sudo: a password is required" >&2; exit 1 ;;
	--) shift; break ;;
	*) break ;;
	esac
	shift
done
[ "$mode" = nopasswd ] && exec "$@"
[ "$mode" = silent ] && { echo "Verification code" >&2; exec sleep 1000; }
[ -n "$stdin" ] || { echo "sudo: a terminal is required to read the password" >&2; exit 1; }
[ "$mode" = lecture ] && echo "We trust you have received the usual lecture." >&2
for try in 1 2 3; do
	printf %s "$prompt" >&2
	IFS= read -r password || { echo >&2; echo "sudo: no password was provided" >&2; exit 1; }
	echo "try $try" >>"$0.log"
	[ "$password" = right ] && { echo >&2; [ "$mode" = forbidden ] && { echo "Sorry, user me is not allowed to execute '$*' as root on web1." >&2; exit 1; }; exec "$@"; }
	echo "Sorry, try again." >&2
done
echo "sudo: 3 incorrect password attempts" >&2
exit 1
`

// elevating is a target whose sudo is in the mode, with a password that is counted.
func elevating(t *testing.T, mode, password string) (target remote.Target, program string, asked *int) {
	t.Helper()
	_, target = setup(t, remotetest.Options{})
	program = filepath.Join(t.TempDir(), "sudo")
	for name, text := range map[string]string{program: sudo, program + ".mode": mode} {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	asked = new(int)
	target.Elevation = []string{program, "-n", "--"}
	target.Password = func(_ context.Context, use func(string) error) error {
		*asked++
		return use(password)
	}
	return target, program, asked
}

func log(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile(program + ".log")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatIsWrittenReachesTheProgramAndNotSudo(t *testing.T) {
	sent := bytes.Repeat([]byte("\x00\xff\nright\n\r"), 20_000)
	for _, c := range []struct {
		mode  string
		asked int
	}{{"password", 1}, {"lecture", 1}, {"nopasswd", 0}} {
		t.Run(c.mode, func(t *testing.T) {
			target, program, asked := elevating(t, c.mode, "right")
			conn := dial(t, target)
			result, err := conn.RunElevated(deadline(t), remote.Command{Argv: []string{"sh", "-c", "cat; echo to you >&2"}}, bytes.NewReader(sent))
			if err != nil || !bytes.Equal(result.Stdout, sent) || result.Code != 0 {
				t.Errorf("%d of %d bytes came back, %+v, %v", len(result.Stdout), len(sent), result.Exit, err)
			}
			if *asked != c.asked {
				t.Errorf("asked %d times, not %d", *asked, c.asked)
			}
			if said := string(result.Stderr); !strings.HasSuffix(said, "to you\n") || strings.Contains(said, "hdeploy-") {
				t.Errorf("it said %q", said)
			}
			if text := log(t, program); strings.Contains(text, "right") || strings.Contains(text, " -n ") {
				t.Errorf("sudo was called so: %s", text)
			}
		})
	}
}

func TestAWrongPasswordIsTriedOnce(t *testing.T) {
	target, program, asked := elevating(t, "password", "wrong")
	_, err := dial(t, target).StartElevated(deadline(t), remote.Command{Argv: []string{"cat"}}, nil)
	wantError(t, err, remote.NoElevation, "web1: become root by "+program+": the password was not accepted")
	if !errors.Is(err, remote.ErrPassword) || *asked != 1 || strings.Count(log(t, program), "\ntry ") != 1 {
		t.Errorf("%v; asked %d times; %s", err, *asked, log(t, program))
	}
}

func TestWhatIsRefusedAfterTheRightPasswordIsNoWrongPassword(t *testing.T) {
	target, _, _ := elevating(t, "forbidden", "right")
	result, err := dial(t, target).RunElevated(deadline(t), remote.Command{Argv: []string{"cat"}}, nil)
	if err != nil || result.Code != 1 || !strings.Contains(string(result.Stderr), "is not allowed to execute") {
		t.Errorf("%+v %q, %v", result.Exit, result.Stderr, err)
	}
}

func TestACommandThatSaysItselfThatItRunsIsTheOnlyOneAsRoot(t *testing.T) {
	target, program, _ := elevating(t, "password", "right")
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte("#!/bin/sh\necho ready >&2\necho said after >&2\ncat\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	result, err := dial(t, target).RunElevated(deadline(t), remote.Command{Argv: []string{agent, "serve"}, Ready: "ready"}, strings.NewReader("in"))
	if err != nil || string(result.Stdout) != "in" || strings.Contains(string(result.Stderr), "ready") || !strings.Contains(string(result.Stderr), "said after") {
		t.Errorf("%q %q, %v", result.Stdout, result.Stderr, err)
	}
	for line := range strings.Lines(log(t, program)) {
		if strings.HasPrefix(line, "sudo") && !strings.HasSuffix(line, " -- "+agent+" serve\n") {
			t.Errorf("sudo was called so: %s", line)
		}
	}
}

func TestWithoutAPasswordNobodyIsAskedForOne(t *testing.T) {
	target, _, _ := elevating(t, "password", "right")
	target.Password = nil
	result, err := dial(t, target).RunElevated(deadline(t), remote.Command{Argv: []string{"cat"}}, nil)
	if err != nil || result.Code != 1 || string(result.Stderr) != "sudo: a password is required\n" {
		t.Errorf("%+v %q, %v", result.Exit, result.Stderr, err)
	}
}

func TestNoPasswordIsNoElevation(t *testing.T) {
	target, program, _ := elevating(t, "password", "right")
	target.Password = func(context.Context, func(string) error) error { return errors.New("the person said no") }
	_, err := dial(t, target).StartElevated(deadline(t), remote.Command{Argv: []string{"cat"}}, nil)
	wantError(t, err, remote.NoElevation, "web1: become root by "+program+": the person said no")
}

func TestAnElevationThatSaysNothingKnownEndsWithItsContext(t *testing.T) {
	target, _, _ := elevating(t, "silent", "right")
	ctx, cancel := context.WithTimeout(deadline(t), 2*time.Second)
	defer cancel()
	_, err := dial(t, target).StartElevated(ctx, remote.Command{Argv: []string{"cat"}}, nil)
	wantError(t, err, remote.Canceled)
}

func TestATerminalThatTheHostRefuses(t *testing.T) {
	_, target := setup(t, remotetest.Options{})
	target.Elevation = []string{"doas", "-n"}
	target.Password = func(context.Context, func(string) error) error { return nil }
	_, err := dial(t, target).StartElevated(deadline(t), remote.Command{Argv: []string{"cat"}}, io.Discard)
	wantError(t, err, remote.CommandRefused, "web1: open a terminal for the password: the host refuses", "PermitTTY", "no-pty", "without a password")
}

// doas reads its terminal and nothing else, as doas does, and first throws away what was
// typed before it asked, as the agent of polkit does after.
const doas = `#!/bin/sh
echo "doas $*" >>"$0.log"
[ "$1" = -n ] && exit 9
[ "$1" = -- ] && shift
printf '\033[31mdoas (me@web1) password: \033[0m' >/dev/tty
IFS= read -r password </dev/tty
echo >/dev/tty
[ "$password" = right ] || { echo "doas: Authentication failed" >&2; exit 1; }
exec "$@"
`

func onATerminal(t *testing.T, password string) (remote.Target, string) {
	t.Helper()
	_, target := setup(t, remotetest.Options{Terminals: true})
	program := filepath.Join(t.TempDir(), "doas")
	if err := os.WriteFile(program, []byte(doas), 0o700); err != nil {
		t.Fatal(err)
	}
	target.Elevation, target.TempDir = []string{program, "-n", "--"}, t.TempDir()
	target.Password = func(_ context.Context, use func(string) error) error { return use(password) }
	return target, program
}

func TestATerminalForThePasswordCarriesNothingElse(t *testing.T) {
	target, program := onATerminal(t, "right")
	sent := bytes.Repeat([]byte("\x00\xff\n\x03\x04\r\x1b[31m"), 50_000)
	script := "cat; echo to you >&2; [ -t 0 ] || [ -t 1 ] && exit 8; exit 7"
	result, err := dial(t, target).RunElevated(deadline(t), remote.Command{Argv: []string{"sh", "-c", script}}, bytes.NewReader(sent))
	if err != nil || !bytes.Equal(result.Stdout, sent) || result.Code != 7 {
		t.Errorf("%d of %d bytes came back, %+v, %v", len(result.Stdout), len(sent), result.Exit, err)
	}
	if said := string(result.Stderr); !strings.HasSuffix(said, "to you\n") || strings.Contains(said, "\x1b") || strings.Contains(said, "hdeploy-") {
		t.Errorf("it said %q", said)
	}
	if text := log(t, program); strings.Contains(text, "right") || strings.Contains(text, " -n ") {
		t.Errorf("doas was called so: %s", text)
	}
	if left, err := os.ReadDir(target.TempDir); err != nil || len(left) != 0 {
		t.Errorf("left on the host: %v, %v", left, err)
	}
}

func TestAProgramOnATerminalIsSpokenWith(t *testing.T) {
	target, _ := onATerminal(t, "right")
	conn := dial(t, target)
	p, err := conn.StartElevated(deadline(t), remote.Command{Argv: []string{"sh", "-c", "while read -r line; do echo got $line; done; exit 3"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 100)
	for _, word := range []string{"one", "two"} {
		if _, err := p.Write([]byte(word + "\n")); err != nil {
			t.Fatal(err)
		}
		if n, err := p.Read(answer); err != nil || string(answer[:n]) != "got "+word+"\n" {
			t.Errorf("read %q, %v", answer[:n], err)
		}
	}
	if err := p.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Read(answer); !errors.Is(err, io.EOF) {
		t.Errorf("read %q, %v", answer[:n], err)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 3 {
		t.Errorf("%+v, %v", exit, err)
	}
	killed, err := conn.StartElevated(deadline(t), remote.Command{Argv: []string{"sleep", "1000"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	killed.Kill()
	if _, err := killed.Wait(); err != nil {
		if lost, ok := errors.AsType[*remote.Error](err); !ok || lost.Kind != remote.Lost {
			t.Errorf("after a kill: %v", err)
		}
	}
}

func TestAWrongPasswordOnATerminal(t *testing.T) {
	target, program := onATerminal(t, "wrong")
	_, err := dial(t, target).StartElevated(deadline(t), remote.Command{Argv: []string{"cat"}}, nil)
	if wantError(t, err, remote.NoElevation, "the password was not accepted"); strings.Count(log(t, program), "doas ") != 1 {
		t.Errorf("tried: %s", log(t, program))
	}
}

func TestNoFolderForTheStreamsOfAProgramOnATerminal(t *testing.T) {
	target, _ := onATerminal(t, "right")
	target.TempDir = filepath.Join(target.TempDir, "absent")
	_, err := dial(t, target).StartElevated(deadline(t), remote.Command{Argv: []string{"cat"}}, nil)
	wantError(t, err, remote.NoElevation, "make a folder", "No such file", "temp_dir", "[hosts.web1]")
}

func TestRunElevatedEndsWithItsContext(t *testing.T) {
	target, _, _ := elevating(t, "password", "right")
	ctx, cancel := context.WithCancel(deadline(t))
	time.AfterFunc(time.Second, cancel)
	_, err := dial(t, target).RunElevated(ctx, remote.Command{Argv: []string{"sleep", "1000"}}, nil)
	wantError(t, err, remote.Canceled)
}
