package main

import (
	"os"
	"path/filepath"
	"testing"
)

func boot(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, text := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func bootEntry(system string) string {
	return "title NixOS\nlinux /EFI/nixos/kernel.efi\noptions init=/nix/store/" + system + "/init loglevel=4\n"
}

const grubConfig = `if [ "${next_entry}" ]; then
  set default="${next_entry}"
else
  set default=0
  set timeout=5
fi

menuentry "NixOS" --class nixos {
  linux ($drive1)/kernels/a init=/nix/store/new/init loglevel=4
  initrd ($drive1)/kernels/b
}
submenu "NixOS - All configurations" --class submenu {
  menuentry "NixOS - Configuration 2 (2026-01-02)" --class nixos {
    linux ($drive1)/kernels/a init=/nix/store/new/init loglevel=4
  }
  menuentry "NixOS - Configuration 1 (2026-01-01)" --class nixos {
    linux ($drive1)/kernels/a init=/nix/store/old/init loglevel=4
  }
}
menuentry "Rescue" {
  linux ($drive1)/kernels/a init=/nix/store/rescue/init
}
`

func TestChoose(t *testing.T) {
	entries := map[string]string{
		"loader/loader.conf":                      "timeout 5\ndefault nixos-generation-2.conf\n",
		"loader/entries/nixos-generation-1.conf":  bootEntry("one"),
		"loader/entries/nixos-generation-2.conf":  bootEntry("two"),
		"loader/entries/nixos-generation-10.conf": bootEntry("ten"),
	}
	with := func(files map[string]string, name, text string) map[string]string {
		changed := map[string]string{name: text}
		for key, value := range files {
			if key != name {
				changed[key] = value
			}
		}
		return changed
	}
	grub := map[string]string{"grub/grub.cfg": grubConfig}
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"systemd-boot default":          {entries, "two"},
		"one-time entry":                {with(entries, "loader/oneshot", "nixos-generation-1.conf\n"), "one"},
		"one-time entry without suffix": {with(entries, "loader/oneshot", "nixos-generation-1"), "one"},
		"unknown one-time entry":        {with(entries, "loader/oneshot", "nixos-generation-7.conf"), "two"},
		"pattern as default":            {with(entries, "loader/loader.conf", "default nixos-generation-1?.conf\n"), "ten"},
		"default without an entry":      {with(entries, "loader/loader.conf", "default nixos-generation-7.conf\n"), "ten"},
		"no default":                    {with(entries, "loader/loader.conf", "timeout 5\n"), "ten"},
		"grub default":                  {grub, "new"},
		"grub one-time entry":           {with(grub, "loader/oneshot", "NixOS - All configurations>NixOS - Configuration 1 (2026-01-01)"), "old"},
		"grub one-time number":          {with(grub, "loader/oneshot", "2"), "rescue"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			directory := boot(t, test.files)
			got, err := choose(directory)
			if err != nil || got.init != "/nix/store/"+test.want+"/init" {
				t.Errorf("choose = %+v, %v; want %s", got, err, test.want)
			}
			if _, err := os.Stat(filepath.Join(directory, "loader/oneshot")); !os.IsNotExist(err) {
				t.Error("the one-time entry is still there")
			}
		})
	}
}

func TestNothingToBoot(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"empty":      nil,
		"no entries": {"loader/loader.conf": "default nixos-generation-1.conf\n"},
		"empty grub": {"grub/grub.cfg": "set default=0\n"},
		"submenu":    {"grub/grub.cfg": "set default=0\nsubmenu \"All\" {\n}\n"},
	} {
		if got, err := choose(boot(t, files)); err == nil {
			t.Errorf("%s: chose %+v", name, got)
		}
	}
}
