package nixos

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Volatile says why the state in store does not survive a reboot of this host,
// empty where nothing speaks for that. Where a file system is emptied at boot
// only the loss can be seen, by a root that is older than the boot and that no
// record tells of.
func Volatile(store transaction.Store) string {
	if why := forgets(store.Dir); why != "" {
		return why
	}
	confirmed, err := os.Lstat(filepath.Join(profiles.RootsDir, "confirmed-1"))
	if err != nil {
		return ""
	}
	// This link is made early in each boot.
	booted, err := os.Lstat(bootedSystem)
	if err != nil || !confirmed.ModTime().Before(booted.ModTime()) {
		return ""
	}
	if last, err := store.Load(); err == nil && last == nil && len(store.History()) == 0 {
		return store.Dir + " was lost since the last deployment"
	}
	return ""
}

// forgets says why a file below dir would be gone after a boot, empty where it
// would not or where that cannot be known.
func forgets(dir string) string {
	dir = nearest(dir)
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return ""
	}
	switch {
	case inMemory(fs):
		return dir + " is in memory"
	case fs.Type == unix.OVERLAYFS_SUPER_MAGIC:
		upper, err := upperLayer("/proc/self/mountinfo", dir)
		if err == nil && unix.Statfs(upper, &fs) == nil && inMemory(fs) {
			return dir + " is on an overlay whose upper layer is in memory"
		}
	}
	return ""
}

func inMemory(fs unix.Statfs_t) bool {
	return fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC
}

// nearest is dir or the nearest parent that exists.
func nearest(dir string) string {
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// upperLayer finds the directory that an overlay around dir writes to, in a table
// of mounts as proc(5) describes it. Mounts of the first stage of the boot tell it
// below the place where the root was then.
func upperLayer(table, dir string) (string, error) {
	f, err := os.Open(table)
	if err != nil {
		return "", fmt.Errorf("read mounts: %v", err)
	}
	defer f.Close()
	point, upper := "", ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 3 || !below(dir, fields[4]) || len(fields[4]) < len(point) {
			continue
		}
		point, upper = fields[4], ""
		for option := range strings.SplitSeq(kind[2], ",") {
			if value, ok := strings.CutPrefix(option, "upperdir="); ok && kind[0] == "overlay" {
				upper = value
			}
		}
	}
	for _, stage := range []string{"", "/sysroot", "/mnt-root"} {
		if path, ok := strings.CutPrefix(upper, stage); ok && upper != "" {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("read mounts: %s is on no overlay whose upper layer can be seen", dir)
}

func below(path, point string) bool {
	return path == point || strings.HasPrefix(path, strings.TrimSuffix(point, "/")+"/")
}
