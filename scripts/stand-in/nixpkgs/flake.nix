# What this repository takes from nixpkgs, so that its flake can be evaluated without a
# network: a module system that is as strict as the real one, the options that the
# modules here set or read, and packages that are names.
{
  description = "A stand-in for nixpkgs";

  outputs =
    { self }:
    let
      lib = import ./lib;
      packagesFor = import ./packages.nix { inherit lib; path = ./.; };
      nixosSystem =
        {
          modules,
          specialArgs ? { },
          system ? null,
        }:
        let
          evaluated = lib.evalModules {
            modules = [
              ./nixos
              { _module.args.pkgs = packagesFor evaluated.config.nixpkgs.hostPlatform; }
              (if system == null then { } else { nixpkgs.hostPlatform = lib.mkDefault system; })
            ]
            ++ modules;
            specialArgs = {
              modulesPath = toString ./nixos/modules;
            }
            // specialArgs;
          };
        in
        {
          inherit (evaluated) config options _module;
          inherit (evaluated._module.args) pkgs;
          inherit lib;
          extendModules = more: nixosSystem { inherit system; modules = modules ++ more.modules; specialArgs = specialArgs // (more.specialArgs or { }); };
          class = "nixos";
          type = "configuration";
        };
    in
    {
      lib = lib // { inherit nixosSystem; };
      legacyPackages = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ] packagesFor;
    };
}
