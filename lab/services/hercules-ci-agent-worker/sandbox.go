package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const bootID = "/proc/sys/kernel/random/boot_id"

// What the worker puts into the directory of a task for the sandbox.
const (
	rootDirectory    = "root"
	buildDirectory   = "build"
	secretsDirectory = "secrets"
	daemonSocket     = "daemon.sock"
	bootIDFile       = "boot_id"
)

// environment is the whole environment of an effect.
func environment(api, project string) []string {
	return []string{
		"PATH=/path-not-set",
		"HOME=/build/home",
		"NIX_STORE=/nix/store",
		"NIX_REMOTE=daemon",
		"NIX_BUILD_CORES=1",
		"NIX_BUILD_TOP=/build", "TMPDIR=/build", "TMP=/build", "TEMP=/build", "TEMPDIR=/build",
		"NIX_LOG_FD=2",
		"TERM=xterm-256color",
		"IN_HERCULES_CI_EFFECT=true",
		"HERCULES_CI_API_BASE_URL=" + api,
		"HERCULES_CI_SECRETS_JSON=/secrets/secrets.json",
		"HERCULES_CI_PROJECT_ID=00000000-0000-4000-8000-000000000000",
		"HERCULES_CI_PROJECT_PATH=" + project,
	}
}

// prepare makes what the sandbox will show. The agent's umask keeps all of it private.
func prepare(task, secretsFile string, p push) error {
	for _, name := range []string{rootDirectory, buildDirectory, secretsDirectory} {
		if err := os.Mkdir(filepath.Join(task, name), 0o700); err != nil {
			return err
		}
	}
	secrets, err := chooseSecrets(secretsFile, p)
	if err != nil {
		return err
	}
	id, err := os.ReadFile(bootID)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(task, bootIDFile), id, 0o600),
		os.WriteFile(filepath.Join(task, secretsDirectory, "secrets.json"), secrets, 0o600),
	)
}

// chooseSecrets is the file of an effect: the secrets that it may have, under its own names for them.
func chooseSecrets(file string, p push) ([]byte, error) {
	type secret struct {
		Kind      string          `json:"kind,omitempty"`
		Data      json.RawMessage `json:"data"`
		Condition json.RawMessage `json:"condition,omitempty"`
	}
	chosen := map[string]secret{"hercules-ci": {Data: json.RawMessage(`{"token":"a$lab-effect"}`)}}
	if len(p.Secrets) == 0 {
		return json.Marshal(chosen)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read secrets: %v", err)
	}
	var known map[string]secret
	if err := json.Unmarshal(content, &known); err != nil {
		return nil, fmt.Errorf("Could not parse secrets file: %v", err)
	}
	for name, wanted := range p.Secrets {
		found, ok := known[wanted]
		if !ok || !allows(found.Condition, p.Branch) {
			return nil, fmt.Errorf("no secret %s that this branch may have", wanted)
		}
		chosen[name] = secret{Kind: "Secret", Data: found.Data}
	}
	return json.Marshal(chosen)
}

// allows reports whether a condition holds: true, "isDefaultBranch" where that is main, or {"isBranch": NAME}. None allows nothing.
func allows(condition json.RawMessage, branch string) bool {
	var value any
	if json.Unmarshal(condition, &value) != nil {
		return false
	}
	switch value := value.(type) {
	case bool:
		return value
	case string:
		return value == "isDefaultBranch" && branch == "main"
	case map[string]any:
		return value["isBranch"] == branch
	}
	return false
}

// enter makes the namespaces it was started in the sandbox of a task, and becomes the effect.
func enter(task string, effect []string) error {
	if len(effect) == 0 {
		return errors.New("no effect to run")
	}
	root := filepath.Join(task, rootDirectory)
	unix.Umask(0o022)
	for _, step := range []func() error{
		func() error { return makeRoot(root) },
		func() error { return mountStore(root, filepath.Join(task, daemonSocket)) },
		func() error { return mountPrograms(root) },
		func() error { return mountKernel(root, task) },
		func() error { return mountTask(root, task) },
		func() error { return writeFiles(root) },
		func() error { return changeRoot(root) },
		func() error { return unix.Sethostname([]byte("hercules-ci")) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("make sandbox: %v", err)
		}
	}
	unix.Umask(0o077)
	if err := syscall.Exec(effect[0], effect, os.Environ()); err != nil {
		return fmt.Errorf("start %s: %v", effect[0], err)
	}
	return nil
}

