# What a host can have of hdeploy before anybody deploys to it. Without this module
# everything works too: then the agent leaves a unit like this one for the next boot
# while a deployment is under way, where /etc can be written and lasts.
{ config, lib, ... }:
let
  cfg = config.services.hdeploy;
in
{
  options.services.hdeploy = {
    enable = lib.mkEnableOption "settling, at boot, what a deployment by hdeploy left unfinished";
    agent = lib.mkOption {
      type = lib.types.package;
      description = "The package of hdeploy-agent that settles at boot.";
    };
  };

  config = lib.mkIf cfg.enable {
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
