# services.hercules-ci-agent: the options, units, user and order that nixpkgs gives it.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  cfg = config.services.hercules-ci-agent;
  configuration = pkgs.writeText "hercules-ci-agent.toml" (builtins.toJSON cfg.settings);
  test = "${lib.getExe cfg.package} --config ${configuration} --test-configuration";

  settings =
    { config, ... }:
    {
      freeformType = types.attrsOf types.json;
      options = {
        apiBaseUrl = option types.str "https://hercules-ci.com";
        baseDirectory = option types.path "/var/lib/hercules-ci-agent";
        concurrentTasks = option (types.either types.ints.positive (types.enum [ "auto" ])) "auto";
        labels = option types.json { };
        workDirectory = option types.path (config.baseDirectory + "/work");
        staticSecretsDirectory = option types.path (config.baseDirectory + "/secrets");
        clusterJoinTokenPath = option types.path (config.staticSecretsDirectory + "/cluster-join-token.key");
        binaryCachesPath = option types.path (config.staticSecretsDirectory + "/binary-caches.json");
        secretsJsonPath = option types.path (config.staticSecretsDirectory + "/secrets.json");
      };
    };
in
{
  options.services.hercules-ci-agent = {
    enable = lib.mkEnableOption "the Hercules CI agent";
    package = lib.mkPackageOption pkgs "hercules-ci-agent" { };
    settings = option (types.submodule settings) { };
    tomlFile = option types.path "${configuration}";
  };

  config = lib.mkIf cfg.enable {
    nix.settings.trusted-users = [ "hercules-ci-agent" ];
    services.hercules-ci-agent.settings.labels.nixos.release = config.system.nixos.release;
    systemd.services.hercules-ci-agent = {
      wantedBy = [ "multi-user.target" ];
      after = [ "network-online.target" ];
      wants = [ "network-online.target" ];
      path = [ config.nix.package ];
      startLimitBurst = 30 * 1000000;
      serviceConfig = {
        User = "hercules-ci-agent";
        ExecStart = "${lib.getExe cfg.package} --config ${configuration}";
        ExecStartPre = test;
        Restart = "on-failure";
        RestartSec = 120;
        OOMPolicy = "continue";
        LimitSTACK = 256 * 1024 * 1024;
      };
    };
    systemd.paths.hercules-ci-agent-restart-files = {
      wantedBy = [ "hercules-ci-agent.service" ];
      pathConfig = {
        Unit = "hercules-ci-agent-restarter.service";
        PathChanged = [
          cfg.settings.clusterJoinTokenPath
          cfg.settings.binaryCachesPath
        ];
      };
    };
    systemd.services.hercules-ci-agent-restarter = {
      serviceConfig.Type = "oneshot";
      script = "sleep 10; systemctl is-active hercules-ci-agent && ${test} && systemctl restart hercules-ci-agent";
    };
    users.users.hercules-ci-agent = {
      home = cfg.settings.baseDirectory;
      createHome = true;
      group = "hercules-ci-agent";
      description = "Hercules CI Agent system user";
      isSystemUser = true;
    };
    users.groups.hercules-ci-agent = { };
  };
}
