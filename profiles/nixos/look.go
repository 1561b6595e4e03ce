package nixos

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Journal returns the last lines that units said, without the units that said
// nothing.
func Journal(ctx context.Context, units []string) []transaction.UnitLog {
	running, err := filepath.EvalSymlinks(currentSystem)
	if err != nil {
		return nil
	}
	var logs []transaction.UnitLog
	for _, unit := range units {
		if lines := probe.UnitLines(ctx, systemd.Of(running), unit); len(lines) > 0 {
			logs = append(logs, transaction.UnitLog{Unit: unit, Lines: lines})
		}
	}
	return logs
}

// FailedUnits names the units of this host that are failed now.
func FailedUnits(ctx context.Context) ([]string, error) {
	running, err := filepath.EvalSymlinks(currentSystem)
	if err != nil {
		return nil, err
	}
	units, err := systemd.Of(running).List(ctx)
	if err != nil {
		return nil, err
	}
	var failed []string
	for id, u := range units {
		if u.Active == "failed" {
			failed = append(failed, id)
		}
	}
	return failed, nil
}

// versionLimit caps a file that holds a version.
const versionLimit = 200

// Describe returns the NixOS version of a toplevel and the version of its kernel,
// each empty where the toplevel does not tell it.
func Describe(toplevel string) (version, kernel string) {
	if f, err := os.Open(filepath.Join(toplevel, "nixos-version")); err == nil {
		data, _ := io.ReadAll(io.LimitReader(f, versionLimit))
		f.Close()
		version, _, _ = strings.Cut(string(data), "\n")
	}
	return strings.TrimSpace(version), kernelVersion(toplevel)
}

// kernelVersion is that of the modules, since the kernel's store path may have a
// name of its own; a kernel without modules has only that.
func kernelVersion(toplevel string) string {
	if entries, err := os.ReadDir(filepath.Join(toplevel, "kernel-modules/lib/modules")); err == nil && len(entries) == 1 {
		return entries[0].Name()
	}
	image, err := os.Readlink(filepath.Join(toplevel, "kernel"))
	if err != nil {
		return ""
	}
	// /nix/store/HASH-linux-6.12.30/bzImage
	_, name, _ := strings.Cut(filepath.Base(filepath.Dir(image)), "-")
	if at := strings.LastIndexByte(name, '-'); at >= 0 && at+1 < len(name) && name[at+1] >= '0' && name[at+1] <= '9' {
		return name[at+1:]
	}
	return ""
}
