# What hdeploy asks a flake: a function from the wanted hosts to a function
# from the flake's outputs to the answer. Only what is named here is forced.
wanted: outputs:
let
  inherit (builtins)
    attrNames concatStringsSep elemAt filter foldl' genList head isAttrs isList
    isString length listToAttrs map mapAttrs split substring tail trace;

  take = n: list: genList (elemAt list) (if length list < n then length list else n);

  # null where the path exists, else how far it goes and what there is instead.
  gap = set: path: gone:
    if path == [ ] then null
    else if isAttrs set && set ? ${head path} then gap set.${head path} (tail path) (gone ++ [ (head path) ])
    else {
      at = gone ++ [ (head path) ];
      available = if isAttrs set then take 500 (attrNames set) else null;
    };

  at = foldl' (set: name: set.${name}) outputs;

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
    settings = texts [ "baseDirectory" "clusterJoinTokenPath" "binaryCachesPath" "apiBaseUrl" ] (service.settings or { });
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

  describe = host:
    let
      system = at host.path;
      config = if host.config == null then null else at host.config;
    in
    if !(isAttrs system && system.type or null == "derivation")
    then throw "${host.attribute} is not a derivation"
    else {
      inherit (host) host;
      derivation = text system.drvPath;
      output = system.outputName or "out";
      out = text system.outPath;
      system = system.system;
      hostName = if config == null then null else text (config.networking.hostName or null);
      expectations = if config == null then null else expectations config;
    };

  missing = filter (host: host.gap != null)
    (map (host: { inherit (host) host; gap = gap outputs host.place [ ]; }) wanted);
in
{ nix = builtins.nixVersion; }
// (
  if missing != [ ] then { inherit missing; }
  else { hosts = map (host: trace "hdeploy evaluates ${host.host}" (describe host)) wanted; }
)
