package closure

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	top := t.TempDir()
	for _, part := range []string{"kernel", "initrd", "firmware"} {
		if err := errors.Join(os.WriteFile(filepath.Join(top, part+"-file"), []byte(part), 0o600), os.Symlink(part+"-file", filepath.Join(top, part))); err != nil {
			t.Fatal(err)
		}
	}
	got := Read(top)
	if len(got.Kernel) != 2 || filepath.Base(got.Kernel["kernel"]) != "kernel-file" || filepath.Base(got.Kernel["initrd"]) != "initrd-file" {
		t.Errorf("kernel: %v", got.Kernel)
	}
	if len(got.Bytes) != 2 || got.Bytes["kernel"] != 6 || got.Bytes["initrd"] != 6 {
		t.Errorf("bytes: %v", got.Bytes)
	}
	if got.Switches || got.Inhibitors != nil || got.InhibitorsError != "" {
		t.Errorf("what is not there was read: %+v", got)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(top, "bin"), 0o700), os.WriteFile(filepath.Join(top, "bin/switch-to-configuration"), nil, 0o700)); err != nil {
		t.Fatal(err)
	}
	if !Read(top).Switches {
		t.Error("a NixOS system counts as none")
	}
}

func TestReadInhibitors(t *testing.T) {
	top := t.TempDir()
	file := filepath.Join(top, "switch-inhibitors")
	for text, says := range map[string]string{`{"a":"1"}`: "", `[]`: "", "{": "no JSON", "": "no JSON", `"` + strings.Repeat("x", inhibitorsLimit) + `"`: "64 KiB"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := Read(top)
		if says == "" && (got.InhibitorsError != "" || string(got.Inhibitors) != text) || says != "" && (!strings.Contains(got.InhibitorsError, says) || got.Inhibitors != nil) {
			t.Errorf("%.20q: %.40q, %q", text, got.Inhibitors, got.InhibitorsError)
		}
	}
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
		t.Fatal(err)
	}
	if got := Read(top); got.InhibitorsError == "" {
		t.Error("what cannot be read counts as none")
	}
}

func TestNeedsReboot(t *testing.T) {
	booted := map[string]string{"kernel": "/k", "initrd": "/i"}
	for is, want := range map[string]bool{"/k": false, "/other": true} {
		if got := NeedsReboot(booted, map[string]string{"kernel": is, "kernel-modules": "/m"}); got != want {
			t.Errorf("%s: %v", is, got)
		}
	}
	if NeedsReboot(booted, nil) || NeedsReboot(nil, booted) {
		t.Error("what only one of them has counts")
	}
}

func TestIdentity(t *testing.T) {
	top := t.TempDir()
	wants := func(system, hostName string) {
		t.Helper()
		gotSystem, gotName, err := Identity(top)
		if gotSystem != system || gotName != hostName || err != nil {
			t.Errorf("got %q, %q, %v; want %q, %q", gotSystem, gotName, err, system, hostName)
		}
	}
	wants("", "")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(top, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("system", "x86_64-linux")
	write("etc/hostname", "web1\n")
	wants("x86_64-linux", "web1")
	write("etc/hostname", "two words\n")
	wants("x86_64-linux", "")
	write("system", "\x1b[31mx86\n")
	wants("[31mx86", "") // harmless, and no platform
	if err := errors.Join(os.Remove(filepath.Join(top, "system")), os.Mkdir(filepath.Join(top, "system"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Identity(top); err == nil {
		t.Error("a folder was read")
	}
}
