# What hdeploy reads of a NixOS configuration, for its own evaluation and for `lib.expectations` of the flake, so that a
# manifest says what a run with the flake would find. Only what is named here is forced.
let
  inherit (builtins)
    attrNames concatStringsSep elemAt filter head isAttrs isList isString length listToAttrs map mapAttrs match split substring;

  # Never the value itself: to print a path value would copy the file that it
  # names, perhaps a secret, into the store.
  text = value: if value == null then null else builtins.unsafeDiscardStringContext (toString value);

  texts = names: set: listToAttrs (map (name: { inherit name; value = text (set.${name} or null); }) names);

  enabled = service: read:
    if service == null then null
    else if !(service.enable or false) then { enable = false; }
    else { enable = true; } // read service;

  opnix = units: service: {
    tokenFile = text (service.tokenFile or null);
    version = version (units.opnix-secrets.script or null);
    configFiles = length (service.configFiles or [ ]);
    services = if integrated service then strings (service.systemdIntegration.services or [ ]) else [ ];
    secrets = mapAttrs (secret service) (service.secrets or { });
  };

  # OpNix names no version; the store path of its program does.
  version = script:
    let found = if isString script then split "-opnix-([0-9.]+)/bin/opnix" (text script) else [ ]; in
    if length found > 1 then head (elemAt found 1) else null;

  # Without it OpNix orders and restarts nothing.
  integrated = service: service.systemdIntegration.enable or true;

  strings = list: if isList list then map text (filter isString list) else [ ];

  secret = service: name: value:
    texts [ "owner" "group" "mode" ] value // {
      path = place service name value;
      symlinks = strings (value.symlinks or [ ]);
      services =
        let services = value.services or [ ]; in
        if !(integrated service) then [ ]
        else if isAttrs services then attrNames services
        else strings services;
    };

  # As OpNix finds it: variables in braces, below outputDir if it is relative.
  # Other variables, which may hold anything, are not forced.
  place = service: name: value:
    let
      written = text (service.secretPaths.${name} or (if (value.path or null) != null then value.path else name));
      variables = (service.defaults or { }) // (value.variables or { });
      path = concatStringsSep "" (map
        (part: if isString part then part else text (variables.${head part} or "{${head part}}"))
        (split "\\{([^}]+)}" written));
    in
    if substring 0 1 path == "/" then path
    else "${text (service.outputDir or "/var/lib/opnix/secrets")}/${path}";

  agent = config: service: {
    settings = texts [ "baseDirectory" "clusterJoinTokenPath" "binaryCachesPath" "secretsJsonPath" "apiBaseUrl" ] (service.settings or { });
    hostName = text (config.networking.hostName or null);
    restartSec = text (config.systemd.services.hercules-ci-agent.serviceConfig.RestartSec or null);
  };

  expectations = config: {
    services = {
      onepassword-secrets = enabled (config.services.onepassword-secrets or null) (opnix (config.systemd.services or { }));
      hercules-ci-agent = enabled (config.services.hercules-ci-agent or null) (agent config);
    };
    units = filter (name: (config.systemd.services or { }) ? ${name})
      [ "opnix-secrets" "onepassword-secrets" "hercules-ci-agent" ];
  };
  # nix.Manifest. The system is named and not needed: a manifest is written without a
  # build, and whoever keeps it keeps no system with it.
  manifest = configuration:
    let inherit (configuration) config; inherit (config.system.build) toplevel; in {
      version = 1;
      hostName = text (config.networking.hostName or null);
      inherit (toplevel) system;
      toplevel = text toplevel.outPath;
      expectations = expectations config;
    };
in
{ inherit enabled expectations manifest secret strings text version; }
