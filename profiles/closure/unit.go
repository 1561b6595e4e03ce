package closure

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mostUnitBytes caps what is read of one file of a unit.
const mostUnitBytes = 1 << 20

// UnitText is what a system declares of a unit: its file and its drop-ins, in the order in
// which systemd reads them, each below a comment with its name; empty where there is none.
func UnitText(system, unit string) string {
	file := filepath.Join(system, "etc/systemd/system", unit)
	dropIns, _ := filepath.Glob(file + ".d/*.conf") // sorted
	var text strings.Builder
	for _, part := range append([]string{file}, dropIns...) {
		f, err := os.Open(part)
		if err != nil {
			continue
		}
		fmt.Fprintf(&text, "# %s\n", filepath.Base(part))
		_, _ = io.Copy(&text, io.LimitReader(f, mostUnitBytes))
		f.Close()
	}
	return text.String()
}

// LeavesAlone says that switch-to-configuration does not restart a unit with this text
// although it changed: option restartIfChanged of NixOS, of which the last line holds.
// nixpkgs, pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs
func LeavesAlone(text string) bool {
	alone := false
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "X-RestartIfChanged="); ok {
			alone = !slices.Contains([]string{"1", "yes", "true", "on"}, value)
		}
	}
	return alone
}
