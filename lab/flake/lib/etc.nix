# The etc directory of a toplevel; `activate` links each of its files into /etc by way of /etc/static.
{ derive, host, faults, services, units, deployerKey }:
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
  // (if host.setHostName then { "hostname" = "${host.hostName}\n"; } else { })
  // builtins.listToAttrs (
    map (login: {
      name = "ssh/authorized_keys.d/${login}";
      value = keys;
    }) logins
  );
in
{
  # Linked one by one. systemd/system is one link.
  paths = builtins.attrNames files ++ [ "systemd/system" ];

  directory = derive.tree "etc" (
    map (path: {
      inherit path;
      text = files.${path};
    }) (builtins.attrNames files)
    ++ [
      {
        path = "systemd/system";
        link = "${units.directory}";
      }
    ]
  );
}
