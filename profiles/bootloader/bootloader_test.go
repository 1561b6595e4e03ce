package bootloader

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"
)

// The systems of testdata, by the digit that their store paths are made of.
func system(digit string) string {
	return "/nix/store/" + strings.Repeat(digit, 32) + "-nixos-system-web1-25.05.805977.1c1c9b3f5ec0"
}

// host is a copy of a file system of testdata that a test may change.
func host(t *testing.T, name string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return root
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, root, name, old, text string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("%s does not contain %q", name, old)
	}
	write(t, root, name, strings.ReplaceAll(string(data), old, text))
}

// efiVariable is a variable as efivarfs shows it: four bytes of attributes, then
// its value, here UTF-16LE that ends with a zero.
func efiVariable(value string) string {
	out := []byte{7, 0, 0, 0}
	for _, word := range utf16.Encode([]rune(value + "\x00")) {
		out = binary.LittleEndian.AppendUint16(out, word)
	}
	return string(out)
}

// check fails unless the host boots what is wanted; an error is wanted where bad
// says what it speaks of.
func check(t *testing.T, root, loader, entry, digit, bad string) {
	t.Helper()
	got, err := Read(root)
	if bad != "" {
		if err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("got %+v, %v; want an error about %q", got, err, bad)
		}
		return
	}
	if err != nil || got != (Default{Loader: loader, System: system(digit), Entry: entry}) {
		t.Errorf("got %+v, %v; want %s %s of %s", got, err, loader, entry, digit)
	}
}

func TestSystemdBoot(t *testing.T) {
	const conf = "boot/loader/loader.conf"
	entries := "boot/loader/entries/"
	for _, c := range []struct {
		name   string
		change func(t *testing.T, root string)
		entry  string
		digit  string
		bad    string
	}{
		{name: "as written by the builder", entry: "nixos-generation-12.conf", digit: "2"},
		{name: "an older generation", change: func(t *testing.T, root string) {
			write(t, root, conf, "default nixos-generation-11.conf\n")
		}, entry: "nixos-generation-11.conf", digit: "1"},
		{name: "without the suffix", change: func(t *testing.T, root string) {
			write(t, root, conf, "default nixos-generation-11\n")
		}, entry: "nixos-generation-11.conf", digit: "1"},
		{name: "a specialisation", change: func(t *testing.T, root string) {
			write(t, root, conf, "default nixos-generation-12-specialisation-debug.conf\n")
		}, entry: "nixos-generation-12-specialisation-debug.conf", digit: "3"},
		{name: "a glob takes the newest, and 12 is newer than 9", change: func(t *testing.T, root string) {
			if err := os.Remove(filepath.Join(root, entries, "nixos-generation-12-specialisation-debug.conf")); err != nil {
				t.Fatal(err)
			}
			write(t, root, conf, "default nixos-generation-*\n")
		}, entry: "nixos-generation-12.conf", digit: "2"},
		{name: "comments, blanks and tabs", change: func(t *testing.T, root string) {
			write(t, root, conf, "# default nixos-generation-9.conf\n\n  default\t nixos-generation-11.conf  \n")
		}, entry: "nixos-generation-11.conf", digit: "1"},
		{name: "boot counting", change: func(t *testing.T, root string) {
			from, to := filepath.Join(root, entries, "nixos-generation-12.conf"), filepath.Join(root, entries, "nixos-generation-12+3-0.conf")
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}, entry: "nixos-generation-12+3-0.conf", digit: "2"},
		{name: "overridden by the firmware's variable", change: func(t *testing.T, root string) {
			write(t, root, loaderEntryDefault, efiVariable("nixos-generation-11.conf"))
		}, entry: "nixos-generation-11.conf", digit: "1"},
		{name: "an empty variable overrides nothing", change: func(t *testing.T, root string) {
			write(t, root, loaderEntryDefault, efiVariable(""))
		}, entry: "nixos-generation-12.conf", digit: "2"},
		{name: "a cut variable overrides nothing", change: func(t *testing.T, root string) {
			write(t, root, loaderEntryDefault, "\x07\x00\x00")
		}, entry: "nixos-generation-12.conf", digit: "2"},
		{name: "the partition at /efi", change: func(t *testing.T, root string) {
			if err := os.Rename(filepath.Join(root, "boot"), filepath.Join(root, "efi")); err != nil {
				t.Fatal(err)
			}
		}, entry: "nixos-generation-12.conf", digit: "2"},
		{name: "the default is gone", change: func(t *testing.T, root string) {
			if err := os.Remove(filepath.Join(root, entries, "nixos-generation-12.conf")); err != nil {
				t.Fatal(err)
			}
		}, bad: `no entry matches the default "nixos-generation-12.conf"`},
		{name: "no default", change: func(t *testing.T, root string) { write(t, root, conf, "timeout 5\n") }, bad: "names no default"},
		{name: "another system", change: func(t *testing.T, root string) { write(t, root, conf, "default memtest86.conf\n") }, bad: "boots no NixOS system"},
		{name: "the last one booted", change: func(t *testing.T, root string) { write(t, root, conf, "default @saved\n") }, bad: "@saved"},
		{name: "a broken glob", change: func(t *testing.T, root string) { write(t, root, conf, "default [\n") }, bad: "no entry matches"},
		{name: "too large", change: func(t *testing.T, root string) {
			write(t, root, conf, strings.Repeat("#", fileLimit+1))
		}, bad: "larger than"},
		{name: "a directory", change: func(t *testing.T, root string) {
			if err := errors.Join(os.Remove(filepath.Join(root, conf)), os.Mkdir(filepath.Join(root, conf), 0o700)); err != nil {
				t.Fatal(err)
			}
		}, bad: "directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := host(t, "systemd-boot")
			if c.change != nil {
				c.change(t, root)
			}
			check(t, root, "systemd-boot", c.entry, c.digit, c.bad)
		})
	}
}

