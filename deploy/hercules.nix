# `herculesCI` of a flake without flake-parts: one job per push, which builds what a
# deployment depends on, and then runs the effects.
{
  self,
  # Hercules CI waits for an agent for each of these.
  ciSystems ? [ "x86_64-linux" ],
  # The names of the nixosConfigurations to build. One for another system would wait for
  # an agent that nobody has, and the effects with it.
  hosts ? builtins.filter (
    name: builtins.elem self.nixosConfigurations.${name}.pkgs.stdenv.hostPlatform.system ciSystems
  ) (builtins.attrNames (self.nixosConfigurations or { })),
  # A function from the checkout, with branch (null for a tag), rev, ref and so on, to
  # the effects, see deployEffects.
  effects ? _checkout: { },
}:
{ primaryRepo, ... }:
let
  inherit (builtins) filter intersectAttrs listToAttrs;
  only = names: intersectAttrs (listToAttrs (map (name: { inherit name; value = null; }) names));
  toplevel = configuration: { config.system.build = { inherit (configuration.config.system.build) toplevel; }; };
  # A shell is no product: what it needs is built, and the agent is told so by this name.
  shell = drv: drv // { buildDependenciesOnly = true; };
in
{
  inherit ciSystems;
  onPush.default.outputs = {
    packages = only ciSystems (self.packages or { });
    checks = only ciSystems (self.checks or { });
    devShells = builtins.mapAttrs (_: builtins.mapAttrs (_: shell)) (only ciSystems (self.devShells or { }));
    nixosConfigurations = builtins.mapAttrs (_: toplevel) (only hosts (self.nixosConfigurations or { }));
    effects = effects ({ branch = null; } // primaryRepo);
  };
}
