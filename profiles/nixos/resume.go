package nixos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

const (
	// resumeUnit settles at boot what the boot before left. The NixOS module
	// modules/hdeploy has one of the same name, which goes before this one.
	resumeUnit = "hdeploy-resume.service"
	// attachedUnits is where units can be put on NixOS that are there at the next
	// boot: /etc/systemd/system is a link into the store, and
	// switch-to-configuration leaves this directory alone.
	attachedUnits = "/etc/systemd/system.attached"
	attachedWants = attachedUnits + "/multi-user.target.wants"
)

// resumeText starts whichever agent is installed then: an upload of another version
// replaces it. Nothing waits for the unit, and it fails no boot. Where an agent has
// been at work in this boot there is nothing to settle: a switch starts the targets
// again, and with them all that they want.
const resumeText = `[Unit]
Description=hdeploy: settle what the boot before left
ConditionPathExists=|/var/lib/hdeploy/transaction.json
ConditionPathExistsGlob=|/var/lib/hdeploy/per-profile/*/transaction.json
ConditionPathExists=!/run/hdeploy/lock
DefaultDependencies=no
IgnoreOnIsolate=yes
After=local-fs.target
WantsMountsFor=/boot /nix/store /nix/var /var/lib/hdeploy
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
OOMScoreAdjust=-900
UMask=0077
ExecStart=-/bin/sh -c 'for agent in /var/lib/hdeploy/agent/hdeploy-agent-*; do [ -x "$agent" ] && exec "$agent" resume; done'
`

// canAttach says why no unit can be left for the next boot.
func canAttach() error {
	dir := nearest(attachedUnits)
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("%s cannot be written: %v", attachedUnits, err)
	}
	if why := forgets(dir); why != "" {
		return fmt.Errorf("%s does not last: %s", attachedUnits, why)
	}
	return nil
}

// AttachResume leaves the unit for the next boot. Where that is impossible, the
// first call of an agent after the boot settles, so that a caller may go on.
func AttachResume() error {
	if err := canAttach(); err != nil {
		return err
	}
	name := filepath.Join(attachedUnits, resumeUnit)
	link := filepath.Join(attachedWants, resumeUnit)
	now, err := os.ReadFile(name)
	if target, linkErr := os.Readlink(link); err == nil && linkErr == nil && target == name && bytes.Equal(now, []byte(resumeText)) {
		return nil
	}
	if err := os.MkdirAll(attachedWants, 0o755); err != nil {
		return fmt.Errorf("leave a unit for the next boot: %v", err)
	}
	err = errors.Join(
		atomicfile.Write(name, []byte(resumeText), 0o644),
		atomicfile.Symlink(name, link),
		atomicfile.SyncDir(attachedUnits),
		atomicfile.SyncDir(filepath.Dir(attachedUnits)),
	)
	if err != nil {
		return fmt.Errorf("leave a unit for the next boot: %v", err)
	}
	return nil
}

// DetachResume removes the unit. The directories go where nobody else uses them.
func DetachResume() error {
	for _, name := range []string{filepath.Join(attachedWants, resumeUnit), filepath.Join(attachedUnits, resumeUnit)} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the unit for the next boot: %v", err)
		}
	}
	_ = os.Remove(attachedWants)
	_ = os.Remove(attachedUnits)
	return nil
}

// resumes says why a boot of toplevel would not settle by itself what was left.
func resumes(toplevel string) error {
	if _, err := os.Stat(filepath.Join(toplevel, "etc/systemd/system", resumeUnit)); err == nil {
		return nil
	}
	if err := canAttach(); err != nil {
		return fmt.Errorf("%v, and the new system does not have the NixOS module of hdeploy", err)
	}
	return nil
}
