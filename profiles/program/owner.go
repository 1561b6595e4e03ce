package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// owner is the user whose profile it is.
type owner struct {
	name, home string
	uid, gid   string
}

func lookup(name string) (owner, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return owner{}, fmt.Errorf("the host has no user %s", name)
	}
	if !filepath.IsAbs(u.HomeDir) {
		return owner{}, fmt.Errorf("user %s has no home directory", name)
	}
	return owner{name: u.Username, home: u.HomeDir, uid: u.Uid, gid: u.Gid}, nil
}

func (o owner) itself() bool { return o.uid == fmt.Sprint(os.Getuid()) }

// become is what runs a command as the owner.
func (o owner) become(m systemd.Manager, argv []string) []string {
	if o.itself() {
		return argv
	}
	prefix := []string{filepath.Join(m.Bin, "setpriv"), "--reuid=" + o.uid, "--regid=" + o.gid, "--init-groups", "--inh-caps=-all", "--"}
	return append(prefix, argv...)
}

// environment is what a login of the owner would have, as far as programs need it.
func (o owner) environment(m systemd.Manager) []string {
	env := []string{"HOME=" + o.home, "USER=" + o.name, "LOGNAME=" + o.name, "SHELL=/bin/sh", "PATH=" + m.Bin + ":/run/wrappers/bin"}
	if runtime := "/run/user/" + o.uid; isDir(runtime) {
		env = append(env, "XDG_RUNTIME_DIR="+runtime, "DBUS_SESSION_BUS_ADDRESS=unix:path="+runtime+"/bus")
	}
	return env
}

// saidLimit caps what is told of a command's error.
const saidLimit = 300

// run runs a short command as the owner, for what the owner's directories hold.
func (o owner) run(ctx context.Context, m systemd.Manager, argv ...string) error {
	argv = o.become(m, argv)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = o.environment(m), "/", time.Second
	said, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(said))
		return fmt.Errorf("%v: %s", err, text[:min(len(text), saidLimit)])
	}
	return nil
}

// lingers says whether the user's manager lives without a login, so that a unit of
// it outlives the connection. loginctl(1), enable-linger
func (o owner) lingers() bool {
	_, err := os.Stat(filepath.Join("/var/lib/systemd/linger", o.name))
	return err == nil
}
