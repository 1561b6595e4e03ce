package deploy

import (
	"os"
	"os/user"
	"strings"

	"github.com/hbohlen/hdeploy/hosts"
)

// asSelf completes a host that is this machine: nobody logs in, so that the user is
// the one that hdeploy runs as.
func asSelf(h hosts.Host) hosts.Host {
	if !h.Local {
		return h
	}
	if self, err := user.Current(); err == nil {
		h.User = self.Username
	}
	if os.Geteuid() == 0 {
		h.User, h.Elevation = "root", nil
	} else if len(h.Elevation) == 0 {
		h.Elevation = hosts.DefaultElevation(h.User)
	}
	return h
}

// checkSelf refuses what this machine cannot do to itself: hdeploy ends with its
// reboot, and nobody would be there to confirm what it boots.
func (h *hostRun) checkSelf() error {
	if !h.Local && !h.itself || h.run.DryRun || !h.run.bootsOnce() && !h.run.reboots() {
		return nil
	}
	return refused(h.Name, "judge", "hdeploy boot "+h.Name+"\n"+h.ssh("systemctl reboot"),
		"hdeploy runs on this machine, and would end with its reboot: nobody could see it come back")
}

// here is a command that a person types on this machine.
func (h *hostRun) here(command string) string {
	if command == "" {
		return "systemctl status"
	}
	if h.User != "root" {
		return strings.Join(h.Elevation, " ") + " " + command
	}
	return command
}
