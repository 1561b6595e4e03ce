{
  description = "hdeploy deploys NixOS hosts over SSH and takes back what does not prove itself";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
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
    in
    {
      packages = forEachSystem (pkgs: rec {
        hdeploy = pkgs.buildGo126Module rec {
          pname = "hdeploy";
          version = "0.1.0";
          src = self;
          vendorHash = "sha256-icUU9BMyctQKB0iz42y0YX8b2Ft9wGgRf7nC71lC5YI=";

          # The agents for both processors are embedded, so they come first. A preBuild
          # would also run where the dependencies are fetched; a buildPhase does not.
          buildPhase = ''
            runHook preBuild
            bash scripts/build
            runHook postBuild
          '';
          installPhase = ''
            runHook preInstall
            install -D bin/hdeploy $out/bin/hdeploy
            runHook postInstall
          '';
          # The tests need root and a lab of real hosts: scripts/test.
          doCheck = false;

          meta = {
            description = "Deploys NixOS hosts over SSH and takes back what does not prove itself";
            license = pkgs.lib.licenses.mit;
            mainProgram = "hdeploy";
            platforms = systems;
          };
        };
        default = hdeploy;

        # What the NixOS module runs at boot.
        hdeploy-agent = pkgs.buildGo126Module {
          pname = "hdeploy-agent";
          inherit (hdeploy) version src vendorHash;
          subPackages = [ "cmd/hdeploy-agent" ];
          env.CGO_ENABLED = 0;
          ldflags = [
            "-s"
            "-w"
          ];
          doCheck = false;

          meta = hdeploy.meta // {
            description = "The part of hdeploy that runs on the hosts";
            mainProgram = "hdeploy-agent";
          };
        };
      });

      lib = import ./deploy/lib.nix { inherit self; };

      nixosModules.hdeploy =
        { lib, pkgs, ... }:
        {
          imports = [ ./modules/hdeploy ];
          services.hdeploy.agent = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.hdeploy-agent;
        };

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.go_1_26
            pkgs.golangci-lint
            pkgs.gopls
            pkgs.shellcheck
          ];
        };
      });

      nixosConfigurations.hetzner-vps = nixpkgs.lib.nixosSystem {
        modules = [ ./hosts/servers/hetzner-vps ];
      };

      herculesCI = self.lib.herculesCI { inherit self; };
    };
}
