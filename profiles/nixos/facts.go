package nixos

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/bootloader"
	"github.com/hbohlen/hdeploy/profiles/closure"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Look gathers what is true on this host. It changes nothing and starts no
// program; what cannot be read stays empty.
func Look(profile string) protocol.Facts {
	f := protocol.Facts{
		BootID:    Clock{}.BootID(),
		MachineID: firstLine("/etc/machine-id"),
		System:    nixSystem(),
		OS:        osID(),
		UID:       os.Getuid(),
		FreeStore: free("/nix/store"),
		FreeBoot:  free("/boot"),
		FreeState: free(transaction.StateDir),
	}
	f.OwnBoot = device("/boot") != device("/nix/store")
	f.Hostname, _ = os.Hostname()
	_, notNixOS := os.Stat("/etc/NIXOS")
	f.NixOS = notNixOS == nil || f.OS == "nixos"
	f.Running, _ = filepath.EvalSymlinks(currentSystem)
	f.Booted, _ = filepath.EvalSymlinks(bootedSystem)
	f.Kernel = closure.Kernel(f.Booted)
	f.Profile, _ = profiles.Current(profile)
	boots, err := bootloader.Read("/")
	f.Boots = boots
	if err != nil {
		f.BootsError = err.Error()
	}
	f.NextKernel = closure.Kernel(cmp.Or(boots.System, f.Profile.Path))
	_, noDaemon := os.Stat("/nix/var/nix/daemon-socket/socket")
	f.Daemon = noDaemon == nil
	f.Inhibitors = inhibitors(f.Running)
	return f
}

// NeedsReboot says whether a system has another kernel than the one that was
// booted, whose parts are those of [protocol.Facts].
func NeedsReboot(booted map[string]string, system string) bool {
	return closure.NeedsReboot(booted, closure.Kernel(system))
}

// nixSystem is Nix's name of this architecture.
func nixSystem() string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return arch + "-" + runtime.GOOS
}

func inhibitors(toplevel string) json.RawMessage {
	data, err := os.ReadFile(filepath.Join(toplevel, "switch-inhibitors"))
	if err != nil || len(data) > 64<<10 || !json.Valid(data) {
		return nil
	}
	return data
}

func osID() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "ID="); ok {
			return strings.Trim(id, `"'`)
		}
	}
	return "unknown"
}

func firstLine(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}

// device is the file system that path is on.
func device(path string) uint64 {
	var info unix.Stat_t
	if unix.Stat(path, &info) != nil {
		return 0
	}
	return info.Dev
}

// free is the space, in bytes, that can still be filled at path or its nearest
// parent that exists. What the file system keeps back counts as used: part of it
// not even root can fill.
func free(path string) uint64 {
	var fs unix.Statfs_t
	for unix.Statfs(path, &fs) != nil {
		if path == "/" {
			return 0
		}
		path = filepath.Dir(path)
	}
	return fs.Bavail * uint64(fs.Bsize)
}
