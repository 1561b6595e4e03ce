# What flake.nix takes from nixpkgs, as little as it takes to evaluate our side of it
# without a network. Modules are called and merged, not checked: their options are only
# known to nixpkgs.
{
  outputs =
    { self }:
    let
      package = name: derivation {
        inherit name;
        system = "x86_64-linux";
        builder = "/bin/sh";
      };
      merge =
        a: b:
        a
        // builtins.mapAttrs (
          name: value: if a ? ${name} && builtins.isAttrs a.${name} && builtins.isAttrs value then merge a.${name} value else value
        ) b;
      load =
        module:
        if builtins.isFunction module then
          module
        else if builtins.isAttrs module then
          _: module
        else
          import module;
      evaluate =
        modules:
        builtins.foldl' (
          config: module:
          merge config (
            builtins.removeAttrs (load module {
              inherit config;
              inherit (self) lib;
              pkgs = self.legacyPackages.x86_64-linux;
              modulesPath = "/nixpkgs/nixos/modules";
            }) [ "imports" ]
          )
        ) { } modules;
    in
    {
      lib = {
        licenses.mit = "mit";
        nixosSystem = { modules, ... }: {
          config = merge (evaluate modules) { system.build.toplevel = package "toplevel"; };
        };
      };
      legacyPackages =
        let
          pkgs = {
            inherit (self) lib;
            buildGo126Module = attributes: package attributes.pname // attributes;
            mkShell = { packages }: package "shell" // { inherit packages; };
            go_1_26 = package "go";
            golangci-lint = package "golangci-lint";
            gopls = package "gopls";
            shellcheck = package "shellcheck";
          };
        in
        {
          x86_64-linux = pkgs;
          aarch64-linux = pkgs;
        };
    };
}
