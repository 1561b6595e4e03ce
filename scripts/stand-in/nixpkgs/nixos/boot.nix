# Boot loaders, kernel modules and file systems.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  strings = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
in
{
  options = {
    boot = {
      loader = {
        timeout = mkOption {
          type = types.nullOr types.int;
          default = 5;
        };
        grub = {
          enable = mkOption {
            type = types.bool;
            default = true;
          };
          device = mkOption {
            type = types.str;
            default = "";
          };
          devices = strings;
          efiSupport = mkOption {
            type = types.bool;
            default = false;
          };
          efiInstallAsRemovable = mkOption {
            type = types.bool;
            default = false;
          };
          configurationLimit = mkOption {
            type = types.int;
            default = 100;
          };
          extraConfig = mkOption {
            type = types.lines;
            default = "";
          };
        };
        systemd-boot = {
          enable = mkOption {
            type = types.bool;
            default = false;
          };
          configurationLimit = mkOption {
            type = types.nullOr types.int;
            default = null;
          };
        };
        efi.canTouchEfiVariables = mkOption {
          type = types.bool;
          default = false;
        };
      };
      initrd = {
        availableKernelModules = strings;
        kernelModules = strings;
      };
      kernelModules = strings;
      kernelParams = strings;
      tmp.cleanOnBoot = mkOption {
        type = types.bool;
        default = false;
      };
    };
    fileSystems = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule {
          options = {
            device = mkOption {
              type = types.nullOr types.nonEmptyStr;
              default = null;
            };
            label = mkOption {
              type = types.nullOr types.nonEmptyStr;
              default = null;
            };
            fsType = mkOption {
              type = types.nonEmptyStr;
              default = "auto";
            };
            options = mkOption {
              type = types.nonEmptyListOf types.nonEmptyStr;
              default = [ "defaults" ];
            };
            autoResize = mkOption {
              type = types.bool;
              default = false;
            };
            neededForBoot = mkOption {
              type = types.bool;
              default = false;
            };
          };
        }
      );
    };
    swapDevices = mkOption {
      type = types.listOf types.attrs;
      default = [ ];
    };
  };
}
