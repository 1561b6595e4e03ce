# What a host can have of hdeploy before anybody deploys to it. Without this module
# everything works too: then the agent is uploaded and run as root by whatever sudo
# allows, and leaves a unit like this one for the next boot while a deployment is under
# way, where /etc can be written and lasts.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.hdeploy;

  # One path for all versions: what sudo and doas allow, and `agent` in deploy.toml.
  path = "/run/current-system/sw/bin/hdeploy-agent";
in
{
  imports = [
    ./logins.nix
    ./textfile.nix
  ];

  options.services.hdeploy = {
    enable = lib.mkEnableOption "the agent of hdeploy at ${path}, which also settles, at boot, what a deployment left unfinished";
    agent = mkOption {
      type = types.package;
      description = "The package of hdeploy-agent.";
    };
    users = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "deploy" ];
      description = ''
        Login users that may run `${path} serve` as root, and by this rule nothing else.
        The agent activates what it is told to: whoever may run it is root in effect.
      '';
    };
    requirePassword = mkOption {
      type = types.bool;
      default = false;
      description = "Whether these users are asked for their password: `elevation_password` in deploy.toml.";
    };
    trusted = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether these users may import paths that nobody signed (`nix.settings.trusted-users`).
        Otherwise closures need a signature by one of `nix.settings.trusted-public-keys`.
      '';
    };
    declaredKeys = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the keys of the login users must be part of the configuration, in
        `users.users.<name>.openssh.authorizedKeys`. A key that only a secret brings is
        state: a rollback does not restore it, and without 1Password there is none. Switch
        this off where users log in by certificates or by a command that knows their keys.
      '';
    };
    textfile = {
      enable = lib.mkEnableOption "metrics of deployments for the textfile collector of Prometheus' node exporter";
      directory = mkOption {
        # It becomes a word of three units and of the exporter's command.
        type = types.strMatching "/[A-Za-z0-9_./+@-]+";
        default = "/var/lib/prometheus-node-exporter-textfile";
        description = ''
          Where {file}`hdeploy.prom` is written, after each deployment and every five
          minutes. The node exporter of this host is told to look there.
        '';
      };
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.agent ];

    # What a boot finds of the one before: the record, and why it went back.
    systemd.tmpfiles.settings."10-hdeploy"."/var/lib/hdeploy".d = {
      mode = "0700";
      user = "root";
      group = "root";
    };
    services.journald.storage = lib.mkDefault "persistent";

    security.sudo.extraRules = lib.mkIf (cfg.users != [ ]) [
      {
        inherit (cfg) users;
        runAs = "root";
        commands = [
          {
            command = "${path} serve";
            options = lib.optional (!cfg.requirePassword) "NOPASSWD";
          }
        ];
      }
    ];
    security.doas.extraRules = lib.mkIf (cfg.users != [ ]) [
      {
        inherit (cfg) users;
        runAs = "root";
        noPass = !cfg.requirePassword;
        cmd = path;
        args = [ "serve" ];
      }
    ];
    nix.settings.trusted-users = lib.mkIf cfg.trusted cfg.users;

    # The agent knows a unit of its own by this name, which this one goes before.
    systemd.services.hdeploy-resume = {
      description = "hdeploy: settle what the boot before left";
      wantedBy = [ "multi-user.target" ];
      after = [ "local-fs.target" ];
      before = [ "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      # A switch may be a deployment of hdeploy's, in the middle of its trial.
      restartIfChanged = false;
      unitConfig = {
        ConditionPathExists = [
          "|/var/lib/hdeploy/transaction.json"
          "!/run/hdeploy/lock"
        ];
        ConditionPathExistsGlob = "|/var/lib/hdeploy/per-profile/*/transaction.json";
        DefaultDependencies = false;
        IgnoreOnIsolate = true;
        WantsMountsFor = "/boot /nix/store /nix/var /var/lib/hdeploy";
      };
      # It starts units that do the work, so that no boot waits for it or fails by it.
      serviceConfig = {
        Type = "exec";
        ExecStart = "-${cfg.agent}/bin/hdeploy-agent resume";
        OOMScoreAdjust = -900;
        UMask = "0077";
      };
    };
  };
}
