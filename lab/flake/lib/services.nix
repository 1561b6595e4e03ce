# sshd, Nix, OpNix and the Hercules CI agent of a host.
#
# Knobs of "opnix", an object that enables it:
#   version           "0.8.0" | "0.11.0" (0.11.0): what OpNix and its units do; 0.8.0 restarts services so that the switch hangs
#   secrets           { name: { path, owner, group, mode, services, symlinks, value } } besides those of hercules; default: appSecret in outputDir
#   services          further services that wait for OpNix
#   brokenSecret      true: a reference that the vault does not have (exit 65)
#   unknownOwner      true: a secret of a user that does not exist (exit 1, nothing is fetched)
#   wrongMode         true: secrets are written 0644, whatever is declared
#   fail              "auth" | "network" | "outage" | "rate-limited": the vault cannot be asked (exit 1, 1, 1, 75);
#                     "hang": it never answers
#   watcher           true: a path unit runs OpNix once more when outputDir changes (false)
#   note              any string: another one gives another unit that does the same
#   restartIfChanged  false: a switch leaves a unit whose text changed alone (true)
#   unit              false: no unit at all, as OpNix before 0.7 (true)
#   alias             true: the unit is also called onepassword-secrets.service
# Knobs of "hercules":
#   offline           true or "socket": the service refuses the agent's socket; "mute": it never answers it; "api": nobody listens at all;
#                     "dns": its name is not known; "tls": it speaks no TLS; "http": it answers 503
#   awayAfter         N: the service ends N seconds after its start
#   revoked           true: the service refuses the cluster join token
#   crash             true: the agent dies one second after it is online; N: after N seconds
#   badCaches         true or "parse": binary-caches.json is no JSON; "schema": a cache without publicKeys; "nix": a NixCache without
#                     keys; "kind": a cache without a kind; "unknown-kind": a cache of a kind that is ignored; "none": no cache in it;
#                     "api-version": an apiVersion beside the caches; "missing": no such file
#   badToken          true: the cluster join token is no JWT; "other": it is one of another kind; "new": a good one, but not the usual one;
#                     "empty": the file is empty
#   noConnection      true: the agent says that it is online, and never connects
#   neverOnline       true: the agent never says so
#   tasks             N: the agent has begun N tasks, and ends none
#   handshake, pause  seconds until an attempt to open the socket is given up (30), and between two of them (10)
#   user              false: nobody declares the agent's user, and there is none (true)
#   after             units that the agent starts after ("network-online.target opnix-secrets.service")
#   wanted            false: nothing starts the agent at boot (true)
#   restartSec        seconds between restarts (120)
#   stopSec           seconds until what is left of a stopped agent is killed (90)
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
  userDeclared = herculesEnabled && hercules.user;

  opnix = knobs "opnix" (if host.opnix == null then { } else host.opnix) {
    secrets = {
      appSecret.value = "correct horse battery staple";
    };
    brokenSecret = false;
    unknownOwner = false;
    wrongMode = false;
    fail = "";
    alias = false;
    version = "0.11.0";
    services = [ ];
    watcher = false;
    note = "";
    restartIfChanged = true;
    unit = true;
  };
  hercules = knobs "hercules" (if herculesEnabled then host.hercules else { }) {
    offline = false;
    awayAfter = "";
    revoked = false;
    crash = false;
    badCaches = false;
    badToken = false;
    noConnection = false;
    neverOnline = false;
    tasks = 0;
    user = true;
    handshake = 30;
    pause = 10;
    after = "network-online.target opnix-secrets.service";
    wanted = true;
    restartSec = 120;
    stopSec = 90;
    restartIfChanged = true;
    labelRevision = false;
    restarter = true;
    restarterDelay = 10;
  };

  opnixOld =
    if builtins.elem opnix.version [ "0.8.0" "0.11.0" ] then opnix.version == "0.8.0" else throw "opnix: unknown version ${opnix.version}";
  # The package of 0.8.0 calls itself 0.7.0.
  opnixProgram = "${
    derive.tree "opnix-${if opnixOld then "0.7.0" else opnix.version}" [
      {
        path = "bin/opnix";
        link = derive.tool "opnix";
      }
    ]
  }/bin/opnix";

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
    apiBaseUrl = "https://hercules-ci.com";
    logLevel = "InfoS";
  };

  # Header {"alg":"HS256"}, payload {"sub":"t$lab"}: the shape of a join token, signed by nobody.
  joinToken = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0JGxhYiJ9.c2lnbmVkLWJ5LW5vYm9keQ";
  agentToken =
    if hercules.badToken == true then
      "not-a-token"
    else if hercules.badToken == "other" then
      # The payload is {"sub":"a$lab"}.
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhJGxhYiJ9.c2lnbmVkLWJ5LW5vYm9keQ"
    else if hercules.badToken == "new" then
      # The payload is {"sub":"t$new"}.
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0JG5ldyJ9.c2lnbmVkLWJ5LW5vYm9keQ"
    else if hercules.badToken == "empty" then
      ""
    else
      joinToken;
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
    else if badCaches == "nix" then
      builtins.toJSON {
        lab = {
          kind = "NixCache";
          storeURI = "s3://lab";
        };
      }
    else if badCaches == "kind" then
      builtins.toJSON { lab.publicKeys = [ ]; }
    else if badCaches == "unknown-kind" then
      builtins.toJSON { lab.kind = "AtticCache"; }
    else if badCaches == "none" then
      "{}"
    else if badCaches == "api-version" then
      builtins.toJSON { apiVersion = "v1"; }
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
    // optional herculesEnabled { herculesClusterJoinToken = agentSecret settings.clusterJoinTokenPath agentToken; }
    // optional (herculesEnabled && badCaches != "missing") { herculesBinaryCaches = agentSecret settings.binaryCachesPath caches; };
  secrets = builtins.mapAttrs (
    name: secret:
    {
      path = "${outputDir}/${name}";
      owner = "root";
      group = "root";
      mode = "0600";
      services = [ ];
      symlinks = [ ];
      reference = "op://The Lab/${name}/value";
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
      inherit systemdIntegration;
    }
  );
  systemdIntegration = {
    enable = true;
    inherit (opnix) services;
    restartOnChange = true;
    changeDetection = {
      enable = true;
      hashFile = "/var/lib/opnix/secret-hashes.json";
    };
    errorHandling.maxRetries = 3;
  };
  opnixRun = "${opnixProgram} secret -token-file ${tokenFile} -config ${opnixConfig} -output ${outputDir}";
  opnixScript = ''
    mkdir -p ${outputDir}
    chmod 751 ${outputDir}
    if [ -f ${tokenFile} ]; then
      chown root:onepassword-secrets ${tokenFile}
      chmod 640 ${tokenFile}
    fi
    if [ ! -f ${tokenFile} ]; then
      echo "WARNING: Token file ${tokenFile} does not exist!" >&2
      echo "INFO: Using existing secrets, skipping updates" >&2
      exit 0
    fi
    if [ ! -r ${tokenFile} ]; then
      echo "ERROR: Token file ${tokenFile} is not readable!" >&2
      exit 1
    fi
    if [ ! -s ${tokenFile} ]; then
      echo "ERROR: Token file is empty!" >&2
      exit 1
    fi
    echo "Processing config file: ${opnixConfig}"
    ${opnixRun}
    echo "INFO: Systemd integration enabled - services will be managed automatically"
  '';
  script = name: body: "${derive.tree name [ { path = "start"; text = "set -e\n${body}"; } ]}/start";
  opnixStart = script "opnix-secrets-start" opnixScript;
  opnixEnvironment = ''
    Environment=LAB_OPNIX=${opnix.version}
    Environment=LAB_VAULT=${vault}
    Environment=LAB_FAIL=${opnix.fail}
    Environment=LAB_MODE=${if opnix.wrongMode then "0644" else ""}
  '';
  opnixUnit = ''
    [Unit]
    Description=OpNix Secret Management
    ${if opnix.note == "" then "" else "X-Note=${opnix.note}"}
    ${if opnix.restartIfChanged then "" else "X-RestartIfChanged=false"}
    ${
      if opnixOld then
        ''
          After=network.target
          Wants=network.target
        ''
      else
        ''
          After=network-online.target nss-lookup.target
          Wants=network-online.target
          StartLimitIntervalSec=1h
          StartLimitBurst=2
        ''
    }
    [Service]
    Type=oneshot
    RemainAfterExit=yes
    User=root
    Group=onepassword-secrets
    Restart=on-failure
    ${
      if opnixOld then
        "RestartSec=30"
      else
        ''
          RestartSec=15min
          RestartPreventExitStatus=65 75
        ''
    }
    ${opnixEnvironment}
    ExecStart=/bin/bash ${opnixStart}
  '';
  opnixAgain = script "opnix-secrets-restart-start" ''
    echo "OpNix secrets changed, triggering service restart evaluation..."
    ${opnixRun} || true
    echo "OpNix service restart evaluation completed"
  '';
  watcherUnit = ''
    [Unit]
    Description=Watch for OpNix secret changes

    [Path]
    PathModified=${outputDir}
    Unit=opnix-secrets-restart.service
  '';
  againUnit = ''
    [Unit]
    Description=Restart services when OpNix secrets change

    [Service]
    Type=oneshot
    User=root
    ${opnixEnvironment}
    ExecStart=/bin/bash ${opnixAgain}
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
    After=${hercules.after}
    Wants=network-online.target opnix-secrets.service
    StartLimitBurst=30000000
    ${if hercules.restartIfChanged then "" else "X-RestartIfChanged=false"}

    [Service]
    User=hercules-ci-agent
    ExecStartPre=${agent} --config ${agentConfig} --test-configuration
    ExecStart=${agent} --config ${agentConfig}
    ${if hercules.crash == false then "" else "Environment=LAB_CRASH_AFTER=${toString crashAfter}"}
    ${if hercules.noConnection then "Environment=LAB_NO_CONNECTION=1" else ""}
    ${if hercules.neverOnline then "Environment=LAB_NEVER_ONLINE=1" else ""}
    Environment=LAB_HANDSHAKE=${toString hercules.handshake} LAB_PAUSE=${toString hercules.pause} LAB_TASKS=${toString hercules.tasks}
    Restart=on-failure
    RestartSec=${toString hercules.restartSec}
    TimeoutStopSec=${toString hercules.stopSec}
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
    ${if hercules.offline == "mute" then "Environment=LAB_MUTE_SOCKET=1" else ""}
    ${if hercules.offline == "tls" then "Environment=LAB_NO_TLS=1" else ""}
    ${if hercules.offline == "http" then "Environment=LAB_STATUS=503" else ""}
    ${if hercules.revoked then "Environment=LAB_REVOKED=1" else ""}
    Environment=LAB_AWAY_AFTER=${toString hercules.awayAfter}
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

  sshdConfigText = builtins.concatStringsSep "" (map (line: "${line}\n") host.sshd) + ''
    Port ${toString host.sshdPort}
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
    ${if host.sftp then "Subsystem sftp /usr/lib/openssh/sftp-server" else ""}
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

  # What the services bring into the PATH.
  programs =
    if opnixEnabled && !opnixOld then
      [
        {
          path = "bin/opnix";
          link = opnixProgram;
        }
      ]
    else
      [ ];

  # What config.users shows.
  accounts =
    let
      named = names: builtins.listToAttrs (map (name: { inherit name; value = { inherit name; }; }) names);
      login = home: { inherit home; openssh.authorizedKeys.keys = [ "the deployer's" ] ++ host.authorizedKeys; };
    in
    {
      users =
        named ([ "nobody" "sshd" ] ++ (if userDeclared then [ "hercules-ci-agent" ] else [ ]))
        // builtins.mapAttrs (name: login: login // { inherit name; }) (
          { root = login "/root"; }
          // builtins.listToAttrs (map (name: { inherit name; value = login "/home/${name}"; }) host.admins)
        );
      groups = named (
        [ "root" "nogroup" ]
        ++ host.admins
        ++ (if opnixEnabled then [ "onepassword-secrets" ] else [ ])
        ++ (if userDeclared then [ "hercules-ci-agent" ] else [ ])
      );
    };

  options = {
    onepassword-secrets = {
      enable = opnixEnabled;
    }
    // optional opnixEnabled {
      inherit tokenFile outputDir systemdIntegration;
      secrets = builtins.mapAttrs (name: secret: removeAttrs secret [ "value" ]) secrets;
    };
    hercules-ci-agent = {
      enable = herculesEnabled;
    }
    // optional herculesEnabled { inherit settings; };
  };

  wanted =
    optional (opnixEnabled && opnix.unit) { "opnix-secrets.service" = opnixUnit; }
    // optional (opnixEnabled && opnix.watcher) { "opnix-secrets-watcher.path" = watcherUnit; }
    // optional (herculesEnabled && hercules.wanted) { "hercules-ci-agent.service" = agentUnit; }
    // optional (herculesEnabled && hercules.offline != "api") { "lab-hercules-api.service" = apiUnit; };
  units =
    optional (herculesEnabled && hercules.restarter) restarterUnits
    // optional (herculesEnabled && !hercules.wanted) { "hercules-ci-agent.service" = agentUnit; }
    // optional (opnixEnabled && opnix.watcher) { "opnix-secrets-restart.service" = againUnit; };
  # What else config.systemd.services shows of a service.
  details = optional (opnixEnabled && opnix.unit) { opnix-secrets.script = opnixScript; };
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
      if userDeclared then
        [
          "grep -q '^hercules-ci-agent:' /etc/passwd || useradd --system --user-group --home-dir ${baseDirectory} --no-create-home --shell /usr/sbin/nologin hercules-ci-agent"
          "for directory in ${baseDirectory} ${secretsDirectory} ${baseDirectory}/secretState ${settings.workDirectory} ${settings.workDirectory}/queue; do"
          "  [ -d \"$directory\" ] || install -d -m 0700 -o hercules-ci-agent -g hercules-ci-agent \"$directory\""
          "done"
        ]
      else
        [ ]
    )
    ++ (
      if herculesEnabled then
        [
          "grep -v hercules-ci.com /etc/hosts >/etc/hosts.lab-new"
          (if hercules.offline == "dns" then "" else "echo '127.0.0.1 hercules-ci.com agent-socket.hercules-ci.com' >>/etc/hosts.lab-new")
          "cmp -s /etc/hosts.lab-new /etc/hosts || cat /etc/hosts.lab-new >/etc/hosts"
        ]
      else
        [ ]
    )
  );
}
