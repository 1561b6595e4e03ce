package bootloader

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	one   = "/nix/store/11111111111111111111111111111111-nixos-system-a"
	two   = "/nix/store/22222222222222222222222222222222-nixos-system-a"
	three = "/nix/store/33333333333333333333333333333333-nixos-system-a"
)

const onceGrub = `if [ "${next_entry}" ]; then
  set default="${next_entry}"
else
  set default=0
fi
menuentry "NixOS" --class nixos {
  search --set=drive1 --fs-uuid 1-2
  linux ($drive1)/kernels/a init=` + two + `/init
}
submenu "NixOS - All > configurations" --class submenu {
  menuentry "NixOS - Configuration 2 (2026-01-02)" --class nixos {
    linux ($drive1)/kernels/a init=` + two + `/init
  }
  menuentry "NixOS - Configuration 1 (2026-01-01)" --class nixos {
    linux ($drive1)/kernels/a init=` + one + `/init
  }
}
menuentry 'Rescue' {
  linux ($drive1)/kernels/a init=` + three + `/init
}
`

func TestFindOnceInGrub(t *testing.T) {
	root := t.TempDir()
	write(t, root, "boot/grub/grub.cfg", onceGrub)
	for system, want := range map[string]string{
		one:   "NixOS - All >> configurations>NixOS - Configuration 1 (2026-01-01)",
		two:   "NixOS - All >> configurations>NixOS - Configuration 2 (2026-01-02)",
		three: "Rescue",
	} {
		got, err := FindOnce(root, system)
		if err != nil || got != (Once{Loader: "grub", Entry: want}) {
			t.Errorf("%s: %+v, %v", system, got, err)
		}
	}
	if got, err := FindOnce(root, strings.Replace(one, "1", "4", 1)); err == nil {
		t.Errorf("found %+v", got)
	}
}

func TestFindOnceInSystemdBoot(t *testing.T) {
	root := t.TempDir()
	write(t, root, "boot/loader/loader.conf", "default nixos-generation-9.conf\n")
	write(t, root, "boot/loader/entries/nixos-generation-9.conf", "title NixOS\noptions init="+one+"/init quiet\n")
	write(t, root, "boot/loader/entries/nixos-generation-10+2-1.conf", "title NixOS\noptions init="+two+"/init\n")
	write(t, root, "boot/loader/entries/nixos-generation-8.conf", "title NixOS\noptions init="+one+"/init\n")
	for system, want := range map[string]string{one: "nixos-generation-9.conf", two: "nixos-generation-10.conf"} {
		got, err := FindOnce(root, system)
		if err != nil || got != (Once{Loader: "systemd-boot", Entry: want}) {
			t.Errorf("%s: %+v, %v", system, got, err)
		}
	}
	if got, err := FindOnce(root, three); err == nil {
		t.Errorf("found %+v", got)
	}
}

func TestLoadersWithoutAnEntryForOneBoot(t *testing.T) {
	old := t.TempDir()
	write(t, old, "boot/grub/grub.cfg", "set default=0\n")
	firmware := t.TempDir()
	if err := os.MkdirAll(filepath.Join(firmware, "sys/firmware/efi"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ root, loader, want string }{
		{old, "grub", "does not ask"},
		{old, "extlinux", "no entry for one boot"},
		{old, "", "no entry for one boot"},
		{firmware, "systemd-boot", "EFI variables"},
	} {
		if err := CanBootOnce(c.root, c.loader); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.loader, err)
		}
	}
	if err := CanBootOnce(t.TempDir(), "systemd-boot"); err != nil {
		t.Errorf("systemd-boot: %v", err)
	}
}
