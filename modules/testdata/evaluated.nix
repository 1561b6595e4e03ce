# What the modules make of hetzner-vps, one setting a line, and what is different where
# everything that they offer is switched on. A function of the flake's outputs.
outputs:
let
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    elem
    filter
    isAttrs
    isString
    mapAttrs
    split
    toJSON
    unsafeDiscardStringContext
    ;

  # The hashes are those of the stand-ins.
  withoutHashes = text: concatStringsSep "/nix/store/HASH-" (filter isString (split "/nix/store/[0-9a-z]{32}-" (unsafeDiscardStringContext text)));

  # What is not set says nothing.
  isEmpty = value: value == null || value == [ ] || value == "" || value == { };
  isLeaf = value: !isAttrs value || value ? outPath;
  flatten =
    path: value:
    if isEmpty value then
      [ ]
    else if isLeaf value then
      [ (withoutHashes "${path} = ${toJSON value}") ]
    else
      concatMap (name: flatten "${path}.${name}" value.${name}) (attrNames value);

  units = mapAttrs (
    _: unit:
    removeAttrs unit [
      "enable"
      "notSocketActivated"
      "overrideStrategy"
    ]
  );
  shown = config: {
    boot.loader = { inherit (config.boot.loader.grub) device configurationLimit; };
    environment = { inherit (config.environment) etc systemPackages; };
    networking = { inherit (config.networking) hostName firewall; };
    nix = { inherit (config.nix) settings gc; };
    security.sudo = { inherit (config.security.sudo) extraRules; };
    services = {
      hercules-ci-agent = { inherit (config.services.hercules-ci-agent) enable settings; };
      onepassword-secrets = { inherit (config.services.onepassword-secrets) enable secrets secretPaths tokenFile; };
      openssh = { inherit (config.services.openssh) enable settings; };
      journald = { inherit (config.services.journald) storage; };
      prometheus-node = { inherit (config.services.prometheus.exporters.node) extraFlags; };
    };
    system = { inherit (config.system) activationScripts; };
    systemd = {
      services = units config.systemd.services;
      paths = units config.systemd.paths;
      timers = units config.systemd.timers;
      tmpfiles = { inherit (config.systemd.tmpfiles) rules settings; };
    };
    users.users = { inherit (config.users.users) root hercules-ci-agent; };
    groups = attrNames config.users.groups;
  };
  lines = config: concatMap (name: flatten name (shown config).${name}) (attrNames (shown config));

  plain = outputs.nixosConfigurations.hetzner-vps;
  everything = plain.extendModules {
    modules = [
      {
        services.ci.herculesCI = {
          restartLast = true;
          concurrentTasks = plain.lib.mkForce "auto";
          opnix.secretsJsonReference = "op://pantherOS/hercules-ci/secrets";
        };
        services.hdeploy = {
          users = [ "deploy" ];
          textfile.enable = true;
        };
        users.users.deploy = {
          isNormalUser = true;
          openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA... ann@laptop" ];
        };
      }
    ];
  };
  before = lines plain.config;
  # Whose assertions hold.
  after = builtins.seq everything.config.system.build.toplevel.drvPath (lines everything.config);
in
concatStringsSep "\n" (
  [ "# hetzner-vps" ]
  ++ before
  ++ [
    ""
    "# with everything that the modules offer, instead"
  ]
  ++ map (line: "- ${line}") (filter (line: !elem line after) before)
  ++ map (line: "+ ${line}") (filter (line: !elem line before) after)
)
+ "\n"
