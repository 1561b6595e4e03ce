package nixos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Objection is why a host cannot switch to a system, found before anything was
// changed.
type Objection struct {
	Why string
	// Boot says that the system can be booted all the same.
	Boot bool
}

func (o *Objection) Error() string { return o.Why }

// checkLimit bounds the new system's pre-switch checks, which may be anything.
const checkLimit = time.Minute

// Object looks for what keeps this host, which runs the toplevel running, from
// the action with the toplevel new; nil where nothing does. The checks of a system
// that is only to be booted are run by its own commit.
func Object(ctx context.Context, running, new string, action transaction.Action) *Objection {
	if o := foreign(new); o != nil {
		return o
	}
	if o := busy(); o != nil {
		return o
	}
	if !action.Switches() {
		return nil
	}
	if was, is := read(running, "init-interface-version"), read(new, "init-interface-version"); was != is {
		return &Objection{Why: fmt.Sprintf("the running system's init (%s) cannot take over from the new one's (%s): it can only be booted", known(was), known(is)), Boot: true}
	}
	return check(ctx, running, new)
}

// read is a small file of a toplevel, empty where there is none.
func read(toplevel, name string) string {
	data, err := os.ReadFile(filepath.Join(toplevel, name))
	if err != nil || len(data) > 4<<10 {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func known(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

// foreign objects to a system for another architecture: a toplevel names its own
// in the file system.
func foreign(toplevel string) *Objection {
	if is := read(toplevel, "system"); is != "" && is != nixSystem() {
		return &Objection{Why: fmt.Sprintf("the system is for %s, the host is %s", is, nixSystem())}
	}
	return nil
}

// busy objects while another switch runs. It reads the kernel's list of locks:
// to take the lock for a look would make a switch of that instant fail.
func busy() *Objection {
	pid := lockHolder(switchLock, "/proc/locks")
	if pid == 0 {
		return nil
	}
	return &Objection{Why: "another switch-to-configuration runs on the host: " + process(pid)}
}

// lockHolder is the process that holds a lock on a file, as /proc/locks tells it
// (proc_locks(5)), zero where none does.
func lockHolder(name, locks string) int {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	data, err := os.ReadFile(locks)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		// "1: FLOCK  ADVISORY  WRITE 712 00:19:1153 0 EOF"; who waits has "->" after
		// the number.
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}

// process names a process by the first words of its command line: the rest is
// nobody's business.
func process(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return fmt.Sprintf("process %d", pid)
	}
	words := bytes.Split(data[:min(len(data), 200)], []byte{0})
	return fmt.Sprintf("process %d, %s", pid, bytes.Join(words[:min(len(words), 2)], []byte(" ")))
}

// check runs the new system's pre-switch checks. Its switch-to-configuration does
// that for the action check, in newer versions of NixOS; an older one prints its
// usage, and then the trial finds out.
func check(ctx context.Context, running, toplevel string) *Objection {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(toplevel, "bin/switch-to-configuration"), "check")
	cmd.Env, cmd.Dir = systemd.Of(running).Env(), "/"
	// What a check has started is ended with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var said tailBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		return &Objection{Why: fmt.Sprintf("the new system's pre-switch checks did not end within %v", checkLimit)}
	}
	return objectionOf(err, said.String())
}

var (
	usageText = regexp.MustCompile(`(?m)^Usage: .*dry-activate`)
	lockText  = regexp.MustCompile(`(?m)^Could not acquire lock`)
)

// objectionOf reads how switch-to-configuration's check ended, and what it said.
func objectionOf(err error, said string) *Objection {
	var exit *exec.ExitError
	said = strings.TrimSpace(said)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOEXEC):
		return &Objection{Why: "the system is for another architecture: its switch-to-configuration cannot be run here"}
	case !errors.As(err, &exit):
		return &Objection{Why: fmt.Sprintf("the new system's pre-switch checks cannot be run: %v", err)}
	case exit.ExitCode() == 1 && usageText.MatchString(said):
		return nil
	case exit.ExitCode() == 11 || lockText.MatchString(said):
		return &Objection{Why: "another switch-to-configuration runs on the host"}
	case exit.ExitCode() == 126 || exit.ExitCode() == 127:
		return &Objection{Why: transaction.ExitMeaning(exit.ExitCode())}
	}
	return &Objection{Why: strings.TrimSpace(fmt.Sprintf("the new system's pre-switch checks failed (exit %d)\n%s", exit.ExitCode(), said)), Boot: true}
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct{ kept []byte }

func (b *tailBuffer) Write(p []byte) (int, error) {
	const most = 4 << 10
	b.kept = append(b.kept, p...)
	b.kept = b.kept[max(0, len(b.kept)-most):]
	return len(p), nil
}

func (b *tailBuffer) String() string { return strings.ToValidUTF8(string(b.kept), "?") }

// changes are what switch-to-configuration announces before it touches anything.
var changes = regexp.MustCompile(`(?m)^(stopping |activating the configuration)`)

// resumed are the lists that it leaves once it has begun to work on units.
var resumed = []string{"start-list", "restart-list", "reload-list"}

// untouched says that a switch which ended with this code has changed nothing, as
// far as that can be shown: by what runs, by what the switch said, by its lists,
// and by the units, none of which was stopped or started.
func (h Host) untouched(ctx context.Context, r transaction.Record, exit int) bool {
	if exit != 1 && exit != 11 && exit != 100 {
		return false
	}
	running, at, err := h.Look(r.Profile)
	if err != nil || running != r.Previous.Running || at.Link != r.Previous.Profile.Link {
		return false
	}
	for _, list := range resumed {
		if _, err := os.Lstat(filepath.Join(filepath.Dir(switchLock), list)); !errors.Is(err, os.ErrNotExist) {
			return false
		}
	}
	said, err := os.ReadFile(h.Store.LogFile(r.ID))
	if err != nil || changes.Match(said) {
		return false
	}
	return h.unitsUntouched(ctx, r)
}

func (h Host) unitsUntouched(ctx context.Context, r transaction.Record) bool {
	before, err := h.Store.LoadBaseline(r.ID)
	if err != nil {
		return false
	}
	now, err := systemd.Of(r.Previous.Running).All(ctx)
	if err != nil {
		return false
	}
	for id, was := range before.Units {
		if !lasting(id, was) || bySocket(id, before) || startsByItself(id, before) {
			continue
		}
		if is := now[id]; is.Active != was.Active || is.Invocation != was.Invocation {
			return false
		}
	}
	return true
}
