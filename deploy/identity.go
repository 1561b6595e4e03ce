package deploy

import (
	"strings"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// checkMachine refuses a machine that is not the one whose machine-id deploy.toml, or hdeploy trust, has.
// A new name is not enough to make another machine the one that is meant, so that
// --force-identity does not help here.
func (h *hostRun) checkMachine(f protocol.Facts) error {
	switch {
	case h.MachineID == "" || h.MachineID == f.MachineID:
		return nil
	case f.MachineID == "":
		return refused(h.Name, "identity", h.ssh("cat /etc/machine-id"), "the host's machine-id cannot be read, and %s says that it is %s", h.knewMachine(), h.MachineID)
	}
	anew := "hdeploy trust " + h.Name
	if h.machineRecorded() {
		anew += " --replace"
	}
	return refused(h.Name, "identity",
		"correct the address of "+h.Name+" in deploy.toml\n"+anew+"  # if the host was installed anew",
		"this is another machine: its machine-id is %s, %s says %s", capped(f.MachineID), h.knewMachine(), h.MachineID)
}

// knewMachine is who says which machine the host is.
func (h *hostRun) knewMachine() string {
	if h.machineRecorded() {
		return "hdeploy trust"
	}
	return "deploy.toml"
}

// machineRecorded says that the machine-id is the one that Trust has recorded, which
// it may replace.
func (h *hostRun) machineRecorded() bool {
	from := h.Origins["machine_id"]
	return len(from) == 0 || from[0].Level == hosts.LevelRecorded
}

// checkName refuses a host that is called otherwise than its new system: the address
// of one host with the configuration of another would make two of the same.
func (h *hostRun) checkName() error {
	wanted, found := h.system.HostName, capped(h.facts.Hostname)
	if wanted == "" || found == "" || sameName(wanted, found) {
		return nil // a configuration without a name leaves it to others
	}
	if h.run.ForceIdentity {
		h.note("warning", "the host calls itself %s; with --force-identity it becomes %s", found, wanted)
		return nil
	}
	return refused(h.Name, "identity",
		"correct the address of "+h.Name+" in deploy.toml, or networking.hostName\n"+h.again()+" --force-identity  # if the host is to be renamed",
		"the host calls itself %s, the new system %s: is this the right machine?", found, wanted)
}

// sameName compares host names up to their domains, which networking.hostName has not.
func sameName(a, b string) bool {
	a, _, _ = strings.Cut(a, ".")
	b, _, _ = strings.Cut(b, ".")
	return strings.EqualFold(a, b)
}
