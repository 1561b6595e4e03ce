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

      # What make makes of each NAME.json of a directory.
      ofFiles =
        directory: make:
        let
          files = if builtins.pathExists directory then builtins.readDir directory else { };
          jsonFiles = builtins.filter (file: builtins.match ".+\\.json" file != null) (builtins.attrNames files);
          read = file: let name = builtins.head (builtins.match "(.+)\\.json" file); in {
            inherit name;
            value = make name (builtins.fromJSON (builtins.readFile (directory + "/${file}")));
          };
        in
        builtins.listToAttrs (map read jsonFiles);
      hosts = ofFiles ./hosts lab.nixosConfiguration;
      systems = builtins.mapAttrs (_: host: host.config.system.build.toplevel) hosts;

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
      // hosts;
      # Closures that are no NixOS systems, see lib/profiles.nix.
      profiles = ofFiles ./profiles (lab.profile systems);
    };
}
