package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mostUnitFile caps what is read of a unit's file.
const mostUnitFile = 1 << 20

// restartedAnyway says why the activation of a system restarts a unit although it is to
// be restarted last; empty where it does not, or the system is not in the store here.
// toplevel is the system's store path.
func restartedAnyway(toplevel, unit string) string {
	dir := filepath.Join(toplevel, "etc/systemd/system")
	own, err := os.Stat(filepath.Join(dir, unit))
	if err != nil || own.Size() > mostUnitFile {
		return ""
	}
	files, _ := filepath.Glob(filepath.Join(dir, unit+".d", "*.conf")) // the pattern is no bad one
	leftAlone := false
	for _, file := range slices.Concat([]string{filepath.Join(dir, unit)}, files) {
		text, err := os.ReadFile(file)
		if err != nil {
			return ""
		}
		for line := range strings.Lines(string(text)) {
			// switch-to-configuration reads it so; the last one holds.
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "X-RestartIfChanged="); ok {
				leftAlone = !slices.Contains([]string{"1", "yes", "true", "on"}, value)
			}
		}
	}
	if leftAlone {
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
