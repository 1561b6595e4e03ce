# What hdeploy asks a flake: a function from the wanted hosts to a function
# from the flake's outputs to the answer. Only what is named here is forced.
wanted: outputs:
let
  inherit (builtins)
    attrNames elemAt filter foldl' genList head isAttrs isList isString
    length listToAttrs map mapAttrs tail trace;

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

  opnix = service: {
    tokenFile = text (service.tokenFile or null);
    secrets = mapAttrs (secret service) (service.secrets or { });
  };

  secret = service: name: value:
    texts [ "owner" "group" "mode" ] value // {
      path = text (
        service.secretPaths.${name} or (
          if (value.path or null) != null then value.path
          else "${toString (service.outputDir or "/var/lib/opnix/secrets")}/${name}"
        )
      );
      services =
        let services = value.services or [ ]; in
        if isAttrs services then attrNames services
        else if isList services then filter isString services
        else [ ];
    };

  agent = config: service: {
    settings = texts [ "baseDirectory" "clusterJoinTokenPath" "binaryCachesPath" "apiBaseUrl" ] (service.settings or { });
    hostName = text (config.networking.hostName or null);
    restartSec = text (config.systemd.services.hercules-ci-agent.serviceConfig.RestartSec or null);
  };

  expectations = config: {
    services = {
      onepassword-secrets = enabled (config.services.onepassword-secrets or null) opnix;
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
