package bootloader

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Once is an entry that a loader can be told to boot one time.
type Once struct {
	// Loader is "systemd-boot" or "grub"; no other one has such a choice.
	Loader string
	// Entry is the loader's own name for the entry: for GRUB the titles on the way
	// to it, joined by ">".
	Entry string
}

// FindOnce returns the entry that boots system, the newest where there are
// several, on the host whose file system is root.
func FindOnce(root, system string) (Once, error) {
	now, err := Read(root)
	if err != nil {
		return Once{}, err
	}
	if err := CanBootOnce(root, now.Loader); err != nil {
		return Once{}, err
	}
	if now.Loader == "grub" {
		return onceOfGrub(filepath.Join(root, "boot/grub/grub.cfg"), system)
	}
	for _, esp := range []string{"boot", "efi", "boot/efi"} {
		entries, err := filepath.Glob(filepath.Join(root, esp, "loader/entries/*.conf"))
		if err != nil {
			return Once{}, fmt.Errorf("read systemd-boot: %v", err)
		}
		slices.SortFunc(entries, func(a, b string) int { return compareVersions(b, a) })
		for _, entry := range entries {
			data, err := readCapped(entry)
			if err != nil {
				return Once{}, fmt.Errorf("read systemd-boot: %v", err)
			}
			d, err := fromCommandLine(now.Loader, filepath.Base(entry), confValue(data, "options"))
			if err == nil && d.System == system {
				return Once{Loader: now.Loader, Entry: uncounted(d.Entry)}, nil
			}
		}
	}
	return Once{}, fmt.Errorf("read systemd-boot: no entry boots %s", system)
}

// uncounted is an entry's id without its boot counter, "+3" or "+2-1", which the
// loader changes by itself.
func uncounted(entry string) string {
	bare, _, counted := strings.Cut(strings.TrimSuffix(entry, ".conf"), "+")
	if !counted {
		return entry
	}
	return bare + ".conf"
}

// unwritable are file systems on which GRUB cannot write: its one-time entry would
// stay for ever. Magic numbers as in statfs(2).
var unwritable = map[int64]string{0x9123683e: "btrfs", 0x2fc12fc1: "zfs", 0xca451a4e: "bcachefs"}

// CanBootOnce says why a loader cannot be told to boot an entry one time, nil if
// it can. https://www.gnu.org/software/grub/manual/grub/html_node/Environment-block.html
func CanBootOnce(root, loader string) error {
	switch loader {
	case "systemd-boot":
		if firmware := filepath.Join(root, "sys/firmware/efi"); exists(firmware) && unix.Access(filepath.Join(firmware, "efivars"), unix.W_OK) != nil {
			return fmt.Errorf("the EFI variables cannot be written")
		}
		return nil
	case "grub":
		return grubWrites(root, filepath.Join(root, "boot/grub"))
	}
	return fmt.Errorf("the boot loader %q has no entry for one boot", loader)
}

func grubWrites(root, dir string) error {
	config, err := readCapped(filepath.Join(dir, "grub.cfg"))
	if err != nil {
		return fmt.Errorf("read GRUB: %v", err)
	}
	if !strings.Contains(string(config), "${next_entry}") {
		return fmt.Errorf("this grub.cfg does not ask for an entry for one boot")
	}
	var fs unix.Statfs_t
	var at unix.Stat_t
	if unix.Statfs(dir, &fs) != nil || unix.Stat(dir, &at) != nil {
		return fmt.Errorf("the file system of %s cannot be read", dir)
	}
	if name := unwritable[fs.Type]; name != "" {
		return fmt.Errorf("/boot/grub is on %s, where GRUB cannot take back an entry for one boot", name)
	}
	device := fmt.Sprintf("%d:%d", unix.Major(at.Dev), unix.Minor(at.Dev))
	for _, layer := range []string{"dm", "md"} {
		if exists(filepath.Join(root, "sys/dev/block", device, layer)) {
			return fmt.Errorf("/boot/grub is on a mapped or RAID device, where GRUB cannot take back an entry for one boot")
		}
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// onceOfGrub prefers the menu of all generations: the entry of the top level is
// whatever was installed last.
func onceOfGrub(name, system string) (Once, error) {
	data, err := readCapped(name)
	if err != nil {
		return Once{}, err
	}
	found := ""
	for _, item := range grubPaths(string(data)) {
		d, err := fromCommandLine("grub", item.title, item.linux)
		if err == nil && d.System == system && (found == "" || strings.Contains(item.title, ">") && !strings.Contains(found, ">")) {
			found = item.title
		}
	}
	if found == "" {
		return Once{}, fmt.Errorf("read GRUB: no entry boots %s", system)
	}
	return Once{Loader: "grub", Entry: found}, nil
}

// grubPaths lists all entries, each under the titles on the way to it. GRUB reads
// ">>" in a title as ">".
func grubPaths(text string) []grubItem {
	type level struct {
		title string
		depth int
	}
	var items []grubItem
	var path []level
	depth := 0
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if m := grubHeader.FindStringSubmatch(line); m != nil {
			path = append(path, level{strings.ReplaceAll(m[2]+m[3], ">", ">>"), depth})
			if m[1] == "menuentry" {
				var titles []string
				for _, l := range path {
					titles = append(titles, l.title)
				}
				items = append(items, grubItem{title: strings.Join(titles, ">")})
			}
		}
		if last := len(items) - 1; last >= 0 && len(path) > 0 && items[last].linux == "" && strings.HasPrefix(trimmed, "linux") {
			items[last].linux = trimmed
		}
		bare := grubQuoted.ReplaceAllString(line, "")
		depth += strings.Count(bare, "{") - strings.Count(bare, "}")
		for len(path) > 0 && depth <= path[len(path)-1].depth {
			path = path[:len(path)-1]
		}
	}
	return items
}
