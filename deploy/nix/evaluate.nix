# What hdeploy asks a flake: a function from expectations.nix to one from the wanted
# hosts to one from the flake's outputs to the answer. Only what is named here is forced.
reading: wanted: outputs:
let
  inherit (reading) enabled expectations secret strings text version;
  inherit (builtins)
    attrNames elemAt filter foldl' genList head isAttrs length listToAttrs map match
    removeAttrs substring tail trace;

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
      configurations = take 500 (attrNames configurations);
      sshd = enabled (config.services.openssh or null) (service: {
        ports = filter builtins.isInt
          ((service.ports or [ ]) ++ map (listen: listen.port or null) (service.listenAddresses or [ ]));
        rootLogin = text (service.settings.PermitRootLogin or null);
      });
      agent = enabled (config.services.hdeploy or null) (service: {
        users = strings (service.users or [ ]);
        requirePassword = service.requirePassword or false;
      });
      sudo = isEnabled [ (config.security.sudo or null) (config.security.sudo-rs or null) ];
      doas = isEnabled [ (config.security.doas or null) ];
      herculesRestarts = services.hercules-ci-agent.restartIfChanged or null;
    };

  # null where none of the options exists.
  isEnabled = options:
    let known = filter (option: option != null) options; in
    if known == [ ] then null else builtins.any (option: option.enable or false) known;

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
