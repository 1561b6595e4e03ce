# What hdeploy asks a flake: a function from the wanted hosts to a function
# from the flake's outputs to the answer. Only what is named here is forced.
wanted: outputs:
let
  inherit (builtins)
    attrNames concatStringsSep elemAt filter foldl' genList head isAttrs isList
    isString length listToAttrs map mapAttrs match removeAttrs split substring tail trace;

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

  # Every name stands for itself, or for what is called so. null where there is no such option.
  names = set: if set == null then null else map (key: text (set.${key}.name or key)) (attrNames set);

  unitName = name: if match ".+[.][a-z]+" name == null then "${name}.service" else name;

  keyCount = user:
    let keys = user.openssh.authorizedKeys or { }; in
    length (keys.keys or [ ]) + length (keys.keyFiles or [ ]);

  # What `hdeploy check` looks at. Only names are forced, and the text of OpNix's script, which holds none of its secrets.
  declared = config: login:
    let
      services = config.systemd.services or { };
      secrets = config.services.onepassword-secrets.secrets or { };
      users = config.users.users or null;
      consumers = builtins.concatMap (name: (secret { } name secrets.${name}).services)
        (if config.services.onepassword-secrets.enable or false then attrNames secrets else [ ]);
      looked = filter (name: services ? ${name})
        (attrNames (listToAttrs (map (name: { inherit name; value = null; })
          ([ "opnix-secrets" "onepassword-secrets" "hercules-ci-agent" ]
            ++ map (name: let stem = match "(.+)[.]service" name; in if stem == null then name else head stem) consumers))));
      relations = name: let service = services.${name}; in {
        unit = "${name}.service";
        orders = map unitName (strings (service.after or [ ]));
        wants = map unitName (strings (service.wants or [ ]));
        needs = map unitName (strings ((service.requires or [ ]) ++ (service.bindsTo or [ ]) ++ (service.requisite or [ ])));
      };
      units = config.systemd.units or null;
    in
    {
      users = names users;
      groups = names (config.users.groups or null);
      relations = map relations looked;
      units =
        if units == null then null
        else attrNames units ++ builtins.concatMap (name: strings (units.${name}.aliases or [ ])) (attrNames units);
      opnix =
        if !(services ? opnix-secrets) then null
        else {
          version = version (services.opnix-secrets.script or null);
          # OpNix has it since 0.10.1, which does not wait for the services that wait for it.
          givesUp = (services.opnix-secrets.serviceConfig or { }) ? RestartPreventExitStatus;
        };
      loginKeys = if users == null then null else keyCount (users.${login} or { });
      home = text (users.${login}.home or null);
    };

  configurations = outputs.nixosConfigurations or { };

  # The configuration whose toplevel deploy-rs's activate.nixos has wrapped, by name; null where none is found. It is looked
  # for among those that are called like the node, or like the wrapper, and believed by the derivation that the wrapper needs.
  wrapped = node: wrapper:
    let
      needs = builtins.getContext (builtins.toJSON (removeAttrs (wrapper.drvAttrs or { }) [ "args" "builder" ]));
      start = name: "activatable-nixos-system-${name}-";
      alike = name: name == node || substring 0 (builtins.stringLength (start name)) (wrapper.name or "") == start name;
      made = name: builtins.tryEval (needs ? ${text configurations.${name}.config.system.build.toplevel.drvPath});
      found = filter (name: (made name).value) (filter alike (attrNames configurations));
    in
    if found == [ ] then null else head found;

  describe = host:
    let
      evaluated = at host.path;
      inner = if host.node == null then null else wrapped host.node evaluated;
      system = if inner == null then evaluated else configurations.${inner}.config.system.build.toplevel;
      config =
        if inner != null then configurations.${inner}.config
        else if host.config == null then null
        else at host.config;
    in
    if !(isAttrs evaluated && evaluated.type or null == "derivation")
    then throw "${host.attribute} is not a derivation"
    else {
      inherit (host) host;
      derivation = text evaluated.drvPath;
      output = evaluated.outputName or "out";
      out = text system.outPath;
      wrapper = if host.node == null then null else text evaluated.outPath;
      system = system.system;
      hostName = if config == null then null else text (config.networking.hostName or null);
      expectations = if config == null then null else expectations config;
      declared = if config == null || host.login == null then null else declared config host.login;
    };

  missing = filter (host: host.gap != null)
    (map (host: { inherit (host) host; gap = gap outputs host.place [ ]; }) wanted);
in
{ nix = builtins.nixVersion; }
// (
  if missing != [ ] then { inherit missing; }
  else { hosts = map (host: trace "hdeploy evaluates ${host.host}" (describe host)) wanted; }
)
