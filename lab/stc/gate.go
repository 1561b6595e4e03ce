package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// gateDirectory is where a test holds a system's switch at one of its steps: a file named after the step, whose content is the
// toplevel, holds it until the file is gone. Beside it STEP.reached says that the switch stands there. The activation script has a
// gate of the same kind.
const gateDirectory = "/run/lab/gates"

// gateInterval is short beside everything that a step takes.
const gateInterval = 10 * time.Millisecond

// pass returns at once where no gate holds the step.
func (s *switcher) pass(step string) {
	gate := filepath.Join(gateDirectory, step)
	for {
		held, err := os.ReadFile(gate)
		if err != nil || strings.TrimSpace(string(held)) != s.system.toplevel {
			return
		}
		// One that cannot be written only keeps the test from seeing it.
		_ = os.WriteFile(gate+".reached", nil, 0o600)
		time.Sleep(gateInterval)
	}
}
