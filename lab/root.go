package lab

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed launch.sh
var launchScript string

// rootDir is an open root directory of a host. Links in it, absolute ones too, are
// followed inside it, never into this machine's own tree.
type rootDir struct{ *os.File }

func openRootDir(dir string) (rootDir, error) {
	file, err := os.Open(dir)
	if err != nil {
		return rootDir{}, fmt.Errorf("open host root: %v", err)
	}
	return rootDir{file}, nil
}

func (r rootDir) open(name string, flags int, mode fs.FileMode) (*os.File, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT}
	if flags&os.O_CREATE != 0 {
		how.Mode = uint64(mode.Perm())
	}
	relative := strings.TrimLeft(path.Clean("/"+name), "/")
	if relative == "" {
		relative = "."
	}
	fd, err := unix.Openat2(int(r.Fd()), relative, &how)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (r rootDir) readFile(name string) ([]byte, error) {
	file, err := r.open(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(file)
}

func (r rootDir) writeFile(name string, data []byte, mode fs.FileMode) error {
	if err := r.makeDirs(path.Dir(path.Clean("/" + name))); err != nil {
		return err
	}
	file, err := r.open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Chmod(mode), file.Close())
}

func (r rootDir) makeDirs(dir string) error {
	if dir == "/" {
		return nil
	}
	file, err := r.open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		return file.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.makeDirs(path.Dir(dir)); err != nil {
		return err
	}
	parent, err := r.open(path.Dir(dir), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	if err := unix.Mkdirat(int(parent.Fd()), path.Base(dir), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// heldRoot is the mounted root of a host that is off. The mounts are in a namespace of
// their own and vanish with the process that holds it, even if this one is killed.
type heldRoot struct {
	rootDir
	path  string
	pid   int
	close func() error
}

// holdRoot mounts the layers of dir above lower, without a network.
func holdRoot(ctx context.Context, dir, lower string) (*heldRoot, error) {
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--net", "--",
		"bash", "-c", launchScript, "launch.sh", "hold", dir, lower)
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("mount host root: %v", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("mount host root: %v", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("mount host root: %v", err)
	}
	release := func() error { return errors.Join(stdin.Close(), cmd.Wait()) }

	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(stdout, ready); err != nil {
		_ = release()
		return nil, fmt.Errorf("mount host root: %s", lastLines(stderr.Bytes(), 5))
	}
	held := &heldRoot{path: dir + "/root", pid: cmd.Process.Pid, close: release}
	held.rootDir, err = openRootDir(fmt.Sprintf("/proc/%d/root%s", held.pid, held.path))
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return held, nil
}

// Close unmounts the root.
func (h *heldRoot) Close() error { return errors.Join(h.File.Close(), h.close()) }

// run executes a command with the held directory as its root. It has process ids of
// its own: around each build Nix kills every process of its build user that it can see,
// and those of other worlds have the same users. The error carries the end of the output.
func (h *heldRoot) run(ctx context.Context, env []string, command ...string) error {
	args := []string{"--target", fmt.Sprint(h.pid), "--mount", "--net", "--",
		"unshare", "--pid", "--fork", "--kill-child", "--", "/usr/sbin/chroot", h.path}
	cmd := exec.CommandContext(ctx, "nsenter", append(args, command...)...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=" + debianPath, "HOME=/root", "USER=root", "LC_ALL=C.UTF-8"}, env...)
	out, err := runGroup(cmd)
	if err != nil {
		return fmt.Errorf("run %s in host root: %v: %s", command[0], err, lastLines(out, 20))
	}
	return nil
}

// runGroup runs cmd as a process group of its own, so that a cancelled context ends its
// children too, and returns stdout and stderr together.
func runGroup(cmd *exec.Cmd) ([]byte, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	}
	cmd.WaitDelay = time.Second
	return cmd.CombinedOutput()
}

// run executes a program of this machine.
func run(ctx context.Context, command ...string) error {
	out, err := runGroup(exec.CommandContext(ctx, command[0], command[1:]...))
	if err != nil {
		return fmt.Errorf("run %s: %v: %s", strings.Join(command, " "), err, lastLines(out, 10))
	}
	return nil
}

func lastLines(out []byte, count int) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
