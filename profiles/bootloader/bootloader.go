// Package bootloader reads what a host will boot next, from what its boot loader
// will read.
//
// It keeps one promise: an answer is what the loader's own files say. A loader
// that it does not know, or files that it cannot follow to a system, are an
// error that says so; nothing is guessed from the profile.
package bootloader

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
)

// ErrUnknown says that no loader was found whose files can be read.
var ErrUnknown = errors.New("no boot loader that hdeploy can read (systemd-boot, GRUB, extlinux)")

// fileLimit caps a configuration file: a grub.cfg with a hundred generations has
// about 100 KiB.
const fileLimit = 4 << 20

// Default is what boots next.
type Default struct {
	// Loader is "systemd-boot", "grub" or "extlinux".
	Loader string `json:"loader"`
	// System is the store path of the toplevel.
	System string `json:"system"`
	// Entry is the loader's own name for it.
	Entry string `json:"entry,omitempty"`
}

// initArgument finds the toplevel in a kernel command line: NixOS boots
// init=<toplevel>/init.
var initArgument = regexp.MustCompile(`\binit=(/nix/store/[0-9a-z]{32}-[0-9a-zA-Z+\-._?=]+(?:/specialisation/[0-9a-zA-Z+\-._]+)?)/init\b`)

// loaderEntryDefault is the EFI variable that overrides loader.conf.
// https://systemd.io/BOOT_LOADER_INTERFACE/
const loaderEntryDefault = "sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// Read returns what the host whose file system is root boots next.
func Read(root string) (Default, error) {
	for _, esp := range []string{"boot", "efi", "boot/efi"} {
		if d, err := readSystemdBoot(root, filepath.Join(root, esp)); !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
	}
	if d, err := readGrub(filepath.Join(root, "boot/grub/grub.cfg")); !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	if d, err := readExtlinux(filepath.Join(root, "boot/extlinux/extlinux.conf")); !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	return Default{}, ErrUnknown
}

func readCapped(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(data) > fileLimit {
		err = fmt.Errorf("read %s: larger than %d bytes", name, fileLimit)
	}
	return data, err
}

// readSystemdBoot follows loader.conf, or the EFI variable that overrides it, to
// an entry. https://uapi-group.org/specifications/specs/boot_loader_specification/
func readSystemdBoot(root, esp string) (Default, error) {
	conf, err := readCapped(filepath.Join(esp, "loader/loader.conf"))
	if err != nil {
		return Default{}, err
	}
	pattern := confValue(conf, "default")
	if override := efiDefault(filepath.Join(root, loaderEntryDefault)); override != "" {
		pattern = override
	}
	if pattern == "" {
		return Default{}, errors.New("read systemd-boot: loader.conf names no default")
	}
	entries, err := filepath.Glob(filepath.Join(esp, "loader/entries/*.conf"))
	if err != nil {
		return Default{}, fmt.Errorf("read systemd-boot: %v", err)
	}
	slices.SortFunc(entries, func(a, b string) int { return compareVersions(b, a) })
	for _, entry := range entries {
		if !entryMatches(pattern, filepath.Base(entry)) {
			continue
		}
		data, err := readCapped(entry)
		if err != nil {
			return Default{}, fmt.Errorf("read systemd-boot: %v", err)
		}
		return fromCommandLine("systemd-boot", filepath.Base(entry), confValue(data, "options"))
	}
	return Default{}, fmt.Errorf("read systemd-boot: no entry matches the default %q", pattern)
}

