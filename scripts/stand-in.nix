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
      # A module and those it imports, but for what nixpkgs has.
      collect =
        config: module:
        let
          loaded = load module {
            inherit config;
            inherit (self) lib;
            pkgs = self.legacyPackages.x86_64-linux;
            modulesPath = "/nixpkgs/nixos/modules";
          };
          own = builtins.filter (import: builtins.match "/nixpkgs/.*" (toString import) == null) (loaded.imports or [ ]);
        in
        builtins.concatMap (collect config) own ++ [ loaded ];
      defaults =
        options: if options ? isOption then options.default or null else builtins.mapAttrs (_: defaults) options;
      content = module: module.config or (builtins.removeAttrs module [ "imports" "options" ]);
      evaluate =
        modules:
        let
          all = builtins.concatMap (collect config) modules;
          config = builtins.foldl' merge { } (map (module: defaults (module.options or { })) all ++ map content all);
        in
        config;
    in
    {
      lib = {
        licenses.mit = "mit";
        types = {
          package = "package";
          bool = "bool";
          str = "str";
          listOf = type: "list of ${type}";
        };
        optional = condition: value: if condition then [ value ] else [ ];
        mkOption = option: option // { isOption = true; };
        mkEnableOption = description: self.lib.mkOption { inherit description; default = false; };
        mkDefault = value: value;
        # Which attributes there are does not depend on the condition.
        mkIf =
          condition: value:
          if builtins.isAttrs value then
            builtins.mapAttrs (_: self.lib.mkIf condition) value
          else if condition then
            value
          else
            null;
        nixosSystem = { modules, ... }: {
          config = merge (evaluate modules) { system.build.toplevel = package "toplevel"; };
        };
      };
      legacyPackages =
        let
          pkgs = {
            inherit (self) lib;
            stdenv.hostPlatform.system = "x86_64-linux";
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
