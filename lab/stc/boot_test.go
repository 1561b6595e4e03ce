package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// world is a profile directory, a store and a /boot of their own.
type world struct {
	profiles, store string
	boot            bootWriter
}

func newWorld(t *testing.T) world {
	t.Helper()
	root := t.TempDir()
	w := world{profiles: filepath.Join(root, "profiles"), store: filepath.Join(root, "store"), boot: bootWriter{directory: filepath.Join(root, "boot")}}
	if err := os.MkdirAll(w.profiles, 0o755); err != nil {
		t.Fatal(err)
	}
	return w
}

// system makes a toplevel with a kernel of its own.
func (w world) system(t *testing.T, name string, specialisations ...string) string {
	t.Helper()
	toplevel := filepath.Join(w.store, name)
	for file, text := range map[string]string{
		filepath.Join(w.store, name+"-linux", "bzImage"):   "kernel of " + name,
		filepath.Join(w.store, name+"-initrd", "initrd"):   "initrd of " + name,
		filepath.Join(toplevel, "nixos-version"):           "25.05.lab",
		filepath.Join(toplevel, "kernel-params"):           "loglevel=4",
		filepath.Join(toplevel, "specialisation", ".keep"): "",
	} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{"kernel": filepath.Join(w.store, name+"-linux", "bzImage"), "initrd": filepath.Join(w.store, name+"-initrd", "initrd")}
	for _, specialisation := range specialisations {
		links["specialisation/"+specialisation] = w.system(t, name+"-"+specialisation)
	}
	for link, target := range links {
		if err := os.Symlink(target, filepath.Join(toplevel, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(toplevel, "specialisation", ".keep")); err != nil {
		t.Fatal(err)
	}
	return toplevel
}

func (w world) setGeneration(t *testing.T, number, toplevel string) {
	t.Helper()
	if err := os.Symlink(toplevel, filepath.Join(w.profiles, "system-"+number+"-link")); err != nil {
		t.Fatal(err)
	}
}

func (w world) generations(t *testing.T, limit int) []generation {
	t.Helper()
	list, err := generations(w.profiles, limit)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (w world) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(w.boot.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (w world) files(t *testing.T, directory string) []string {
	t.Helper()
	entries, err := os.ReadDir(w.boot.path(directory))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	return list
}

func TestGenerations(t *testing.T) {
	w := newWorld(t)
	for _, number := range []string{"9", "10", "2"} {
		w.setGeneration(t, number, "/nix/store/"+number)
	}
	for _, other := range []string{"system", "system-x-link", "per-user", "other-11-link"} {
		if err := os.Symlink("/nix/store/other", filepath.Join(w.profiles, other)); err != nil {
			t.Fatal(err)
		}
	}
	var numbers []int
	for _, generation := range w.generations(t, 2) {
		numbers = append(numbers, generation.number)
	}
	if want := []int{9, 10}; !reflect.DeepEqual(numbers, want) {
		t.Errorf("generations %v, want the newest two by number: %v", numbers, want)
	}
}

func TestSystemdBoot(t *testing.T) {
	w := newWorld(t)
	one, two, three := w.system(t, "one"), w.system(t, "two", "variant"), w.system(t, "three")
	for number, toplevel := range map[string]string{"1": one, "2": two, "3": three} {
		w.setGeneration(t, number, toplevel)
	}
	if err := w.boot.systemdBoot(w.generations(t, 9), one); err != nil {
		t.Fatal(err)
	}
	if conf := w.read(t, "loader/loader.conf"); !strings.Contains(conf, "\ndefault nixos-generation-1.conf\n") {
		t.Errorf("loader.conf of one:\n%s", conf)
	}

	if err := w.boot.systemdBoot(w.generations(t, 2), three); err != nil {
		t.Fatal(err)
	}
	want := []string{"nixos-generation-2-specialisation-variant.conf", "nixos-generation-2.conf", "nixos-generation-3.conf"}
	if got := w.files(t, "loader/entries"); !reflect.DeepEqual(got, want) {
		t.Errorf("entries %v, want %v", got, want)
	}
	if images := strings.Join(w.files(t, "EFI/nixos"), " "); strings.Contains(images, "one-") {
		t.Errorf("the kernel of a generation beyond the limit is still there: %s", images)
	}
	if entry := w.read(t, "loader/entries/nixos-generation-3.conf"); !strings.Contains(entry, "\noptions init="+three+"/init loglevel=4\n") {
		t.Errorf("entry of three:\n%s", entry)
	}
}

// What --switch-generation runs into: the call succeeds, and what boots is still the other one.
func TestSystemdBootLeavesTheDefaultForASystemBeyondTheLimit(t *testing.T) {
	w := newWorld(t)
	one, two := w.system(t, "one"), w.system(t, "two")
	w.setGeneration(t, "1", one)
	w.setGeneration(t, "2", two)
	for _, toplevel := range []string{two, one} {
		if err := w.boot.systemdBoot(w.generations(t, 1), toplevel); err != nil {
			t.Fatal(err)
		}
	}
	if conf := w.read(t, "loader/loader.conf"); !strings.Contains(conf, "default nixos-generation-2.conf") {
		t.Errorf("loader.conf:\n%s", conf)
	}
}

func TestGRUBAlwaysBootsTheGivenSystem(t *testing.T) {
	w := newWorld(t)
	one, two := w.system(t, "one", "variant"), w.system(t, "two")
	w.setGeneration(t, "2", two)
	if err := w.boot.grub(w.generations(t, 3), one); err != nil {
		t.Fatal(err)
	}
	config := w.read(t, "grub/grub.cfg")
	first, rest, _ := strings.Cut(config[strings.Index(config, "menuentry"):], "\n}\n")
	if !strings.Contains(first, "init="+one+"/init") || !strings.HasPrefix(first, `menuentry "NixOS" `) {
		t.Errorf("first entry:\n%s", first)
	}
	for _, part := range []string{`menuentry "NixOS - (variant)"`, `submenu "NixOS - All configurations"`, `  menuentry "NixOS - Configuration 2 (`, "init=" + two + "/init"} {
		if !strings.Contains(rest, part) {
			t.Errorf("no %q in\n%s", part, rest)
		}
	}
}

func TestFullBootKeepsWhatWasThere(t *testing.T) {
	for name, write := range map[string]func(bootWriter, []generation, string) error{
		"loader/loader.conf": bootWriter.systemdBoot, "grub/grub.cfg": bootWriter.grub,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			one, two := w.system(t, "one"), w.system(t, "two")
			w.setGeneration(t, "1", one)
			if err := write(w.boot, w.generations(t, 3), one); err != nil {
				t.Fatal(err)
			}
			before := w.read(t, name)
			w.setGeneration(t, "2", two)
			full := w.boot
			full.full = true
			if err := write(full, w.generations(t, 3), two); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("error %v, want no space", err)
			}
			if after := w.read(t, name); after != before {
				t.Errorf("changed to\n%s", after)
			}
		})
	}
}
