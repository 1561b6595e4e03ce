# The options of NixOS that the modules here set or read, and what NixOS makes of them.
{
  imports = [
    ./boot.nix
    ./hercules-ci-agent.nix
    ./networking.nix
    ./nix.nix
    ./security.nix
    ./services.nix
    ./system.nix
    ./systemd.nix
    ./users.nix
  ];
}
