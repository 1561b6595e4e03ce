package deploy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// restartLimit is how long a host may take that restarts as its last resort.
const restartLimit = 10 * time.Minute

// patience is how long the host is asked what became of a transaction, beyond its
// own deadlines.
func (h *hostRun) patience() time.Duration {
	if h.LastResort != string(transaction.Restart) {
		return patience
	}
	return patience + h.status.ConfirmIn + h.Timeouts.Confirm + restartLimit
}

// rollbackFailed is the failure of a host that was not seen to run what it had:
// what is known of it, and what a person can type.
func (h *hostRun) rollbackFailed(ctx context.Context, cause string, seen *protocol.Facts) *Failure {
	now := h.lastSeen(seen)
	f := &Failure{Host: h.Name, Step: "rollback", Word: RollbackFailed, Code: CodeLookNow,
		Cause: fmt.Errorf("%s\nruns:    %s\nprofile: %s\nboots:   %s\nlog:     /run/hdeploy/%s/activation.log on the host, until it restarts",
			cause, orUnknown(now.Running), orUnknown(generation(now.Profile)), orUnknown(now.Boots.System), h.id),
		Next: strings.Join(h.wayBack(now), "\n")}
	f.Log = h.logOf(ctx)
	return f
}

// lastSeen is the newest that is known of the host: as it was seen over a new
// connection, or what it said itself.
func (h *hostRun) lastSeen(seen *protocol.Facts) protocol.Facts {
	if seen != nil && seen.Running != "" {
		return *seen
	}
	var now protocol.Facts
	if h.status != nil {
		now.Running, now.Profile, now.Boots.System = h.status.Running, h.status.Profile, h.status.Boots
	}
	return now
}

func generation(g profiles.Generation) string {
	if g.Path == "" {
		return ""
	}
	return fmt.Sprintf("generation %d, %s", g.Number, g.Path)
}

func orUnknown(text string) string {
	if text == "" {
		return "not known"
	}
	return text
}

// wayBack are the commands by which a person looks at the host and brings it back:
// the profile and what boots only where they have moved.
func (h *hostRun) wayBack(now protocol.Facts) []string {
	was := h.facts
	commands := []string{h.ssh("journalctl -b -u 'hdeploy-"+h.id+"-*'") + "  # look"}
	if now.Profile.Path != was.Profile.Path || was.Boots.System != "" && now.Boots.System != was.Boots.System {
		commands = append(commands,
			h.ssh("nix-env -p "+profiles.System+" --set "+was.Profile.Path)+"  # put the profile back",
			h.ssh(was.Profile.Path+"/bin/switch-to-configuration boot")+"  # and what boots")
	}
	return append(commands,
		h.ssh("env NIXOS_NO_CHECK=1 "+was.Running+"/bin/switch-to-configuration test")+"  # switch back by hand",
		h.ssh("systemctl reboot")+"  # or restart into what boots")
}
