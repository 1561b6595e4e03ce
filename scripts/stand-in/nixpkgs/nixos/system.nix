# Assertions, warnings, and the system that is only there if all assertions hold.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  failed = map (assertion: assertion.message) (lib.filter (assertion: !assertion.assertion) config.assertions);
  text = types.submodule {
    options = {
      text = mkOption { type = types.lines; };
      deps = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
      supportsDryActivation = mkOption {
        type = types.bool;
        default = false;
      };
    };
  };
in
{
  options = {
    assertions = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            assertion = mkOption { type = types.bool; };
            message = mkOption { type = types.str; };
          };
        }
      );
      default = [ ];
    };
    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };

    nixpkgs = {
      hostPlatform = mkOption { type = types.str; };
      pkgs = mkOption { type = types.raw; };
      overlays = mkOption {
        type = types.listOf types.raw;
        default = [ ];
      };
      config = mkOption {
        type = types.attrs;
        default = { };
      };
    };

    system = {
      stateVersion = mkOption { type = types.str; };
      configurationRevision = mkOption {
        type = types.nullOr types.str;
        default = null;
      };
      name = mkOption {
        type = types.str;
        default = config.networking.hostName;
      };
      nixos = {
        label = mkOption {
          type = types.str;
          default = "26.05.stand-in";
        };
        release = mkOption {
          type = types.str;
          default = "26.05";
          readOnly = true;
        };
      };
      build = mkOption {
        type = types.lazyAttrsOf types.raw;
        default = { };
      };
      activationScripts = mkOption {
        type = types.attrsOf (types.either types.str text);
        default = { };
        # As in NixOS, where a script may be a string, and one is made of them all.
        apply = scripts: scripts // { script = toString (map (script: script.text or script) (lib.attrValues scripts)); };
      };
    };

    environment = {
      systemPackages = mkOption {
        type = types.listOf types.package;
        default = [ ];
      };
      variables = mkOption {
        type = types.attrsOf types.str;
        default = { };
      };
      etc = mkOption {
        type = types.attrsOf (
          types.submodule {
            options = {
              enable = mkOption {
                type = types.bool;
                default = true;
              };
              text = mkOption {
                type = types.nullOr types.lines;
                default = null;
              };
              source = mkOption {
                type = types.nullOr types.path;
                default = null;
              };
              mode = mkOption {
                type = types.str;
                default = "symlink";
              };
              user = mkOption {
                type = types.str;
                default = "+0";
              };
              group = mkOption {
                type = types.str;
                default = "+0";
              };
            };
          }
        );
        default = { };
      };
    };

    time.timeZone = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    i18n.defaultLocale = mkOption {
      type = types.str;
      default = "en_US.UTF-8";
    };
    documentation.enable = mkOption {
      type = types.bool;
      default = true;
    };
  };

  config.system.build.toplevel =
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
    else
      lib.foldl' (system: message: lib.warn message system) (
        pkgs.writeText "nixos-system-${config.system.name}-${config.system.nixos.label}" (
          builtins.toJSON {
            inherit (config.systemd) services paths timers tmpfiles;
            inherit (config.environment) etc;
          }
        )
      ) config.warnings;
}
