# Nix and its settings, of which any name may be set.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  strings = default: mkOption {
    type = types.listOf types.str;
    inherit default;
  };
in
{
  options.nix = {
    enable = mkOption {
      type = types.bool;
      default = true;
    };
    package = mkOption {
      type = types.package;
      default = pkgs.nix;
    };
    settings = mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf (types.oneOf [
          types.bool
          types.int
          types.str
          types.path
          (types.listOf types.str)
        ]);
        options = {
          trusted-users = strings [ ];
          allowed-users = strings [ "*" ];
          trusted-public-keys = strings [ ];
          substituters = strings [ ];
          auto-optimise-store = mkOption {
            type = types.bool;
            default = false;
          };
        };
      };
    };
    gc = {
      automatic = mkOption {
        type = types.bool;
        default = false;
      };
      dates = mkOption {
        type = types.either types.singleLineStr (types.listOf types.str);
        default = "03:15";
      };
      options = mkOption {
        type = types.singleLineStr;
        default = "";
      };
    };
  };
  config.nix.settings.trusted-users = [ "root" ];
}
