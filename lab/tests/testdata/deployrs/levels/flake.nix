# Settings on all three levels, several nodes, an order of profiles, names with dots, and one system that nothing but its
# wrapper tells.
{
  outputs =
    { self }:
    let
      lab = import ./lib {
        tools = ./tools;
        deployerKey = builtins.readFile ./deployer.pub;
      };
      derive = import ./lib/derive.nix { tools = ./tools; };
      deploy-rs = import ./deploy-rs.nix { inherit derive; };
      tool = name: derive.tree name [ { path = "bin/${name}"; executable = true; text = "#!/bin/sh\n"; } ];
      system = name: lab.nixosConfiguration name { hostName = name; };
      darwin.config.system.build.toplevel = derive.run "darwin-system-25.05" { system = "aarch64-darwin"; } ''mkdir "$out"'';
    in
    {
      nixosConfigurations.web1 = system "web1";
      nixosConfigurations.aliased = system "aliased";
      nixosConfigurations.mail = throw "this configuration is nobody's business";

      deploy = {
        sshUser = "deploy";
        user = "root";
        sshOpts = [ "-o" "ConnectTimeout=7" ];
        magicRollback = true;
        confirmTimeout = 60;

        nodes = {
          web1 = {
            hostname = "web1.example.org";
            sshOpts = [ "-p" "2222" ];
            confirmTimeout = 45;
            activationTimeout = 600;
            tempPath = "/var/tmp";
            remoteBuild = true;
            groups = [ "web" ];
            profilesOrder = [ "system" "zeta" ];
            profiles = {
              system.path = deploy-rs.activate.nixos self.nixosConfigurations.web1;
              alpha = {
                user = "alice";
                path = deploy-rs.activate.noop (tool "alpha");
              };
              home = {
                user = "alice";
                path = deploy-rs.activate.home-manager { activationPackage = tool "home"; };
                profilePath = "/home/alice/.local/state/nix/profiles/home-manager";
              };
              zeta = {
                user = "zoe";
                confirmTimeout = 30;
                path = (deploy-rs.activate.custom // { dryActivate = "true"; }) (tool "zeta") "$PROFILE/bin/zeta";
              };
            };
          };
          "db.example.org" = {
            hostname = "192.0.2.7";
            profiles.system.path = deploy-rs.activate.nixos self.nixosConfigurations.aliased;
          };
          mac = {
            hostname = "mac.example.org";
            profiles.system.path = deploy-rs.activate.darwin darwin;
          };
          hidden = {
            hostname = "hidden.example.org";
            profiles.system.path = deploy-rs.activate.nixos (lab.nixosConfiguration "elsewhere" { });
          };
          noop = {
            hostname = "noop.example.org";
            profiles.system.path = deploy-rs.activate.noop (system "noop").config.system.build.toplevel;
          };
          broken = throw "nobody asked for this node";
        };
      };
    };
}
