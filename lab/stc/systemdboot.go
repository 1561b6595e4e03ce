package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// systemdBoot writes entries for the generations and makes the toplevel's the default. A toplevel that is none of them leaves the
// default as it was: NixOS does the same, and does not say so.
func (b bootWriter) systemdBoot(list []generation, toplevel string) error {
	used := names{}
	for _, generation := range list {
		for _, bootable := range bootables(generation.toplevel) {
			used[entryName(generation.number, bootable.name)] = true
		}
	}
	if err := b.keepOnly("loader/entries", used, func(name string) bool { return strings.HasPrefix(name, "nixos-") }); err != nil {
		return err
	}
	images := names{}
	for _, generation := range list {
		for _, bootable := range bootables(generation.toplevel) {
			if err := b.systemdBootEntry(generation, bootable, images); err != nil {
				return err
			}
		}
		if generation.toplevel != toplevel {
			continue
		}
		b.aboutToSetDefault()
		conf := fmt.Sprintf("timeout 5\ndefault %s\nconsole-mode keep\n", entryName(generation.number, ""))
		if err := b.write("loader/loader.conf", strings.NewReader(conf)); err != nil {
			return err
		}
	}
	return b.keepOnly("EFI/nixos", images, func(string) bool { return true })
}

func entryName(number int, specialisation string) string {
	if specialisation == "" {
		return fmt.Sprintf("nixos-generation-%d.conf", number)
	}
	return fmt.Sprintf("nixos-generation-%d-specialisation-%s.conf", number, specialisation)
}

func (b bootWriter) systemdBootEntry(generation generation, bootable bootable, images names) error {
	kernel, err := b.copyFromStore(filepath.Join(bootable.toplevel, "kernel"), "EFI/nixos", ".efi")
	if err != nil {
		return err
	}
	initrd, err := b.copyFromStore(filepath.Join(bootable.toplevel, "initrd"), "EFI/nixos", ".efi")
	if err != nil {
		return err
	}
	images[filepath.Base(kernel)], images[filepath.Base(initrd)] = true, true

	title := "NixOS"
	if bootable.name != "" {
		title += " (" + bootable.name + ")"
	}
	version, err := os.ReadFile(filepath.Join(bootable.toplevel, "nixos-version"))
	if err != nil {
		return err
	}
	entry := fmt.Sprintf("title %s\nsort-key nixos\nversion Generation %d NixOS %s, built on %s\nlinux /%s\ninitrd /%s\noptions %s\n",
		title, generation.number, strings.TrimSpace(string(version)), generation.date, kernel, initrd, kernelOptions(bootable.toplevel))
	return b.write("loader/entries/"+entryName(generation.number, bootable.name), strings.NewReader(entry))
}
