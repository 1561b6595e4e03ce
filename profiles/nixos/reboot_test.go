package nixos

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRebootIsAskedOfPID1WhereLogindDoesNotAnswer(t *testing.T) {
	const script = `echo "$1 $2" >> asked
if test "$1" = reboot; then exit "$(cat logind)"; fi
exit "$(cat pid1)"`
	for name, c := range map[string]struct{ logind, pid1, asked string }{
		"all is well":           {"0", "0", "reboot --no-block"},
		"no logind":             {"1", "0", "reboot --no-block; start --no-block"},
		"no PID 1 that answers": {"1", "1", "reboot --no-block; start --no-block"},
	} {
		t.Run(name, func(t *testing.T) {
			m, dir := scripted(t, script, map[string]string{"logind": c.logind, "pid1": c.pid1})
			if err := askReboot(context.Background(), m); (err != nil) != (c.pid1 == "1") {
				t.Errorf("it says %v", err)
			}
			asked, err := os.ReadFile(filepath.Join(dir, "asked"))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(strings.TrimSpace(string(asked)), "\n", "; "); got != c.asked {
				t.Errorf("asked %s, want %s", got, c.asked)
			}
		})
	}
}
