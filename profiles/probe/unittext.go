package probe

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// longestUnitText caps what is read of a unit file.
const longestUnitText = 256 << 10

// readUnitText is the unit's own file as it is on the disk now, and empty where
// there is none to read. NixOS leaves its path the same and changes what it
// leads to.
func readUnitText(u systemd.Unit) string {
	if u.Fragment == "" {
		return ""
	}
	file, err := os.OpenFile(u.Fragment, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, longestUnitText))
	if err != nil {
		return ""
	}
	return string(text)
}

// withoutRestart are the keys of [Unit] for which switch-to-configuration starts no
// unit again. nixpkgs, pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs
func withoutRestart() []string {
	return []string{
		"X-Reload-Triggers", "Description", "Documentation", "OnFailure", "OnSuccess", "OnFailureJobMode", "IgnoreOnIsolate", "StopWhenUnneeded",
		"RefuseManualStart", "RefuseManualStop", "AllowIsolate", "CollectMode", "SourcePath",
	}
}

// digest stands for what of a unit file makes switch-to-configuration start the unit
// again where it changes; that of no text is empty.
func digest(text string) string {
	if text == "" {
		return ""
	}
	sum, section := sha256.New(), ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, _, _ := strings.Cut(line, "=")
		switch {
		case line == "", line[0] == '#', line[0] == ';', section == "[Install]":
		case section == "[Unit]" && slices.Contains(withoutRestart(), strings.TrimSpace(key)):
		default:
			fmt.Fprintln(sum, line)
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))[:32]
}

// unitTexts are the digests of the files of all services that have one.
func unitTexts(units map[string]systemd.Unit) map[string]string {
	texts := map[string]string{}
	for id, u := range units {
		if !strings.HasSuffix(id, ".service") {
			continue
		}
		if sum := digest(readUnitText(u)); sum != "" {
			texts[id] = sum
		}
	}
	return texts
}

// textChanged says whether the unit's file is another one than before the
// trial. It is false where that cannot be known.
func (b *Baseline) textChanged(u systemd.Unit) bool {
	if b == nil {
		return false
	}
	before, now := b.Texts[u.ID], digest(readUnitText(u))
	return before != "" && now != "" && before != now
}
