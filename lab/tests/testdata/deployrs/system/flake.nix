# A node with a system and an application of another user, who logs in by themselves.
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
      read = name: builtins.fromJSON (builtins.readFile ./hosts/${name}.json);
      where = builtins.fromJSON (builtins.readFile ./where.json);

      application = derive.tree "hello-service" [
        {
          path = "bin/activate";
          executable = true;
          text = "#!/bin/sh\necho started >>\"$HOME/hello.log\"\n";
        }
      ];
    in
    {
      nixosConfigurations.example-nixos-system = lab.nixosConfiguration "example-nixos-system" (read "example-nixos-system");

      deploy.nodes.example = {
        sshOpts = [ "-p" "22" ];
        inherit (where) hostname;
        fastConnection = true;
        profiles = {
          system = {
            sshUser = "admin";
            path = deploy-rs.activate.nixos self.nixosConfigurations.example-nixos-system;
            user = "root";
          };
          hello = {
            sshUser = "hello";
            path = deploy-rs.activate.custom application "./bin/activate";
            user = "hello";
          };
        };
      };
    };
}
