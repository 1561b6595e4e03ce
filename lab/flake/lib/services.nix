# sshd, Nix, OpNix and the Hercules CI agent of a host.
#
# Knobs of "opnix", an object that enables it:
#   secrets           { name: { path, owner, group, mode, services, value } } besides those of hercules; default: appSecret in outputDir
#   brokenSecret      true: a reference that the vault does not have (exit 65)
#   unknownOwner      true: a secret of a user that does not exist (exit 1, nothing is fetched)
#   wrongMode         true: secrets are written 0644, whatever is declared
#   fail              "auth" | "network" | "rate-limited": the vault cannot be asked (exit 1, 1, 75)
#   blockingRestart   true: as OpNix before 0.10.1, waits for the restart of services that wait for it: the switch hangs
#   alias             true: the unit is also called onepassword-secrets.service
# Knobs of "hercules":
#   offline           true or "socket": the service refuses the agent's socket; "api": nobody answers at all
#   crash             true: the agent dies one second after it is online; N: after N seconds
#   badCaches         true or "parse": binary-caches.json is no JSON; "schema": a cache without publicKeys;
#                     "unknown-kind": a cache of a kind that is ignored; "missing": no such file
#   badToken          true: the cluster join token is no JWT
#   restartSec        seconds between restarts (120)
#   restartIfChanged  false: a switch leaves the running agent alone (true)
#   labelRevision     true: the revision is among the agent's labels, so that each revision restarts it
#   restarter         false: no path unit restarts the agent restarterDelay seconds (10) after its files were touched
{ derive, host, faults }:
let
  text = builtins.concatStringsSep "\n";
  optional = condition: value: if condition then value else { };

  knobs =
    name: given: defaults:
    let
      unknown = builtins.filter (key: !(defaults ? ${key})) (builtins.attrNames given);
    in
    if unknown != [ ] then throw "${name}: unknown knob ${builtins.head unknown}" else defaults // given;

  herculesEnabled = host.hercules != null;
  opnixEnabled = host.opnix != null || herculesEnabled;

  opnix = knobs "opnix" (if host.opnix == null then { } else host.opnix) {
    secrets = {
      appSecret.value = "correct horse battery staple";
    };
    brokenSecret = false;
    unknownOwner = false;
    wrongMode = false;
    fail = "";
    blockingRestart = false;
    alias = false;
  };
  hercules = knobs "hercules" (if herculesEnabled then host.hercules else { }) {
    offline = false;
    crash = false;
    badCaches = false;
    badToken = false;
    restartSec = 120;
    restartIfChanged = true;
    labelRevision = false;
    restarter = true;
    restarterDelay = 10;
  };

  tokenFile = "/etc/opnix-token";
  outputDir = "/var/lib/opnix/secrets";
  baseDirectory = "/var/lib/hercules-ci-agent";
  secretsDirectory = "${baseDirectory}/secrets";
  settings = {
    inherit baseDirectory;
    workDirectory = "${baseDirectory}/work";
    staticSecretsDirectory = secretsDirectory;
    clusterJoinTokenPath = "${secretsDirectory}/cluster-join-token.key";
    binaryCachesPath = "${secretsDirectory}/binary-caches.json";
    secretsJsonPath = "${secretsDirectory}/secrets.json";
    concurrentTasks = 2;
    apiBaseUrl = "http://127.0.0.1:443";
    logLevel = "InfoS";
  };

  # Header {"alg":"HS256"}, payload {"sub":"t$lab"}: the shape of a join token, signed by nobody.
  joinToken = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0JGxhYiJ9.c2lnbmVkLWJ5LW5vYm9keQ";
  badCaches = if hercules.badCaches == true then "parse" else hercules.badCaches;
  caches =
    if badCaches == "parse" then
      "{ \"lab\": "
    else if badCaches == "schema" then
      builtins.toJSON {
        lab = {
          kind = "CachixCache";
          authToken = "none";
        };
      }
    else if badCaches == "unknown-kind" then
      builtins.toJSON { lab.kind = "AtticCache"; }
    else
      builtins.toJSON {
        lab = {
          kind = "CachixCache";
          publicKeys = [ "lab.cachix.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ];
          signingKeys = [ ];
        };
      };

  agentSecret = path: value: {
    inherit path value;
    owner = "hercules-ci-agent";
    group = "hercules-ci-agent";
    services = [ "hercules-ci-agent" ];
  };
  declared =
    opnix.secrets
    // optional opnix.unknownOwner { orphanSecret.owner = "nosuchuser"; }
    // optional opnix.brokenSecret { brokenSecret = { }; }
    // optional herculesEnabled { herculesClusterJoinToken = agentSecret settings.clusterJoinTokenPath (if hercules.badToken then "not-a-token" else joinToken); }
    // optional (herculesEnabled && badCaches != "missing") { herculesBinaryCaches = agentSecret settings.binaryCachesPath caches; };
  secrets = builtins.mapAttrs (
    name: secret:
    {
      path = "${outputDir}/${name}";
      owner = "root";
      group = "root";
      mode = "0600";
      services = [ ];
      reference = "op://lab/${name}/value";
    }
    // removeAttrs secret [ "value" ]
  ) declared;
  secretNames = builtins.attrNames secrets;

  # What 1Password would answer. A secret without a value is one that was deleted there.
  vault = builtins.toFile "vault.json" (
    builtins.toJSON (
      builtins.listToAttrs (
        map (name: {
          name = secrets.${name}.reference;
          value = declared.${name}.value or "value of ${name}";
        }) (builtins.filter (name: name != "brokenSecret") secretNames)
      )
    )
  );
  opnixConfig = builtins.toFile "opnix-config.json" (
    builtins.toJSON {
      secrets = map (name: secrets.${name}) secretNames;
      systemdIntegration = {
        enable = true;
        restartOnChange = true;
        changeDetection = {
          enable = true;
          hashFile = "/var/lib/opnix/secret-hashes.json";
        };
      };
    }
  );
  opnixStart = builtins.toFile "opnix-secrets-start" ''
    set -euo pipefail
    mkdir -p ${outputDir}
    chmod 751 ${outputDir}
    if [ ! -f ${tokenFile} ]; then
      echo "WARNING: Token file ${tokenFile} does not exist!" >&2
      echo "INFO: No secrets are fetched, those already here stay." >&2
      exit 0
    fi
    chown root:onepassword-secrets ${tokenFile}
    chmod 640 ${tokenFile}
    if [ ! -s ${tokenFile} ]; then
      echo "ERROR: Token file is empty!" >&2
      exit 1
    fi
    exec ${derive.tool "opnix"} secret -token-file ${tokenFile} -config ${opnixConfig} -output ${outputDir}
  '';
  opnixUnit = ''
    [Unit]
    Description=OpNix Secret Management
    After=network-online.target nss-lookup.target
    Wants=network-online.target
    StartLimitIntervalSec=1h
    StartLimitBurst=2

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    User=root
    Group=onepassword-secrets
    Restart=on-failure
    RestartSec=15min
    RestartPreventExitStatus=65 75
    Environment=LAB_VAULT=${vault}
    Environment=LAB_FAIL=${opnix.fail}
    Environment=LAB_MODE=${if opnix.wrongMode then "0644" else ""}
    Environment=LAB_BLOCKING_RESTART=${if opnix.blockingRestart then "1" else ""}
    ExecStart=/bin/bash ${opnixStart}
  '';

  agentConfig = builtins.toFile "hercules-ci-agent.json" (
    builtins.toJSON (
      settings
      // {
        labels = {
          nixos.label = derive.version;
        }
        // optional hercules.labelRevision { nixos.configurationRevision = host.revision; };
      }
    )
  );
  agent = derive.tool "hercules-ci-agent";
  crashAfter = if hercules.crash == true then 1 else hercules.crash;
  agentUnit = ''
    [Unit]
    Description=Hercules CI Agent
    After=network-online.target opnix-secrets.service
    Wants=network-online.target opnix-secrets.service
    StartLimitBurst=30000000
    ${if hercules.restartIfChanged then "" else "X-RestartIfChanged=false"}

    [Service]
    User=hercules-ci-agent
    ExecStartPre=${agent} --config ${agentConfig} --test-configuration
    ExecStart=${agent} --config ${agentConfig}
    ${if hercules.crash == false then "" else "Environment=LAB_CRASH_AFTER=${toString crashAfter}"}
    Restart=on-failure
    RestartSec=${toString hercules.restartSec}
    OOMPolicy=continue
    LimitSTACK=256M
    CapabilityBoundingSet=
    ProtectSystem=full
    ProtectHome=yes
    PrivateTmp=yes
    PrivateMounts=yes
    RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
    RestrictSUIDSGID=yes
    UMask=077
  '';
  apiUnit = ''
    [Unit]
    Description=Answers as hercules-ci.com
    Before=hercules-ci-agent.service

    [Service]
    Type=notify
    NotifyAccess=all
    ${if hercules.offline == true || hercules.offline == "socket" then "Environment=LAB_REFUSE_SOCKET=1" else ""}
    ExecStart=${derive.tool "hercules-api"} 127.0.0.1:443
  '';
  restarterScript = builtins.toFile "hercules-ci-agent-restarter" ''
    sleep ${toString hercules.restarterDelay}
    if ! systemctl is-active --quiet hercules-ci-agent.service; then
      echo "Not restarting hercules-ci-agent because it is not already active."
    elif ${agent} --config ${agentConfig} --test-configuration; then
      systemctl restart hercules-ci-agent.service
    else
      echo "WARNING: Not restarting agent because config is not valid at this time."
    fi
  '';
  restarterUnits = {
    "hercules-ci-agent-restart-files.path" = ''
      [Unit]
      Description=Watches the files of the Hercules CI Agent

      [Path]
      Unit=hercules-ci-agent-restarter.service
      PathChanged=${settings.clusterJoinTokenPath}
      PathChanged=${settings.binaryCachesPath}
    '';
    "hercules-ci-agent-restarter.service" = ''
      [Unit]
      Description=Restarts the Hercules CI Agent after its files changed

      [Service]
      Type=oneshot
      ExecStart=/bin/sh ${restarterScript}
    '';
  };

  sshdConfigText = ''
    Port 22
    HostKey /etc/ssh/ssh_host_ed25519_key
    PermitRootLogin prohibit-password
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    PubkeyAuthentication ${if faults.sshdRefusesKeys then "no" else "yes"}
    AuthorizedKeysFile %h/.ssh/authorized_keys /etc/ssh/authorized_keys.d/%u
    UsePAM yes
    PrintMotd no
    UseDNS no
    SetEnv PATH=/run/wrappers/bin:/run/current-system/sw/bin
    Subsystem sftp /usr/lib/openssh/sftp-server
  '';
  nixConfigText = ''
    experimental-features = nix-command flakes
    substituters =
    trusted-users = ${builtins.concatStringsSep " " ([ "root" ] ++ (if herculesEnabled then [ "hercules-ci-agent" ] else [ ]))}
    build-users-group = nixbld
    sandbox = false
    flake-registry =
    warn-dirty = false
  '';
