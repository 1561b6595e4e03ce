package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// entry is one line of a boot menu.
type entry struct {
	id    string // file name of a systemd-boot entry, path of titles in GRUB's menu
	title string
	init  string
}

// choose returns what boots. A one-time entry is used up by it. Where both loaders are there, systemd-boot is the firmware's choice.
func choose(boot string) (entry, error) {
	once, err := takeOneshot(filepath.Join(boot, "loader/oneshot"))
	if err != nil {
		return entry{}, err
	}
	if _, err := os.Stat(filepath.Join(boot, "loader/loader.conf")); err == nil {
		return chooseSystemdBoot(boot, once)
	}
	config, err := os.ReadFile(filepath.Join(boot, "grub/grub.cfg"))
	if err != nil {
		return entry{}, fmt.Errorf("no boot loader in %s: neither loader/loader.conf nor grub/grub.cfg", boot)
	}
	return chooseGRUB(string(config), once)
}

func takeOneshot(path string) (string, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read one-time entry: %v", err)
	}
	// Gone before it is used: an entry that does not come up must not be tried for ever.
	if err := os.Remove(path); err != nil {
		return "", fmt.Errorf("remove one-time entry: %v", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// chooseSystemdBoot: the one-time entry, else loader.conf's default, a pattern; where nothing matches, the newest entry.
func chooseSystemdBoot(boot, once string) (entry, error) {
	entries, err := systemdBootEntries(filepath.Join(boot, "loader/entries"))
	if err != nil {
		return entry{}, err
	}
	if len(entries) == 0 {
		return entry{}, errors.New("no boot entries in loader/entries")
	}
	data, err := os.ReadFile(filepath.Join(boot, "loader/loader.conf"))
	if err != nil {
		return entry{}, fmt.Errorf("read loader.conf: %v", err)
	}
	for _, pattern := range []string{once, field(string(data), "default")} {
		if pattern == "" {
			continue
		}
		for _, candidate := range entries {
			matched, err := path.Match(pattern, candidate.id)
			if err == nil && (matched || pattern+".conf" == candidate.id) {
				return candidate, nil
			}
		}
		fmt.Fprintf(os.Stderr, "lab-init: no entry %q\n", pattern)
	}
	return entries[0], nil
}

// systemdBootEntries returns the entries that can be booted, newest generation first.
func systemdBootEntries(directory string) ([]entry, error) {
	files, err := filepath.Glob(filepath.Join(directory, "*.conf"))
	if err != nil {
		return nil, fmt.Errorf("list boot entries: %v", err)
	}
	var entries []entry
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read boot entry: %v", err)
		}
		text := string(data)
		if init := initOption(field(text, "options")); init != "" {
			entries = append(entries, entry{id: filepath.Base(file), title: field(text, "title"), init: init})
		}
	}
	sort.Slice(entries, func(i, j int) bool {
		a, b := number(entries[i].id), number(entries[j].id)
		if a != b {
			return a > b
		}
		return entries[i].id > entries[j].id
	})
	return entries, nil
}

var digits = regexp.MustCompile(`\d+`)

func number(id string) int {
	n, err := strconv.Atoi(digits.FindString(id))
	if err != nil {
		return 0
	}
	return n
}

// field returns the rest of the first line that begins with the key.
func field(text, key string) string {
	for _, line := range strings.Split(text, "\n") {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == key {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// initOption finds init= among kernel options.
func initOption(options string) string {
	for _, word := range strings.Fields(options) {
		if init, found := strings.CutPrefix(word, "init="); found {
			return init
		}
	}
	return ""
}

var (
	menuLine     = regexp.MustCompile(`^\s*(menuentry|submenu) "([^"]*)"`)
	defaultLine  = regexp.MustCompile(`(?m)^\s*set default="?(\d+)"?$`)
	closingBrace = regexp.MustCompile(`^\s*\}\s*$`)
)

// chooseGRUB: the one-time entry, else the default of grub.cfg. GRUB names an entry by its place in the menu or by its titles,
// joined by ">".
func chooseGRUB(config, once string) (entry, error) {
	top, all := grubEntries(config)
	if once != "" {
		for _, candidate := range all {
			if candidate.id == once || candidate.title == once {
				return candidate, nil
			}
		}
		if index, err := strconv.Atoi(once); err == nil && index < len(top) && index >= 0 {
			return top[index], nil
		}
		fmt.Fprintf(os.Stderr, "lab-init: no entry %q\n", once)
	}
	index := 0
	if match := defaultLine.FindStringSubmatch(config); match != nil {
		index = number(match[1])
	}
	if index >= len(top) || top[index].init == "" {
		return entry{}, fmt.Errorf("grub.cfg has no entry %d", index)
	}
	return top[index], nil
}

// grubEntries returns the menu as it is shown first, where a submenu is a place without init, and every entry with its path.
func grubEntries(config string) (top, all []entry) {
	var path []string
	for _, line := range strings.Split(config, "\n") {
		if match := menuLine.FindStringSubmatch(line); match != nil {
			path = append(path, match[2])
			current := entry{id: strings.Join(path, ">"), title: match[2]}
			if len(path) == 1 {
				top = append(top, current)
			}
			if match[1] == "menuentry" {
				all = append(all, current)
			}
			continue
		}
		if closingBrace.MatchString(line) && len(path) > 0 {
			path = path[:len(path)-1]
			continue
		}
		if init := initOption(line); init != "" && len(all) > 0 {
			all[len(all)-1].init = init
			if len(path) == 1 {
				top[len(top)-1].init = init
			}
		}
	}
	return top, all
}
