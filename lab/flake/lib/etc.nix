# The etc directory of a toplevel; `activate` links each of its files into /etc by way of /etc/static.
{ derive, host, services, units, deployerKey }:
let
  keys = deployerKey + builtins.concatStringsSep "" (map (key: "${key}\n") host.authorizedKeys);
  logins = [ "root" ] ++ host.admins;

  # Units have as little in their PATH as on NixOS, where no /usr/bin holds programs.
  managerConf = ''
    # revision ${host.managerRevision}
    [Manager]
    DefaultEnvironment=PATH=/run/current-system/sw/bin:/run/wrappers/bin
    ManagerEnvironment=PATH=/run/current-system/sw/bin:/run/wrappers/bin
  '';

  files = {
    "NIXOS" = "";
    "os-release" = ''
      NAME=NixOS
      ID=nixos
      VERSION="25.05 (Lab)"
      VERSION_ID="25.05"
      BUILD_ID="${derive.version}"
      PRETTY_NAME="NixOS 25.05 (Lab)"
    '';
    "nix/nix.conf" = services.nixConfigText;
    "ssh/sshd_config" = services.sshdConfigText;
    "systemd/system.conf" = managerConf;
    "lab/revision" = "${host.revision}\n";
    "sudoers.d/lab" = ''
      Defaults secure_path="/run/wrappers/bin:/run/current-system/sw/bin"
      ${builtins.concatStringsSep "\n" (map (login: "${login} ALL=(ALL:ALL) NOPASSWD: ALL") host.admins)}
    '';
  }
  // (if host.setHostName then { "hostname" = "${host.hostName}\n"; } else { });
  # sshd takes no keys from below a directory that a group can write to, and /nix/store is one: these are copied.
  copied = builtins.listToAttrs (
    map (login: {
      name = "ssh/authorized_keys.d/${login}";
      value = keys;
    }) logins
  );
  all = files // copied;
in
{
  # Linked one by one. systemd/system is one link.
  linkedPaths = builtins.attrNames files ++ [ "systemd/system" ];
  copiedPaths = builtins.attrNames copied;

  directory = derive.tree "etc" (
    map (path: {
      inherit path;
      text = all.${path};
    }) (builtins.attrNames all)
    ++ [
      {
        path = "systemd/system";
        link = "${units.directory}";
      }
    ]
  );
}
