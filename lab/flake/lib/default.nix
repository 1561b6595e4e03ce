# nixosConfiguration NAME SETTINGS: one host of the lab. SETTINGS is the content of hosts/NAME.json; every field has a default:
#
#   loader               "grub" | "systemd-boot"
#   revision             any string: another one gives another toplevel that restarts lab-marker.service, nothing else
#   hostName             the attribute's name; setHostName = false leaves the host's name alone
#   configurationLimit   generations the boot loader lists (3)
#   specialisations      names of variants below specialisation/
#   admins               login users with the deployer's key and sudo without a password (["admin"])
#   authorizedKeys       further lines for every login's authorized keys
#   sshdPort             the port of sshd (22)
#   sshd                 lines of sshd_config before all others, which they overrule ([])
#   sftp                 false: sshd offers no SFTP (true)
#   kernel               version of the kernel: another one means that a reboot is needed
#   switchInhibitors     object merged into switch-inhibitors: a key that differs from the running system's refuses switch and test
#   managerRevision      any string: another one changes system.conf, so that the switch re-executes systemd
#   payloadMiB           incompressible data in the closure (0), in payloadPaths store paths (1); payloadSeed gives other data
#   extraUnits           { "name.service": "unit text" }, wanted by multi-user.target
#   expectations         false: the configuration has no options of OpNix and Hercules (true)
#   faults               see faults.nix
#   opnix, hercules      present, even as {}: the service is there; hercules brings opnix. Their knobs: services.nix
{ tools, deployerKey }:
let
  derive = import ./derive.nix { inherit tools; };

  defaults = name: {
    loader = "grub";
    revision = "1";
    hostName = name;
    setHostName = true;
    configurationLimit = 3;
    specialisations = [ ];
    admins = [ "admin" ];
    authorizedKeys = [ ];
    sshdPort = 22;
    sshd = [ ];
    sftp = true;
    kernel = "6.12.30";
    switchInhibitors = { };
    managerRevision = "1";
    payloadMiB = 0;
    payloadPaths = 1;
    payloadSeed = "1";
    extraUnits = { };
    expectations = true;
    faults = { };
    opnix = null;
    hercules = null;
  };

  checked =
    name: settings:
    let
      known = defaults name;
      unknown = builtins.filter (key: !(known ? ${key})) (builtins.attrNames settings);
    in
    if unknown != [ ] then
      throw "host ${name}: unknown setting ${builtins.head unknown}"
    else if !(builtins.elem (settings.loader or "grub") [ "grub" "systemd-boot" ]) then
      throw "host ${name}: unknown loader ${settings.loader}"
    else
      known // settings;

  system =
    host:
    let
      faults = import ./faults.nix { inherit derive host; };
      services = import ./services.nix { inherit derive host faults; };
      units = import ./units.nix { inherit derive host faults services; };
      etc = import ./etc.nix {
        inherit derive host services units deployerKey;
      };
    in
    {
      inherit services units;
      toplevel = import ./toplevel.nix {
        inherit derive host faults services etc;
        specialisation = name: (system (host // { specialisations = [ ]; revision = "${host.revision}+${name}"; })).toplevel;
      };
    };
in
{
  profile = systems: import ./profiles.nix { inherit derive systems; };

  nixosConfiguration =
    name: settings:
    let
      host = checked name settings;
      built = system host;
    in
    {
      config = {
        system.build.toplevel = built.toplevel;
        system.nixos.version = derive.version;
        networking.hostName = if host.setHostName then host.hostName else "";
        nixpkgs.hostPlatform.system = derive.system;
        systemd.services = built.units.services;
        systemd.units = built.units.definitions;
        users = built.services.accounts;
        services =
          if host.expectations then
            built.services.options // { openssh = { enable = true; ports = [ host.sshdPort ]; }; }
          else
            { };
      };
    };
}
