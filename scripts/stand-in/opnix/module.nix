# services.onepassword-secrets, whose unit is called opnix-secrets.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  strings = option (types.listOf types.str) [ ];
  cfg = config.services.onepassword-secrets;
  integration = cfg.systemdIntegration;

  named =
    secrets:
    let
      bad = lib.filter (name: builtins.match "[a-z][a-zA-Z0-9]*" name == null) (lib.attrNames secrets);
    in
    if bad == [ ] then secrets else throw "Invalid secret key names. OpNix wants camelCase: ${lib.concatStringsSep ", " bad}";

  secret.options = {
    reference = mkOption { type = types.str; };
    kind = option (types.enum [ "field" "file" ]) "field";
    path = option (types.nullOr types.str) null;
    symlinks = strings;
    variables = option (types.attrsOf types.str) { };
    owner = option types.str "root";
    group = option types.str "root";
    mode = option types.str "0600";
    services = option (types.either (types.listOf types.str) (
      types.attrsOf (
        types.submodule {
          options = {
            restart = option types.bool true;
            signal = option (types.nullOr types.str) null;
            after = option (types.listOf types.str) [ "opnix-secrets.service" ];
          };
        }
      )
    )) [ ];
  };

  declared = pkgs.writeText "opnix-declarative-secrets.json" (builtins.toJSON {
    secrets = lib.mapAttrsToList (name: secret: secret // { path = if secret.path == null then name else secret.path; }) (named cfg.secrets);
  });
  consumers = lib.unique (
    integration.services
    ++ lib.concatMap (secret: if lib.isList secret.services then secret.services else lib.attrNames secret.services) (
      lib.attrValues cfg.secrets
    )
  );
in
{
  options.services.onepassword-secrets = {
    enable = lib.mkEnableOption "1Password secrets integration";
    tokenFile = option types.path "/etc/opnix-token";
    configFiles = option (types.listOf types.path) [ ];
    outputDir = option types.str "/var/lib/opnix/secrets";
    users = strings;
    secrets = option (types.attrsOf (types.submodule secret)) { };
    pathTemplate = option (types.nullOr types.str) null;
    defaults = option (types.attrsOf types.str) { };
    secretPaths = option (types.attrsOf types.str) { };
    systemdIntegration = {
      enable = option types.bool true;
      services = strings;
      restartOnChange = option types.bool true;
      changeDetection = {
        enable = option types.bool true;
        hashFile = option types.str "/var/lib/opnix/secret-hashes.json";
      };
      polling = {
        enable = option types.bool false;
        interval = option types.str "6h";
      };
      errorHandling = {
        rollbackOnFailure = option types.bool false;
        continueOnError = option types.bool true;
        maxRetries = option types.int 3;
      };
    };
  };

  config = lib.mkIf cfg.enable {
    services.onepassword-secrets.secretPaths = lib.mapAttrs (
      name: secret: if secret.path != null then secret.path else "${cfg.outputDir}/${name}"
    ) (named cfg.secrets);
    users.groups.onepassword-secrets = { };
    users.users = lib.genAttrs cfg.users (_: {
      extraGroups = [ "onepassword-secrets" ];
    });
    environment.systemPackages = [ pkgs.opnix ];
    assertions = [
      {
        assertion = cfg.configFiles != [ ] || cfg.secrets != { };
        message = "OpNix: At least one of configFiles or secrets must be specified";
      }
    ]
    ++ lib.mapAttrsToList (name: secret: {
      assertion = builtins.match "[0-7]{3,4}" secret.mode != null;
      message = "OpNix secret '${name}': mode '${secret.mode}' is not a valid octal permission (e.g., 0644, 0600)";
    }) cfg.secrets;

    systemd.services = lib.mkMerge [
      {
        opnix-secrets = {
          description = "OpNix Secret Management";
          wantedBy = [ "multi-user.target" ];
          after = [ "network-online.target" "nss-lookup.target" ];
          wants = [ "network-online.target" "nss-lookup.target" ];
          unitConfig = {
            StartLimitIntervalSec = "1h";
            StartLimitBurst = 2;
          };
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            Restart = "on-failure";
            RestartSec = "15min";
            RestartPreventExitStatus = "65 75";
            User = "root";
            Group = "onepassword-secrets";
          };
          script = "/nix/store/00000000000000000000000000000000-opnix-0.11.0/bin/opnix secret -token-file ${cfg.tokenFile} -config ${declared} -output ${cfg.outputDir}";
        };
      }
      (lib.mkIf (integration.enable && integration.changeDetection.enable) {
        opnix-secrets-restart = {
          description = "Restart services when OpNix secrets change";
          serviceConfig = {
            Type = "oneshot";
            User = "root";
          };
          script = "/nix/store/00000000000000000000000000000000-opnix-0.11.0/bin/opnix secret";
        };
      })
      (lib.mkIf integration.enable (
        lib.genAttrs consumers (_: {
          after = [ "opnix-secrets.service" ];
          wants = [ "opnix-secrets.service" ];
        })
      ))
    ];
    systemd.paths = lib.mkIf (integration.enable && integration.changeDetection.enable) {
      opnix-secrets-watcher = {
        wantedBy = [ "multi-user.target" ];
        pathConfig = {
          PathModified = cfg.outputDir;
          Unit = "opnix-secrets-restart.service";
        };
      };
    };
  };
}
