# A node with everything: a system, and after it the home of one user, a service of another one, and tools that nobody activates.
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
      read = name: builtins.fromJSON (builtins.readFile ./${name}.json);
      where = read "where";
      app = read "app";

      program = name: text: derive.tree name [ { path = "bin/activate"; executable = true; inherit text; } ];
      service = program "service-${app.revision}" ''
        #!/bin/sh
        echo "${app.revision} as $(id -un)" >>"$HOME/service.log"
        exit ${toString app.exit}
      '';
      home = {
        activationPackage = derive.tree "home-manager-generation" [
          {
            path = "activate";
            executable = true;
            text = ''
              #!/bin/sh
              echo "${app.revision} as $(id -un)" >>"$HOME/home.log"
            '';
          }
          {
            path = "home-files/.profile-of-the-lab";
            text = app.revision;
          }
          {
            path = "gen-version";
            text = "1\n";
          }
        ];
      };
    in
    {
      nixosConfigurations.example-nixos-system = lab.nixosConfiguration "example-nixos-system" (read "hosts/example-nixos-system");

      deploy = {
        sshUser = "admin";
        user = "root";
        nodes.example = {
          inherit (where) hostname;
          profilesOrder = [ "system" "home" ];
          profiles = {
            service = {
              user = "hello";
              activationTimeout = 60;
              path = deploy-rs.activate.custom service "$PROFILE/bin/activate";
            };
            home = {
              user = "admin";
              path = deploy-rs.activate.home-manager home;
            };
            tools.path = deploy-rs.activate.noop (program "tools" "#!/bin/sh\n");
            system.path = deploy-rs.activate.nixos self.nixosConfigurations.example-nixos-system;
          };
        };
      };
    };
}
