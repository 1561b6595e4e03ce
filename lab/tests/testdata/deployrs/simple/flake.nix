# One node with one profile, which belongs to somebody who is not root.
{
  outputs =
    { self }:
    let
      derive = import ./lib/derive.nix { tools = ./tools; };
      deploy-rs = import ./deploy-rs.nix { inherit derive; };
      hello = derive.tree "hello-2.12" [
        {
          path = "bin/hello";
          executable = true;
          text = "#!/bin/sh\nmkdir -p ~/greetings && echo hello >~/greetings/said\n";
        }
      ];
    in
    {
      deploy.nodes.example = {
        hostname = "localhost";
        profiles.hello = {
          user = "balsoft";
          path = deploy-rs.setActivate hello "./bin/hello";
        };
      };
    };
}
