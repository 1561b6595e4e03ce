# A virtual server of Hetzner Cloud that runs the agent of Hercules CI, and is deployed by
# it. Put your own keys and names here before the first deployment.
let
  # Who may deploy: the private half of this one is kept by nobody. A key belongs here and
  # not, or not only, to OpNix: what 1Password brings is state, which no rollback restores.
  deployer = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIKta8K6qpGwyzwxfzmEmRzbrRNTEYs/3vnK/6m19aQn deployer";
in
{
  imports = [
    ./hardware.nix
    ./hercules-ci.nix
    ../../../modules
  ];

  networking.hostName = "hetzner-vps";
  system.stateVersion = "25.11";
  time.timeZone = "UTC";

  services.hdeploy.enable = true;

  services.openssh = {
    enable = true;
    settings = {
      PermitRootLogin = "prohibit-password";
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
    };
  };
  users.users.root.openssh.authorizedKeys.keys = [ deployer ];

  nix = {
    settings.experimental-features = [
      "nix-command"
      "flakes"
    ];
    # hdeploy keeps what a rollback needs, whatever is collected.
    gc = {
      automatic = true;
      dates = "weekly";
      options = "--delete-older-than 30d";
    };
  };
}
