# A NixOS-shaped flake without inputs: real derivations, built by busybox, whose toplevels a lab host boots and switches to.
# The settings of a host (hosts/NAME.json) are described in lib/default.nix.
{
  description = "NixOS-shaped systems for the lab's hosts";

  outputs =
    { self }:
    let
      lab = import ./lib {
        tools = ./tools;
        deployerKey = if builtins.pathExists ./deployer.pub then builtins.readFile ./deployer.pub else "";
      };

      hostFiles = if builtins.pathExists ./hosts then builtins.readDir ./hosts else { };
      jsonFiles = builtins.filter (file: builtins.match ".+\\.json" file != null) (builtins.attrNames hostFiles);
      hosts = map (
        file:
        let
          name = builtins.head (builtins.match "(.+)\\.json" file);
        in
        {
          inherit name;
          value = lab.nixosConfiguration name (builtins.fromJSON (builtins.readFile (./hosts + "/${file}")));
        }
      ) jsonFiles;

      # What a fresh host boots. It leaves the host name alone, since all hosts of a world start from the same two systems.
      factory = loader: lab.nixosConfiguration "factory-${loader}" { inherit loader; setHostName = false; };
      # What is in the store of every host as well, for whoever switches it without hdeploy.
      other =
        loader:
        lab.nixosConfiguration "other-${loader}" {
          inherit loader;
          revision = "other";
          setHostName = false;
        };
    in
    {
      nixosConfigurations = {
        factory-grub = factory "grub";
        factory-systemd-boot = factory "systemd-boot";
        other-grub = other "grub";
        other-systemd-boot = other "systemd-boot";
      }
      // builtins.listToAttrs hosts;
    };
}
