package deploy

import (
	"os"
	"path/filepath"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/program"
)

// unwrapHere makes the system behind deploy-rs's wrapper the closure, wherever in the
// flake the wrapper stands: the system profile must never point at a wrapper.
func (h *hostRun) unwrapHere() error {
	if h.of != nil || h.profile.Kind != hosts.KindDeployRs {
		return nil
	}
	if _, err := os.Stat(filepath.Join(h.system.OutPath, "deploy-rs-activate")); err != nil {
		return nil // it is no wrapper any more
	}
	kind, behind, err := program.Behind(h.system.OutPath)
	if err == nil && kind == program.NixOS {
		h.system.OutPath, h.sizes = behind, nil
		return nil
	}
	next := "correct profile " + h.profile.Name + " of " + h.Name
	if err != nil {
		return refused(h.Name, "judge", next, "%v", err)
	}
	return refused(h.Name, "judge", next, "%s is no NixOS system: the profile would take the place of the host's", h.system.OutPath)
}
