# The flake.nix of a repository that deploys one host from Hercules CI, with flake-parts.
# deploy.toml is beside it and has [hosts.web1] with host_keys.
#
# Hercules CI goes on building what it builds of every flake; a push to main deploys web1
# after that.
{
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    flake-parts.url = "github:hercules-ci/flake-parts";
    hdeploy.url = "github:hbohlen/hdeploy";
    hercules-ci-effects.url = "github:hercules-ci/hercules-ci-effects";
  };

  outputs =
    inputs@{ flake-parts, ... }:
    flake-parts.lib.mkFlake { inherit inputs; } (
      { self, withSystem, ... }:
      {
        imports = [ inputs.hercules-ci-effects.flakeModule ];
        # That of the agent which runs the effects is among them.
        systems = [ "x86_64-linux" ];

        flake.nixosConfigurations.web1 = inputs.nixpkgs.lib.nixosSystem {
          modules = [
            ./hosts/web1.nix
            inputs.hdeploy.nixosModules.hdeploy
          ];
        };

        herculesCI =
          { config, ... }:
          {
            onPush.default.outputs.effects.web1 = withSystem "x86_64-linux" (
              { pkgs, hci-effects, ... }:
              inputs.hdeploy.lib.deployEffect {
                inherit pkgs hci-effects;
                inherit (config.repo) branch rev;
                host = "web1";
                config = ./deploy.toml;
                nixosConfiguration = self.nixosConfigurations.web1;
                flake = self;
                secretsMap.ssh = "deploy-key";
                when = config.repo.branch == "main";
              }
            );
          };
      }
    );
}
