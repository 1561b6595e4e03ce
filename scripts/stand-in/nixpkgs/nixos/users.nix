# Users and groups that are there before any service runs.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
in
{
  options.users = {
    mutableUsers = option types.bool true;
    users = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, config, ... }:
          {
            options = {
              enable = option types.bool true;
              name = option types.str name;
              description = option types.str "";
              uid = option (types.nullOr types.int) null;
              group = option types.str "";
              extraGroups = option (types.listOf types.str) [ ];
              home = option types.path "/var/empty";
              createHome = option types.bool false;
              isSystemUser = option types.bool false;
              isNormalUser = option types.bool false;
              shell = option (types.nullOr (types.either types.package types.path)) null;
              hashedPassword = option (types.nullOr types.str) null;
              packages = option (types.listOf types.package) [ ];
              linger = option types.bool false;
              openssh.authorizedKeys = {
                keys = option (types.listOf types.singleLineStr) [ ];
                keyFiles = option (types.listOf types.path) [ ];
              };
            };
            config = lib.mkIf config.isNormalUser {
              group = lib.mkDefault "users";
              home = lib.mkDefault "/home/${name}";
              createHome = lib.mkDefault true;
            };
          }
        )
      );
    };
    groups = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              name = option types.str name;
              gid = option (types.nullOr types.int) null;
              members = option (types.listOf types.str) [ ];
            };
          }
        )
      );
    };
  };

  config = {
    users.users.root = {
      uid = 0;
      group = "root";
      home = "/root";
    };
    users.users.nobody = {
      isSystemUser = true;
      group = "nogroup";
    };
    users.groups = lib.genAttrs [ "root" "wheel" "users" "nogroup" "keys" "systemd-journal" ] (_: { });
    assertions = lib.mapAttrsToList (name: user: {
      assertion = name == "root" || user.isSystemUser != user.isNormalUser;
      message = "Exactly one of users.users.${name}.isSystemUser and users.users.${name}.isNormalUser must be set.";
    }) config.users.users
    ++ lib.mapAttrsToList (name: user: {
      assertion = user.group != "";
      message = "users.users.${name}.group is unset.";
    }) config.users.users;
  };
}
