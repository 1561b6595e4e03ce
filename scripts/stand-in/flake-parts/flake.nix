# What docs/examples/flake-parts.nix takes from flake-parts and from the flake module of
# hercules-ci-effects: the arguments of a module, flake, systems, withSystem, herculesCI.
{
  outputs =
    { self }:
    {
      lib.mkFlake =
        { inputs }:
        make:
        let
          module = make { inherit inputs withSystem; inherit (inputs) self; inherit (inputs.nixpkgs) lib; };
          withSystem =
            system: use:
            let
              pkgs = inputs.nixpkgs.legacyPackages.${system};
              of = imported: imported.perSystemArguments { inherit pkgs system; };
            in
            if !(builtins.elem system module.systems) then
              throw "${system} is not among the systems"
            else
              use (builtins.foldl' (all: imported: all // of imported) { inherit pkgs system; } module.imports);
          known = [
            "imports"
            "systems"
            "flake"
            "herculesCI"
          ];
          unknown = builtins.attrNames (builtins.removeAttrs module known);
        in
        if unknown != [ ] then
          throw "the stand-in for flake-parts has no ${toString unknown}"
        else
          module.flake
          // {
            herculesCI = { primaryRepo, ... }: module.herculesCI { config.repo = primaryRepo; };
          };
    };
}
