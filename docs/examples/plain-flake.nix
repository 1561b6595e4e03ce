# The flake.nix of a repository that deploys its hosts from Hercules CI, without
# flake-parts. deploy.toml is beside it and has [hosts.web1] and so on, with host_keys.
#
# A push to main deploys web1 and web2 side by side, and db1 once both were seen to keep
# their new systems. Every other push builds what a deployment would need.
{
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    hdeploy.url = "github:hbohlen/hdeploy";
    hercules-ci-effects.url = "github:hercules-ci/hercules-ci-effects";
  };

  outputs =
    { self, nixpkgs, hdeploy, hercules-ci-effects }:
    let
      # That of the agent which runs the effects.
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};

      host = name: nixpkgs.lib.nixosSystem {
        modules = [
          ./hosts/${name}.nix
          hdeploy.nixosModules.hdeploy
        ];
      };
    in
    {
      nixosConfigurations = {
        web1 = host "web1";
        web2 = host "web2";
        db1 = host "db1";
      };

      herculesCI = hdeploy.lib.herculesCI {
        inherit self;
        effects = { branch, rev, ... }: hdeploy.lib.deployEffects {
          inherit pkgs branch rev;
          hci-effects = hercules-ci-effects.lib.withPkgs pkgs;
          flake = self;
          config = ./deploy.toml;
          waves = [
            [ "web1" "web2" ]
            [ "db1" ]
          ];
          # secrets.json of the agent has { "deploy-key": { "kind": "Secret", "data": { "privateKey": "..." }, ... } }.
          secretsMap.ssh = "deploy-key";
          when = branch == "main";
        };
      };
    };
}
