{
  description = "hdeploy deploys NixOS hosts over SSH and takes back what does not prove itself";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    # Only the host in hosts/servers/hetzner-vps has it; the modules work with whichever
    # release the user's flake brings.
    opnix = {
      url = "github:brizzbuzz/opnix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  # The inputs are only looked at by what is made of them: modules and lib need none.
  outputs =
    {
      self,
      nixpkgs,
      opnix,
    }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem =
        make:
        builtins.listToAttrs (
          map (system: {
            name = system;
            value = make nixpkgs.legacyPackages.${system};
          }) systems
        );
      packages = import ./modules/hdeploy/package.nix { src = self; };
    in
    {
      packages = forEachSystem (pkgs: packages pkgs // { default = (packages pkgs).hdeploy; });

      overlays.default = final: _: packages final;

      apps = forEachSystem (
        pkgs:
        let
          hdeploy = {
            type = "app";
            program = "${self.packages.${pkgs.stdenv.hostPlatform.system}.hdeploy}/bin/hdeploy";
            inherit ((packages pkgs).hdeploy) meta;
          };
        in
        {
          inherit hdeploy;
          default = hdeploy;
        }
      );

      nixosModules = {
        ci = ./modules/ci;

        hdeploy =
          { lib, pkgs, ... }:
          {
            # Whoever imports it twice, say by hetzner-vps as well, has it once.
            key = "github:hbohlen/hdeploy#nixosModules.hdeploy";
            imports = [ ./modules/hdeploy ];
            services.hdeploy.agent = lib.mkDefault (packages pkgs).hdeploy-agent;
          };

        # The host as a module of another flake, which brings OpNix.
        hetzner-vps.imports = [
          ./hosts/servers/hetzner-vps
          self.nixosModules.hdeploy
        ];

        default.imports = [
          self.nixosModules.ci
          self.nixosModules.hdeploy
        ];
      };

      # What deploys hosts from CI: docs/examples.
      lib = import ./deploy/lib.nix { inherit self; };

      nixosConfigurations.hetzner-vps = nixpkgs.lib.nixosSystem {
        modules = [
          opnix.nixosModules.default
          self.nixosModules.hetzner-vps
        ];
      };

      # None needs KVM or root: what an agent of Hercules CI builds. The tests proper need
      # a lab of real hosts: scripts/test.
      checks = forEachSystem (
        pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
        in
        {
          inherit (self.packages.${system}) hdeploy hdeploy-agent;
        }
        // import ./modules/checks.nix {
          inherit pkgs;
          inherit (self) nixosModules;
          opnix = opnix.nixosModules.default;
          nixosSystem = nixpkgs.lib.nixosSystem;
        }
      );

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.go_1_26
            pkgs.golangci-lint
            pkgs.gopls
            pkgs.nodejs
            pkgs.shellcheck
          ];
        };
      });

      herculesCI = self.lib.herculesCI { inherit self; };

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
