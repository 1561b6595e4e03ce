# Names, addresses and the firewall.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  switch =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
  };
in
{
  options = {
    networking = {
      hostName = mkOption {
        type = types.strMatching "$|[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?";
        default = "nixos";
      };
      useDHCP = switch true;
      useNetworkd = switch false;
      nameservers = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
      firewall = {
        enable = switch true;
        allowedTCPPorts = ports;
        allowedUDPPorts = ports;
        trustedInterfaces = mkOption {
          type = types.listOf types.str;
          default = [ ];
        };
      };
    };
    systemd.network = {
      enable = switch false;
      networks = mkOption {
        default = { };
        type = types.attrsOf (
          types.submodule {
            options = lib.genAttrs [ "matchConfig" "networkConfig" "linkConfig" ] (
              _:
              mkOption {
                type = types.attrs;
                default = { };
              }
            );
          }
        );
      };
    };
  };
}
