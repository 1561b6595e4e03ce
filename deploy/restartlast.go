package deploy

import "github.com/hbohlen/hdeploy/profiles/closure"

// restartedAnyway says why the activation of a system restarts a unit although it is to
// be restarted last; empty where it does not, or the system is not in the store here.
// toplevel is the system's store path.
func restartedAnyway(toplevel, unit string) string {
	text := closure.UnitText(toplevel, unit)
	if text == "" || closure.LeavesAlone(text) {
		return ""
	}
	return "restart_agent = \"last\", but the activation restarts " + unit + " all the same where it changed: its unit lacks X-RestartIfChanged=false"
}

const restartRemedy = "set systemd.services.hercules-ci-agent.restartIfChanged = false, or services.ci.herculesCI.restartLast = true, in the configuration"

// noteRestart warns of a new system whose activation would not leave the agent alone.
func (h *hostRun) noteRestart() {
	if !h.decidesAlone() {
		return
	}
	for _, unit := range h.restartLast() {
		if why := restartedAnyway(h.system.OutPath, unit); why != "" {
			h.note("warning", "%s; %s", why, restartRemedy)
		}
	}
}
