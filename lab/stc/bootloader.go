package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// generation is one link of the system profile.
type generation struct {
	number   int
	toplevel string
	date     string // of the link, YYYY-MM-DD
}

// generations returns those of a profile directory, oldest first, at most limit of the newest.
func generations(directory string, limit int) ([]generation, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("list generations: %v", err)
	}
	var list []generation
	for _, entry := range entries {
		text, isLink := strings.CutSuffix(entry.Name(), "-link")
		text, isSystem := strings.CutPrefix(text, "system-")
		number, err := strconv.Atoi(text)
		if !isLink || !isSystem || err != nil {
			continue
		}
		link := filepath.Join(directory, entry.Name())
		toplevel, err := os.Readlink(link)
		if err != nil {
			return nil, fmt.Errorf("read generation: %v", err)
		}
		info, err := entry.Info()
		if err != nil {
			return nil, fmt.Errorf("read generation: %v", err)
		}
		list = append(list, generation{number: number, toplevel: toplevel, date: info.ModTime().Format("2006-01-02")})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].number < list[j].number })
	return list[max(0, len(list)-limit):], nil
}

// bootWriter writes the files of a boot loader below its directory.
type bootWriter struct {
	directory string
	full      bool // plays a file system without space
	// beforeDefault is called when everything is written but the file that names the default.
	beforeDefault func()
}

func (b bootWriter) aboutToSetDefault() {
	if b.beforeDefault != nil {
		b.beforeDefault()
	}
}

func (b bootWriter) path(name string) string { return filepath.Join(b.directory, name) }

// write replaces a file so that a power cut leaves the old or the new one.
func (b bootWriter) write(name string, content io.Reader) error {
	if b.full {
		return &os.PathError{Op: "write", Path: b.path(name), Err: unix.ENOSPC}
	}
	target := b.path(name)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	temporary, err := os.OpenFile(target+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(temporary, content)
	if err == nil {
		err = temporary.Sync()
	}
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return err
	}
	if err := os.Rename(temporary.Name(), target); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(target))
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}

// copyFromStore copies a kernel or initrd under a name that tells its store path, unless it is there already.
func (b bootWriter) copyFromStore(link, directory, suffix string) (name string, err error) {
	source, err := filepath.EvalSymlinks(link)
	if err != nil {
		return "", err
	}
	storePath, file := filepath.Split(source)
	name = filepath.Join(directory, filepath.Base(storePath)+"-"+file+suffix)
	if exists(b.path(name)) {
		return name, nil
	}
	content, err := os.Open(source)
	if err != nil {
		return "", err
	}
	defer content.Close()
	return name, b.write(name, content)
}

// keepOnly removes the files of a directory that are not in use and pass the filter.
func (b bootWriter) keepOnly(directory string, used names, removable func(name string) bool) error {
	entries, err := os.ReadDir(b.path(directory))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if used[entry.Name()] || !removable(entry.Name()) {
			continue
		}
		if err := os.Remove(b.path(filepath.Join(directory, entry.Name()))); err != nil {
			return err
		}
	}
	return nil
}

// bootable is one thing a boot entry starts: a system or one of its specialisations.
type bootable struct {
	name     string // of the specialisation; empty for the system itself
	toplevel string
}

func bootables(toplevel string) []bootable {
	list := []bootable{{toplevel: toplevel}}
	entries, err := os.ReadDir(filepath.Join(toplevel, "specialisation"))
	if err != nil {
		return list
	}
	for _, entry := range entries {
		path, err := filepath.EvalSymlinks(filepath.Join(toplevel, "specialisation", entry.Name()))
		if err == nil {
			list = append(list, bootable{name: entry.Name(), toplevel: path})
		}
	}
	return list
}

func kernelOptions(toplevel string) string {
	params, err := os.ReadFile(filepath.Join(toplevel, "kernel-params"))
	if err != nil {
		params = nil
	}
	return strings.TrimSpace("init=" + toplevel + "/init " + string(params))
}

func (s *switcher) installBootLoader() error {
	list, err := generations(profiles, s.system.limit)
	if err != nil {
		return err
	}
	writer := bootWriter{
		directory: bootDirectory, full: s.system.bootFull,
		beforeDefault: func() { s.pass("boot-default") },
	}
	s.pass("boot-begin")
	defer s.pass("boot-end")
	switch s.system.loader {
	case "systemd-boot":
		return writer.systemdBoot(list, s.system.toplevel)
	case "grub":
		say(s.stderr, "updating GRUB 2 menu...")
		return writer.grub(list, s.system.toplevel)
	}
	return fmt.Errorf("unknown boot loader %q", s.system.loader)
}