// compareVersions compares digit runs as numbers and the rest as text, as far as
// systemd-boot's order of entries that NixOS writes depends on it.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, y := leadingDigits(a), leadingDigits(b)
		if x != "" && y != "" {
			trimmedX, trimmedY := strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Or(cmp.Compare(len(trimmedX), len(trimmedY)), strings.Compare(trimmedX, trimmedY)); c != 0 {
				return c
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

// entryMatches compares as systemd-boot does: a glob against the entry's id, with
// or without its suffix, and without a boot counter.
func entryMatches(pattern, entry string) bool {
	bare := strings.TrimSuffix(entry, ".conf")
	uncounted, _, _ := strings.Cut(bare, "+")
	for _, name := range []string{entry, bare, uncounted, uncounted + ".conf"} {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}

// confValue is the last value of a key in a file of "key value" lines.
func confValue(data []byte, key string) string {
	value := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if k := strings.IndexAny(line, " \t"); k >= 0 && line[:k] == key {
			value = strings.TrimSpace(line[k:])
		}
	}
	return value
}

// efiDefault reads an EFI variable: four bytes of attributes, then UTF-16.
func efiDefault(name string) string {
	data, err := readCapped(name)
	if err != nil || len(data) < 6 {
		return ""
	}
	words := make([]uint16, len(data[4:])/2)
	if binary.Read(bytes.NewReader(data[4:4+2*len(words)]), binary.LittleEndian, words) != nil {
		return ""
	}
	return strings.TrimRight(string(utf16.Decode(words)), "\x00")
}

var (
	grubHeader  = regexp.MustCompile(`^\s*(menuentry|submenu)\s+(?:"([^"]*)"|'([^']*)')`)
	grubDefault = regexp.MustCompile(`^\s*set\s+default=(?:"([^"]*)"|'([^']*)'|(\S*))`)
	grubQuoted  = regexp.MustCompile(`"[^"]*"|'[^']*'|\$\{[^}]*\}`)
)

// grubItem is an entry or a submenu of the top level: GRUB counts both.
type grubItem struct{ title, linux string }

// readGrub follows the grub.cfg that NixOS's install-grub.pl writes: its default
// is the number or the title of a top-level entry.
func readGrub(name string) (Default, error) {
	data, err := readCapped(name)
	if err != nil {
		return Default{}, err
	}
	wanted, items := parseGrub(string(data))
	if strings.Contains(wanted, "$") {
		return Default{}, fmt.Errorf("read GRUB: its default is the variable %s, which only GRUB can read", wanted)
	}
	for i, item := range items {
		if wanted == fmt.Sprint(i) || wanted == item.title {
			return fromCommandLine("grub", item.title, item.linux)
		}
	}
	return Default{}, fmt.Errorf("read GRUB: its default %q is none of the %d entries", wanted, len(items))
}

func parseGrub(text string) (wanted string, items []grubItem) {
	wanted = "0"
	depth := 0
	inEntry := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		// next_entry is a one-time choice; without one the default is the other branch.
		if m := grubDefault.FindStringSubmatch(line); m != nil && !strings.Contains(m[0], "${next_entry}") {
			wanted = m[1] + m[2] + m[3]
		}
		if m := grubHeader.FindStringSubmatch(line); m != nil && depth == 0 {
			items = append(items, grubItem{title: m[2] + m[3]})
			inEntry = m[1] == "menuentry"
		}
		if last := len(items) - 1; depth > 0 && inEntry && items[last].linux == "" && strings.HasPrefix(trimmed, "linux") {
			items[last].linux = trimmed
		}
		bare := grubQuoted.ReplaceAllString(line, "")
		depth += strings.Count(bare, "{") - strings.Count(bare, "}")
	}
	return wanted, items
}

// readExtlinux follows DEFAULT to the LABEL of that name.
func readExtlinux(name string) (Default, error) {
	data, err := readCapped(name)
	if err != nil {
		return Default{}, err
	}
	wanted, label := "", ""
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		switch strings.ToUpper(key) {
		case "DEFAULT":
			wanted = value
		case "LABEL":
			label = value
		case "APPEND":
			if label != "" && label == wanted {
				return fromCommandLine("extlinux", label, value)
			}
		}
	}
	return Default{}, fmt.Errorf("read extlinux: no label for the default %q", wanted)
}

func fromCommandLine(loader, entry, line string) (Default, error) {
	m := initArgument.FindStringSubmatch(line)
	if m == nil {
		return Default{}, fmt.Errorf("read %s: entry %q boots no NixOS system", loader, entry)
	}
	return Default{Loader: loader, System: m[1], Entry: entry}, nil
}
