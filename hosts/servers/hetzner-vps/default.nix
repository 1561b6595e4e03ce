# A virtual server of Hetzner Cloud: BIOS and GRUB, one disk, an address by DHCP.
{ modulesPath, ... }:
let
  # Who may deploy. Put your own public key here before the first deployment: the
  # private half of this one is kept by nobody.
  deployer = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIKta8K6qpGwyzwxfzmEmRzbrRNTEYs/3vnK/6m19aQn deployer";
in
{
  imports = [ (modulesPath + "/profiles/qemu-guest.nix") ];

  nixpkgs.hostPlatform = "x86_64-linux";
  networking.hostName = "hetzner-vps";
  system.stateVersion = "25.11";

  boot.loader.grub = {
    enable = true;
    device = "/dev/sda";
    # Each generation keeps a kernel in /boot.
    configurationLimit = 10;
  };
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };

  services.openssh = {
    enable = true;
    settings = {
      PermitRootLogin = "prohibit-password";
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
    };
  };
  users.users.root.openssh.authorizedKeys.keys = [ deployer ];

  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
}
