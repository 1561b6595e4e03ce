# Who deploys must be able to log in whatever becomes of the secrets.
{ config, lib, ... }:
let
  cfg = config.services.hdeploy;
  users = config.users.users;

  opnix = config.services.onepassword-secrets or { enable = false; };
  paths = if opnix.enable then opnix.secretPaths else { };

  # The secret that is this user's authorized_keys.
  secretsOf = user: lib.filter (name: paths.${name} == "${user.home}/.ssh/authorized_keys") (lib.attrNames paths);
  declares = user: user.openssh.authorizedKeys.keys != [ ] || user.openssh.authorizedKeys.keyFiles != [ ];

  exists = name: {
    assertion = users ? ${name};
    message = "services.hdeploy.users has ${name}, and users.users does not.";
  };
  hasKey = name: why: {
    assertion = declares users.${name};
    message = ''
      ${why}, and users.users.${name}.openssh.authorizedKeys has no key. What a secret brings is state: no rollback restores it, and a host that
      cannot ask for it has none, so that nobody gets in to mend that. Declare at least one key there, or set
      services.hdeploy.declaredKeys = false.'';
  };
  byHdeploy = lib.filter (name: users ? ${name}) cfg.users;
  byOpnix = lib.filter (name: !(lib.elem name byHdeploy) && secretsOf users.${name} != [ ]) (lib.attrNames users);
in
{
  config = lib.mkIf cfg.enable {
    assertions =
      map exists cfg.users
      ++ lib.optionals cfg.declaredKeys (
        map (name: hasKey name "hdeploy logs in as ${name}") byHdeploy
        ++ map (
          name: hasKey name "services.onepassword-secrets.secrets.${lib.head (secretsOf users.${name})} writes the login keys of ${name}"
        ) byOpnix
      );

    warnings = lib.optional (lib.elem config.services.journald.storage [ "volatile" "none" ]) ''
      services.journald.storage is ${config.services.journald.storage}: after a deployment that ends in a reboot, nothing tells why it was taken back.'';
  };
}
