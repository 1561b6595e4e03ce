# What Hetzner Cloud gives a virtual server: KVM, one disk, BIOS, and an address by DHCP.
{ modulesPath, ... }:
{
  imports = [ (modulesPath + "/profiles/qemu-guest.nix") ];

  nixpkgs.hostPlatform = "x86_64-linux";
  services.qemuGuest.enable = true;

  boot = {
    # The console of Hetzner's web page shows the screen, that of its API the serial line.
    kernelParams = [
      "console=ttyS0,115200"
      "console=tty1"
    ];
    initrd.availableKernelModules = [
      "ahci"
      "sd_mod"
      "sr_mod"
      "virtio_pci"
      "virtio_scsi"
      "xhci_pci"
    ];
    loader.grub = {
      enable = true;
      device = "/dev/sda";
      # Each generation keeps a kernel in /boot.
      configurationLimit = 10;
    };
  };
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };
}