func TestGrub(t *testing.T) {
	const cfg = "boot/grub/grub.cfg"
	set := func(value string) func(*testing.T, string) {
		return func(t *testing.T, root string) { replace(t, root, cfg, "set default=0", "set default="+value) }
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, root string)
		entry  string
		digit  string
		bad    string
	}{
		{name: "as written by install-grub.pl", entry: "NixOS - Default", digit: "2"},
		{name: "another number", change: set("1"), entry: "NixOS - debug", digit: "3"},
		{name: "quoted", change: set(`"1"`), entry: "NixOS - debug", digit: "3"},
		{name: "by title", change: set(`"NixOS - debug"`), entry: "NixOS - debug", digit: "3"},
		{name: "two entries of one title", change: func(t *testing.T, root string) {
			replace(t, root, cfg, `menuentry "NixOS - debug"`, `menuentry "NixOS - Default"`)
			set("1")(t, root)
		}, entry: "NixOS - Default", digit: "3"},
		{name: "an entry before those of NixOS", change: func(t *testing.T, root string) {
			replace(t, root, cfg, `menuentry "NixOS - Default"`, "menuentry 'Other { OS' {\n  chainloader (hd0,1)+1\n}\n"+`menuentry "NixOS - Default"`)
			set("1")(t, root)
		}, entry: "NixOS - Default", digit: "2"},
		{name: "a submenu", change: set("2"), bad: "boots no NixOS system"},
		{name: "behind the submenu", change: set("3"), bad: "boots no NixOS system"},
		{name: "no such entry", change: set("4"), bad: `"4" is none of the 4 entries`},
		{name: "an entry of the submenu", change: set(`"2>1"`), bad: `"2>1" is none`},
		{name: "the one chosen last", change: set(`"${saved_entry}"`), bad: "saved_entry"},
		{name: "empty", change: func(t *testing.T, root string) { write(t, root, cfg, "") }, bad: "none of the 0 entries"},
		{name: "too large", change: func(t *testing.T, root string) { write(t, root, cfg, strings.Repeat("#", fileLimit+1)) }, bad: "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := host(t, "grub")
			if c.change != nil {
				c.change(t, root)
			}
			check(t, root, "grub", c.entry, c.digit, c.bad)
		})
	}
}

func TestExtlinux(t *testing.T) {
	const conf = "boot/extlinux/extlinux.conf"
	for _, c := range []struct {
		name, old, text string
		entry, digit    string
		bad             string
	}{
		{name: "as written by the builder", old: "", entry: "nixos-default", digit: "2"},
		{name: "another label", old: "DEFAULT nixos-default", text: "DEFAULT nixos-11-default", entry: "nixos-11-default", digit: "1"},
		{name: "lower case", old: "DEFAULT nixos-default", text: "default nixos-11-default", entry: "nixos-11-default", digit: "1"},
		{name: "no such label", old: "DEFAULT nixos-default", text: "DEFAULT nixos-9", bad: `no label for the default "nixos-9"`},
		{name: "no default", old: "DEFAULT nixos-default", text: "", bad: "no label"},
		{name: "another system", old: "init=", text: "root=", bad: "boots no NixOS system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := host(t, "extlinux")
			if c.old != "" {
				replace(t, root, conf, c.old, c.text)
			}
			check(t, root, "extlinux", c.entry, c.digit, c.bad)
		})
	}
}

func TestAnUnknownLoaderIsSaidAndNotGuessed(t *testing.T) {
	if got, err := Read(t.TempDir()); !errors.Is(err, ErrUnknown) || got != (Default{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestCommandLines(t *testing.T) {
	good := system("2")
	for line, want := range map[string]string{
		"init=" + good + "/init":                                good,
		"quiet init=" + good + "/init loglevel=4":               good,
		"init=" + good + "/specialisation/debug/init":           good + "/specialisation/debug",
		"rdinit=" + good + "/init":                              "",
		"init=" + good:                                          "",
		"init=" + good + "/../../../etc/init":                   "",
		"init=/nix/store/short-system/init":                     "",
		"init=/bin/sh":                                          "",
		"init=" + good + "/initrd":                              "",
		"init=/nix/store/" + strings.Repeat("2", 32) + "-/init": "",
		"": "",
	} {
		got, err := fromCommandLine("x", "y", line)
		if got.System != want || (want == "") != (err != nil) {
			t.Errorf("%q: got %+v, %v", line, got, err)
		}
	}
}

var answer = regexp.MustCompile(`^/nix/store/[0-9a-z]{32}-[0-9a-zA-Z+\-._?=]+(/specialisation/[0-9a-zA-Z+\-._]+)?$`)

// FuzzRead feeds one text to every loader's reader.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"grub/boot/grub/grub.cfg", "extlinux/boot/extlinux/extlinux.conf", "systemd-boot/boot/loader/entries/nixos-generation-12.conf"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		root := t.TempDir()
		for _, place := range []string{"boot/extlinux/extlinux.conf", "boot/grub/grub.cfg", loaderEntryDefault, "boot/loader/entries/a.conf", "boot/loader/loader.conf"} {
			// The reader asked is the one of the file written last.
			write(t, root, place, text)
			if got, err := Read(root); err == nil && !answer.MatchString(got.System) {
				t.Errorf("%q boots %q", text, got.System)
			}
		}
	})
}
