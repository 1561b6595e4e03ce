# The agent of Hercules CI with the secrets that OpNix fetches from 1Password. It sets
# nixpkgs' services.hercules-ci-agent and, where that is there, OpNix's
# services.onepassword-secrets; what would leave the agent without a secret is an
# assertion, since on the host it is found out one failed boot later.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkOption types;

  ci = config.services.ci;
  cfg = ci.herculesCI;
  enabled = ci.enable && cfg.enable;
  fetched = enabled && cfg.opnix.enable;
  hasOpnix = options.services ? onepassword-secrets;

  user = "hercules-ci-agent";
  agent = config.services.hercules-ci-agent.settings;
  secretPath =
    name: description:
    mkOption {
      # A path literal would copy the secret into the store, which everybody can read.
      type = types.addCheck types.externalPath lib.isString;
      default = "/var/lib/hercules-ci-agent/secrets/${name}";
      inherit description;
    };
  reference =
    field: description:
    mkOption {
      type = types.str;
      default = "op://pantherOS/hercules-ci/${field}";
      description = "${description}, as `op://VAULT/ITEM/FIELD`.";
    };
in
{
  imports = [ ./assertions.nix ];

  options.services.ci = {
    enable = lib.mkEnableOption "continuous integration on this host";

    herculesCI = {
      enable = lib.mkEnableOption "the agent of Hercules CI";

      clusterJoinTokenPath = secretPath "cluster-join-token.key" ''
        The file with the token by which the agent joins its cluster, as the dashboard of
        Hercules CI shows it once.
      '';
      binaryCachesPath = secretPath "binary-caches.json" ''
        The file with the caches that the agent fetches from and pushes to, and their keys.
        `{ }` is one without any.
      '';
      secretsJsonPath = secretPath "secrets.json" ''
        The file with the secrets that effects may use, an SSH key to deploy with among
        them. The agent reads it when it runs an effect; without effects it need not exist.
      '';

      concurrentTasks = mkOption {
        # One task that waits for another needs a second place.
        type = types.either (types.enum [ "auto" ]) (types.ints.between 2 1024);
        default = 4;
        description = ''
          How many builds, evaluations and effects run at once; `"auto"` for as many as the
          host has processors. The agent needs two at least.
        '';
      };

      restartLast = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether a switch leaves the running agent alone, so that hdeploy restarts it after
          everything else was judged: `restart_agent = "last"` in deploy.toml. An effect
          that deploys this host then lives to tell its verdict.

          The price: the new agent is tried last, when a failure of it takes back a system
          that was found well; and a switch without hdeploy leaves the old agent running
          until somebody types `systemctl restart hercules-ci-agent`. A secret that OpNix
          brings during the switch restarts the agent all the same, by the path unit that
          nixpkgs' module has.
        '';
      };

      opnix = {
        enable = lib.mkEnableOption "fetching the agent's secrets from 1Password by OpNix";
        clusterJoinTokenReference = reference "cluster-join-token" "Where 1Password has the cluster join token";
        binaryCachesReference = reference "binary-caches" "Where 1Password has the content of {file}`binary-caches.json`";
        secretsJsonReference = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "op://pantherOS/hercules-ci/secrets";
          description = ''
            Where 1Password has the content of {file}`secrets.json`, as
            `op://VAULT/ITEM/FIELD`. With `null` nobody brings that file.
          '';
        };
      };
    };
  };

  config = lib.mkMerge [
    (lib.mkIf enabled {
      services.hercules-ci-agent = {
        enable = true;
        settings = {
          inherit (cfg)
            clusterJoinTokenPath
            binaryCachesPath
            secretsJsonPath
            concurrentTasks
            ;
        };
      };

      # On the first switch too these are there, and the agent's, before OpNix writes into
      # them: it would make them root's. What is in them keeps owner and time, for a file
      # that changes restarts the agent.
      systemd.tmpfiles.settings."10-hercules-ci" =
        lib.genAttrs
          [
            agent.baseDirectory
            agent.staticSecretsDirectory
          ]
          (_: {
            d = {
              mode = "0700";
              inherit user;
              group = user;
            };
          });
    })

    (lib.mkIf (enabled && cfg.restartLast) {
      systemd.services.hercules-ci-agent.restartIfChanged = false;
      # It waits ten seconds and then restarts the agent; a switch in these would begin anew.
      systemd.services.hercules-ci-agent-restarter.restartIfChanged = false;
    })

    # The secrets are no requirement: while 1Password is away the agent runs with the old
    # ones. OpNix says the same for its consumers, unless its integration is switched off.
    (lib.mkIf fetched {
      systemd.services.hercules-ci-agent = {
        after = [ "opnix-secrets.service" ];
        wants = [ "opnix-secrets.service" ];
      };
    })

    (lib.optionalAttrs hasOpnix {
      services.onepassword-secrets = lib.mkIf fetched {
        enable = lib.mkDefault true;
        secrets =
          let
            secret = reference: path: {
              inherit reference path;
              owner = user;
              group = user;
              mode = "0600";
              # OpNix orders the agent after itself either way.
              services.${user}.restart = !cfg.restartLast;
            };
          in
          {
            herculesClusterToken = secret cfg.opnix.clusterJoinTokenReference cfg.clusterJoinTokenPath;
            herculesBinaryCaches = secret cfg.opnix.binaryCachesReference cfg.binaryCachesPath;
          }
          // lib.optionalAttrs (cfg.opnix.secretsJsonReference != null) {
            # Read anew for each effect.
            herculesSecretsJson = secret cfg.opnix.secretsJsonReference cfg.secretsJsonPath // {
              services = [ ];
            };
          };
      };
      # No release of OpNix has a unit of this name, and much that is written about it does.
      systemd.services.opnix-secrets = lib.mkIf fetched {
        aliases = [ "onepassword-secrets.service" ];
      };
    })
  ];
}
