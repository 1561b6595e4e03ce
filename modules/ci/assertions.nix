# What would leave the agent without a secret, each with why and what to do.
{
  config,
  lib,
  options,
  ...
}:
let
  cfg = config.services.ci.herculesCI;
  enabled = config.services.ci.enable && cfg.enable;
  fetched = enabled && cfg.opnix.enable;
  hasOpnix = options.services ? onepassword-secrets;

  opnix = config.services.onepassword-secrets;
  agent = config.services.hercules-ci-agent.settings;
  # What nobody fetches needs no agreement.
  secrets = if hasOpnix && opnix.enable then opnix.secrets else { };
  pathOf = name: opnix.secretPaths.${name};

  # Every user and group of NixOS, by the name that it has on the host.
  named = set: map (key: set.${key}.name) (lib.attrNames set);
  users = named config.users.users;
  groups = named config.users.groups;

  isReference = text: builtins.match "op://[^/]+/[^/]+/.*[^/]" text != null;

  isStatic = name: secret: {
    assertion = lib.elem secret.owner users && lib.elem secret.group groups;
    message = ''
      The secret services.onepassword-secrets.secrets.${name} belongs to ${secret.owner}:${secret.group}, and users.users or users.groups
      has no such name. OpNix looks all owners up before it fetches anything, so that not one secret arrives, those of Hercules CI included.
      A user of systemd's DynamicUser does not exist while its service is stopped: declare a static user and group of that name, or
      let root own the secret and hand it in by LoadCredential.'';
  };

  refers = option: reference: {
    assertion = isReference reference;
    message = "services.ci.herculesCI.opnix.${option} is ${reference}; a reference reads op://VAULT/ITEM/FIELD.";
  };

  # The agent's setting, ours, and OpNix's path are of one file.
  agrees = setting: name: {
    assertion =
      toString agent.${setting} == cfg.${setting}
      && (name == null || !(secrets ? ${name}) || pathOf name == cfg.${setting});
    message = ''
      The agent reads ${toString agent.${setting}}, services.ci.herculesCI.${setting} is ${cfg.${setting}}${
        lib.optionalString (name != null && secrets ? ${name}) ", and OpNix writes ${name} to ${pathOf name}"
      }.
      Set services.ci.herculesCI.${setting} alone; the others follow it.'';
  };

  ours = lib.filter (name: secrets ? ${name}) [
    "herculesClusterToken"
    "herculesBinaryCaches"
    "herculesSecretsJson"
  ];
  isPrivate = name: {
    assertion = lib.elem secrets.${name}.mode [
      "0600"
      "0400"
      "600"
      "400"
    ] && secrets.${name}.owner == "hercules-ci-agent";
    message = "services.onepassword-secrets.secrets.${name} has mode ${secrets.${name}.mode} and owner ${secrets.${name}.owner}; it is the agent's alone: 0600, hercules-ci-agent.";
  };
  isAlone =
    name:
    let
      others = lib.filter (other: other != name && pathOf other == pathOf name) (lib.attrNames secrets);
    in
    {
      assertion = others == [ ];
      message = "OpNix writes ${lib.concatStringsSep ", " others} and ${name} to the same file, ${pathOf name}; ${
        if lib.all (other: lib.elem other ours) others then
          "give each a path of its own in services.ci.herculesCI"
        else
          "remove ${lib.concatStringsSep ", " others}"
      }.";
    };

  # environment.etc is in the Nix store, which everybody can read.
  inStore = path: lib.hasPrefix "/etc/" path && config.environment.etc ? ${lib.removePrefix "/etc/" path};
  staysOut = option: {
    assertion = !(inStore cfg.${option});
    message = ''
      environment.etc has the file of services.ci.herculesCI.${option}, ${cfg.${option}}, and environment.etc is in the Nix store, which
      everybody can read. Replace the secret, and let OpNix bring it, or another program that leaves it out of the store.'';
  };

  token = toString opnix.tokenFile;
  tokenInEtc = lib.removePrefix "/etc/" token;
  # One named script has them all.
  scripts = removeAttrs config.system.activationScripts [ "script" ];
  textOf = script: if lib.isString script then script else script.text;
  scriptsWith = matches: lib.filter (name: matches (textOf scripts.${name})) (lib.attrNames scripts);
  touches = scriptsWith (lib.hasInfix "touch ${token}");
  base = toString agent.baseDirectory;
  chowns = scriptsWith (text: lib.hasInfix "chown -R" text && lib.hasInfix base text);
in
{
  config = lib.mkMerge [
    (lib.mkIf enabled {
      assertions = [
        (agrees "clusterJoinTokenPath" "herculesClusterToken")
        (agrees "binaryCachesPath" "herculesBinaryCaches")
        (agrees "secretsJsonPath" "herculesSecretsJson")
      ]
      ++ map staysOut [
        "clusterJoinTokenPath"
        "binaryCachesPath"
        "secretsJsonPath"
      ];
      warnings = lib.optional (chowns != [ ]) ''
        system.activationScripts.${lib.head chowns} has a chown -R below ${base}. That touches the agent's files at each switch, even where the
        owner is right already, and the path unit of the agent restarts it ten seconds later, with all that it builds. Remove the script: the
        directories are made by systemd-tmpfiles.'';
    })
    (lib.mkIf fetched {
      assertions = [
        {
          assertion = hasOpnix;
          message = ''
            services.ci.herculesCI.opnix.enable needs the NixOS module of OpNix: add opnix.nixosModules.default to the modules of this host, or
            switch it off and bring the files of services.ci.herculesCI by other means.'';
        }
        (refers "clusterJoinTokenReference" cfg.opnix.clusterJoinTokenReference)
        (refers "binaryCachesReference" cfg.opnix.binaryCachesReference)
      ]
      ++ lib.optional (cfg.opnix.secretsJsonReference != null) (
        refers "secretsJsonReference" cfg.opnix.secretsJsonReference
      )
      ++ lib.optionals hasOpnix (
        [
          {
            assertion = opnix.enable;
            message = "services.ci.herculesCI.opnix.enable needs services.onepassword-secrets.enable, which is false.";
          }
          {
            assertion = !(inStore token);
            message = ''
              environment.etc."${tokenInEtc}" is the token of OpNix, and environment.etc is in the Nix store, which everybody can read. Revoke that
              token, and put the new one on the host by hand: opnix token set'';
          }
        ]
        ++ map isPrivate ours
        ++ map isAlone ours
        ++ lib.mapAttrsToList isStatic secrets
      );
      warnings =
        lib.optional (
          secrets != { } && !(config.systemd.services.opnix-secrets.serviceConfig ? RestartPreventExitStatus)
        ) ''
          This OpNix is older than 0.10.1: it waits for a restart of the agent, which waits for OpNix, so that a switch hangs whenever a
          secret of Hercules CI changed. Update the input opnix.''
        ++ lib.optional (hasOpnix && touches != [ ]) ''
          system.activationScripts.${lib.head touches} makes an empty ${token} where there is none. With no file OpNix leaves the old secrets be and
          the switch goes on; with an empty one it fails. Remove the script, and put the token there by: opnix token set'';
    })
  ];
}
