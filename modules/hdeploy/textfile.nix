# How the last deployment ended, for whoever watches the host by Prometheus.
{ config, lib, ... }:
let
  cfg = config.services.hdeploy;
  inherit (cfg.textfile) directory;
in
{
  config = lib.mkIf (cfg.enable && cfg.textfile.enable) {
    systemd.tmpfiles.settings."10-hdeploy".${directory}.d = {
      mode = "0755";
      user = "root";
      group = "root";
    };

    systemd.services.hdeploy-metrics = {
      description = "hdeploy: metrics of deployments";
      # A deployment takes many steps, and none of them may be one too many.
      startLimitIntervalSec = 0;
      # It looks, and no system is bad because this fails.
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "-${cfg.agent}/bin/hdeploy-agent metrics ${directory}/hdeploy.prom";
        UMask = "0022";
        PrivateNetwork = true;
        ProtectHome = true;
        ProtectSystem = "strict";
        ReadWritePaths = [ "-${directory}" ];
      };
    };
    systemd.paths.hdeploy-metrics = {
      description = "hdeploy: a deployment went on";
      wantedBy = [ "multi-user.target" ];
      pathConfig.PathChanged = [
        "/var/lib/hdeploy/transaction.json"
        "/var/lib/hdeploy/history"
      ];
    };
    # What runs and what boots also changes without hdeploy.
    systemd.timers.hdeploy-metrics = {
      description = "hdeploy: metrics of deployments";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnActiveSec = "10s";
        OnUnitActiveSec = "5min";
      };
    };

    services.prometheus.exporters.node.extraFlags = [ "--collector.textfile.directory=${directory}" ];
  };
}
