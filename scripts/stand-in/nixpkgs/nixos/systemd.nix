# Units of systemd and rules of tmpfiles.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  strings = option (types.listOf types.str) [ ];
  value = types.nullOr (types.oneOf [ types.bool types.int types.float types.str types.path types.package ]);
  section = option (types.attrsOf (types.either value (types.listOf value))) { };

  common = lib.genAttrs [
    "after"
    "aliases"
    "before"
    "bindsTo"
    "conflicts"
    "partOf"
    "requiredBy"
    "requires"
    "requisite"
    "upheldBy"
    "wantedBy"
    "wants"
  ] (_: strings) // {
    enable = option types.bool true;
    description = option types.singleLineStr "";
    documentation = strings;
    unitConfig = section;
    startLimitBurst = mkOption { type = types.int; };
    startLimitIntervalSec = mkOption { type = types.int; };
    restartTriggers = option (types.listOf types.raw) [ ];
    overrideStrategy = option (types.enum [ "asDropinIfExists" "asDropin" ]) "asDropinIfExists";
  };

  service = {
    path = option (types.listOf (types.either types.package types.str)) [ ];
    environment = option (types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package ]))) { };
    serviceConfig = section;
    script = option types.lines "";
    scriptArgs = option types.str "";
    preStart = option types.lines "";
    postStart = option types.lines "";
    reload = option types.lines "";
    preStop = option types.lines "";
    postStop = option types.lines "";
    restartIfChanged = option types.bool true;
    reloadIfChanged = option types.bool false;
    stopIfChanged = option types.bool true;
    notSocketActivated = option types.bool false;
    startAt = option (types.coercedTo types.str lib.toList (types.listOf types.str)) [ ];
    reloadTriggers = option (types.listOf types.raw) [ ];
  };

  # Limits without a value are absent, as in the real module.
  unit = options: option (types.attrsOf (types.submodule {
    options = removeAttrs common [ "startLimitBurst" "startLimitIntervalSec" ] // {
      startLimitBurst = option (types.nullOr types.int) null;
      startLimitIntervalSec = option (types.nullOr types.int) null;
    } // options;
  })) { };

  rule = types.submodule {
    options = {
      mode = option types.str "-";
      user = option types.str "-";
      group = option types.str "-";
      age = option types.str "-";
      argument = option types.str "";
      type = option types.str "";
    };
  };
in
{
  options.systemd = {
    package = option types.package pkgs.systemd;
    services = unit service;
    paths = unit { pathConfig = section; };
    timers = unit { timerConfig = section; };
    sockets = unit { socketConfig = section; listenStreams = strings; };
    targets = unit { };
    slices = unit { sliceConfig = section; };
    units = option (types.lazyAttrsOf types.raw) { };
    tmpfiles = {
      rules = strings;
      settings = option (types.attrsOf (types.attrsOf (types.attrsOf rule))) { };
    };
  };

  # A service may be told to run in oneshot mode only where it ends.
  config = {
    systemd.units = lib.concatMapAttrs (
      kind: units: lib.mapAttrs' (name: unit: lib.nameValuePair "${name}.${kind}" { inherit (unit) aliases wantedBy; }) units
    ) {
      service = config.systemd.services;
      path = config.systemd.paths;
      timer = config.systemd.timers;
    };
    assertions = lib.mapAttrsToList (name: service: {
      assertion = !(service.script != "" && service.serviceConfig ? ExecStart);
      message = "systemd.services.${name} has both script and serviceConfig.ExecStart.";
    }) config.systemd.services;
  };
}