func makeRoot(root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %v", err)
	}
	return mount("tmpfs", root, "tmpfs", 0, "mode=0755")
}

// mountStore shows the store, and the daemon by its proxy, but neither database nor configuration.
func mountStore(root, socket string) error {
	return errors.Join(
		bindReadOnly("/nix/store", root+"/nix/store"),
		bindFile(socket, root+"/nix/var/nix/daemon-socket/socket"),
	)
}

// mountPrograms shows what on NixOS would be in the store.
func mountPrograms(root string) error {
	err := errors.Join(
		bindReadOnly("/usr/lib", root+"/usr/lib"),
		bindReadOnly("/usr/lib64", root+"/usr/lib64"),
		bindFile("/usr/bin/nix", root+"/usr/bin/nix"),
		bindFile("/usr/bin/busybox", root+"/usr/bin/busybox"),
		os.MkdirAll(root+"/bin", 0o755),
	)
	for name, target := range map[string]string{
		"/lib": "usr/lib", "/lib64": "usr/lib64", "/bin/sh": "/usr/bin/busybox", "/usr/bin/env": "busybox",
		"/usr/bin/nix-store": "nix", "/usr/bin/nix-copy-closure": "nix",
	} {
		err = errors.Join(err, os.Symlink(target, root+name))
	}
	return err
}

// mountKernel shows processes, devices and hardware. The boot id is that of the host: a container's is its own, and a new /proc would
// show that of the machine below.
func mountKernel(root, task string) error {
	err := errors.Join(
		mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount(filepath.Join(task, bootIDFile), root+bootID, "", unix.MS_BIND, ""),
		mount("/sys", root+"/sys", "", unix.MS_BIND|unix.MS_REC, ""),
		mount("tmpfs", root+"/dev", "tmpfs", unix.MS_NOSUID, "mode=0755"),
		mount("devpts", root+"/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"),
		mount("tmpfs", root+"/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777"),
	)
	for _, device := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		err = errors.Join(err, bindFile("/dev/"+device, root+"/dev/"+device))
	}
	for name, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		err = errors.Join(err, os.Symlink(target, root+"/dev/"+name))
	}
	return err
}

func mountTask(root, task string) error {
	return errors.Join(
		mount(filepath.Join(task, buildDirectory), root+"/build", "", unix.MS_BIND, ""),
		bindReadOnly(filepath.Join(task, secretsDirectory), root+"/secrets"),
	)
}

func writeFiles(root string) error {
	resolver, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(
		os.MkdirAll(root+"/etc", 0o755),
		os.MkdirAll(root+"/build/home", 0o700),
		os.WriteFile(root+"/etc/resolv.conf", resolver, 0o644),
		os.WriteFile(root+"/etc/passwd", []byte("root:x:0:0:System administrator:/build/home:/bin/sh\n"), 0o644),
	)
}

// changeRoot leaves nothing of the host's files within reach.
func changeRoot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %v", err)
	}
	// The old root lies on top of the new one now.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave old root: %v", err)
	}
	return unix.Chdir("/build")
}

func mount(source, target, kind string, flags uintptr, data string) error {
	info, err := os.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(target, 0o755)
	} else if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		err = errors.New("a link is in its place")
	}
	if err == nil {
		err = unix.Mount(source, target, kind, flags, data)
	}
	if err != nil {
		return fmt.Errorf("mount %s: %v", target, err)
	}
	return nil
}

func bindReadOnly(source, target string) error {
	if err := mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func bindFile(source, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		return err
	}
	return mount(source, target, "", unix.MS_BIND, "")
}