in
{
  inherit sshdConfigText nixConfigText;
  sshdConfig = builtins.toFile "sshd_config" sshdConfigText;
  nixConfig = builtins.toFile "nix.conf" nixConfigText;

  aliased = opnixEnabled && opnix.alias;

  # What config.users shows.
  accounts =
    let
      named = names: builtins.listToAttrs (map (name: { inherit name; value = { inherit name; }; }) names);
      login = home: { inherit home; openssh.authorizedKeys.keys = [ "the deployer's" ] ++ host.authorizedKeys; };
    in
    {
      users =
        named ([ "nobody" "sshd" ] ++ (if herculesEnabled then [ "hercules-ci-agent" ] else [ ]))
        // builtins.mapAttrs (name: login: login // { inherit name; }) (
          { root = login "/root"; }
          // builtins.listToAttrs (map (name: { inherit name; value = login "/home/${name}"; }) host.admins)
        );
      groups = named (
        [ "root" "nogroup" ]
        ++ host.admins
        ++ (if opnixEnabled then [ "onepassword-secrets" ] else [ ])
        ++ (if herculesEnabled then [ "hercules-ci-agent" ] else [ ])
      );
    };

  options = {
    onepassword-secrets = {
      enable = opnixEnabled;
    }
    // optional opnixEnabled {
      inherit tokenFile outputDir;
      secrets = builtins.mapAttrs (name: secret: removeAttrs secret [ "value" ]) secrets;
    };
    hercules-ci-agent = {
      enable = herculesEnabled;
    }
    // optional herculesEnabled { inherit settings; };
  };

  wanted =
    optional opnixEnabled { "opnix-secrets.service" = opnixUnit; }
    // optional herculesEnabled { "hercules-ci-agent.service" = agentUnit; }
    // optional (herculesEnabled && hercules.offline != "api") { "lab-hercules-api.service" = apiUnit; };
  units = optional (herculesEnabled && hercules.restarter) restarterUnits;
  links =
    (
      if opnixEnabled && opnix.alias then
        [
          {
            path = "onepassword-secrets.service";
            link = "opnix-secrets.service";
          }
        ]
      else
        [ ]
    )
    ++ (
      if herculesEnabled && hercules.restarter then
        [
          {
            path = "hercules-ci-agent.service.wants/hercules-ci-agent-restart-files.path";
            link = "../hercules-ci-agent-restart-files.path";
          }
        ]
      else
        [ ]
    );

  # Users, directories, and the token that an operator would have brought.
  activation = text (
    [ "[ -e ${tokenFile} ] || { (umask 077; echo ops_lab >${tokenFile}.lab-new) && mv ${tokenFile}.lab-new ${tokenFile}; }" ]
    ++ (if opnixEnabled then [ "group onepassword-secrets" ] else [ ])
    ++ (
      if herculesEnabled then
        [
          "grep -q '^hercules-ci-agent:' /etc/passwd || useradd --system --user-group --home-dir ${baseDirectory} --no-create-home --shell /usr/sbin/nologin hercules-ci-agent"
          "for directory in ${baseDirectory} ${secretsDirectory} ${baseDirectory}/secretState ${baseDirectory}/work; do"
          "  [ -d \"$directory\" ] || install -d -m 0700 -o hercules-ci-agent -g hercules-ci-agent \"$directory\""
          "done"
        ]
      else
        [ ]
    )
  );
}
