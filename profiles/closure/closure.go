// Package closure reads what must be known of a NixOS system before it is tried.
//
// It starts no program of the system and reads on the deployer what it reads on the
// host that built it, so that no check depends on where a closure was built.
package closure

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// inhibitorsLimit caps the file of switch inhibitors.
const inhibitorsLimit = 64 << 10

// Read describes a system that is in the store here.
func Read(path string) protocol.Toplevel {
	t := protocol.Toplevel{Kernel: Kernel(path), Bytes: map[string]int64{}}
	_, err := os.Stat(filepath.Join(path, "bin/switch-to-configuration"))
	t.Switches = err == nil
	t.Inhibitors, err = readInhibitors(filepath.Join(path, "switch-inhibitors"))
	if err != nil {
		t.InhibitorsError = err.Error()
	}
	for _, part := range []string{"kernel", "initrd"} {
		if info, err := os.Stat(t.Kernel[part]); err == nil {
			t.Bytes[part] = info.Size()
		}
	}
	return t
}

func readInhibitors(file string) (json.RawMessage, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read switch inhibitors: %v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, inhibitorsLimit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read switch inhibitors: %v", err)
	case len(data) > inhibitorsLimit:
		return nil, fmt.Errorf("read switch inhibitors: there are more than %d KiB", inhibitorsLimit>>10)
	case !json.Valid(data):
		return nil, errors.New("read switch inhibitors: they are no JSON")
	}
	return data, nil
}

// mostWordBytes is far above the name of a host or a platform.
const mostWordBytes = 4 << 10

// Identity is what a system says of the machine that it is for: its platform, as
// "x86_64-linux", and its host name. What it does not say is empty.
func Identity(path string) (system, hostName string, err error) {
	if system, err = readWord(filepath.Join(path, "system")); err != nil {
		return "", "", err
	}
	hostName, err = readWord(filepath.Join(path, "etc/hostname"))
	return system, hostName, err
}

// readWord reads a file of one word; empty where there is no such file.
func readWord(file string) (string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read what the system is for: %v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostWordBytes))
	if err != nil {
		return "", fmt.Errorf("read what the system is for: %v", err)
	}
	words := strings.FieldsFunc(string(data), func(r rune) bool { return !unicode.IsGraphic(r) || r == ' ' })
	if len(words) != 1 {
		return "", nil
	}
	return words[0], nil
}

// Kernel returns the store paths of a system's kernel, initrd and kernel-modules,
// without those that it does not have.
func Kernel(path string) map[string]string {
	parts := map[string]string{}
	for _, part := range []string{"kernel", "initrd", "kernel-modules"} {
		if path, err := filepath.EvalSymlinks(filepath.Join(path, part)); err == nil {
			parts[part] = path
		}
	}
	return parts
}

// NeedsReboot says whether a system's kernel, as [Kernel] returns it, is another one
// than the booted one. A part that only one of them has says nothing.
func NeedsReboot(booted, kernel map[string]string) bool {
	for part, is := range kernel {
		if was := booted[part]; was != "" && was != is {
			return true
		}
	}
	return false
}
