# Packages: derivations that are never built, which have the attributes and refuse the
# arguments that the real ones do.
{ lib, path }:
system:
let
  package =
    name: fields:
    let
      drv = derivation {
        inherit name system;
        builder = "/bin/sh";
        args = [
          "-c"
          (fields.text or "")
        ];
      };
    in
    drv // { meta = { }; pname = name; overrideAttrs = _: package name fields; } // fields;

  # The arguments are those of derivations; nobody builds them here.
  make = arguments: package (arguments.pname or arguments.name) ({ passthru = { }; } // arguments // (arguments.passthru or { }));

  named = lib.genAttrs [
    "bash"
    "coreutils"
    "git"
    "go_1_26"
    "golangci-lint"
    "gopls"
    "hci"
    "hercules-ci-agent"
    "jq"
    "makeBinaryWrapper"
    "nix"
    "nixfmt-tree"
    "nixfmt"
    "nodejs"
    "openssh"
    "opnix"
    "prometheus-node-exporter"
    "shellcheck"
    "systemd"
  ] (name: package name { });

  pkgs = named // {
    inherit lib path system;
    stdenv = {
      hostPlatform = {
        inherit system;
        isLinux = true;
      };
      mkDerivation = make;
    };
    stdenvNoCC = {
      inherit (pkgs.stdenv) hostPlatform;
      mkDerivation = make;
    };
    buildGo126Module = make;
    buildGoModule = make;
    mkShell = { packages, ... }: package "shell" { inherit packages; };
    mkShellNoCC = pkgs.mkShell;
    writeText = name: text: package name { inherit text; };
    writeTextFile = { name, text, ... }: package name { inherit text; };
    writeTextDir = file: text: package (baseNameOf file) { inherit text; };
    writeShellScript = name: text: package name { inherit text; };
    writeShellScriptBin = name: text: package name { inherit text; };
    writeShellApplication = { name, text, runtimeInputs ? [ ], ... }: package name { inherit text runtimeInputs; };
    runCommand = name: environment: text: package name (environment // { inherit text; });
    linkFarm = name: entries: package name { text = builtins.toJSON entries; };
    symlinkJoin = { name, paths, ... }: package name { text = toString paths; };
    formats.json = _: {
      type = lib.types.json;
      generate = name: value: package name { text = builtins.toJSON value; };
    };
    formats.toml = _: {
      type = lib.types.json;
      generate = name: value: package name { text = builtins.toJSON value; };
    };
    extend = overlay: let final = pkgs // overlay final pkgs; in final;
  };
in
pkgs
