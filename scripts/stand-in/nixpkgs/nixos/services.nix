# Services of NixOS that a host here has.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
in
{
  options.services = {
    openssh = {
      enable = option types.bool false;
      ports = option (types.listOf types.port) [ 22 ];
      openFirewall = option types.bool true;
      extraConfig = option types.lines "";
      authorizedKeysInHomedir = option types.bool true;
      settings = mkOption {
        default = { };
        type = types.submodule {
          freeformType = types.attrsOf (types.oneOf [ types.bool types.int types.str ]);
          options = {
            PermitRootLogin = option (types.nullOr (
              types.enum [ "yes" "without-password" "prohibit-password" "forced-commands-only" "no" ]
            )) "prohibit-password";
            PasswordAuthentication = option (types.nullOr types.bool) true;
            KbdInteractiveAuthentication = option (types.nullOr types.bool) true;
          };
        };
      };
    };
    journald = {
      storage = option (types.enum [ "persistent" "volatile" "auto" "none" ]) "persistent";
      extraConfig = option types.lines "";
      rateLimitBurst = option types.int 10000;
    };
    qemuGuest.enable = option types.bool false;
    prometheus.exporters.node = {
      enable = option types.bool false;
      port = option types.port 9100;
      listenAddress = option types.str "0.0.0.0";
      openFirewall = option types.bool false;
      enabledCollectors = option (types.listOf types.str) [ ];
      extraFlags = option (types.listOf types.str) [ ];
    };
  };

  config.networking.firewall.allowedTCPPorts = lib.mkIf (
    config.services.openssh.enable && config.services.openssh.openFirewall
  ) config.services.openssh.ports;
}
