# sudo and doas.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  submodules = options: mkOption {
    type = types.listOf (types.submodule { inherit options; });
    default = [ ];
  };
in
{
  options.security = {
    sudo = {
      enable = option types.bool true;
      wheelNeedsPassword = option types.bool true;
      extraRules = submodules {
        users = option (types.listOf (types.either types.str types.int)) [ ];
        groups = option (types.listOf (types.either types.str types.int)) [ ];
        host = option types.str "ALL";
        runAs = option types.str "ALL:ALL";
        commands = mkOption {
          type = types.listOf (
            types.either types.str (
              types.submodule {
                options = {
                  command = mkOption { type = types.str; };
                  options = option (types.listOf (types.enum [ "NOPASSWD" "PASSWD" "NOEXEC" "EXEC" "SETENV" "NOSETENV" ])) [ ];
                };
              }
            )
          );
        };
      };
    };
    doas = {
      enable = option types.bool false;
      extraRules = submodules {
        noPass = option types.bool false;
        noLog = option types.bool false;
        persist = option types.bool false;
        keepEnv = option types.bool false;
        users = option (types.listOf (types.either types.str types.int)) [ ];
        groups = option (types.listOf (types.either types.str types.int)) [ ];
        runAs = option (types.nullOr types.str) null;
        cmd = option (types.nullOr types.str) null;
        args = option (types.nullOr (types.listOf types.str)) null;
      };
    };
  };
}
