# What deploy-rs's lib.SYSTEM.activate gives, as far as a deployer sees it: a folder of links to all that the base has, with two
# scripts beside them. Made by the lab's derivations, which need no nixpkgs.
{ derive }:
let
  script = self: activate: ''
    #!/bin/bash
    set -euo pipefail
    if [[ "''${DRY_ACTIVATE:-}" == "1" ]]
    then
        ${self.dryActivate or "echo ${activate}"}
    elif [[ "''${BOOT:-}" == "1" ]]
    then
        ${self.boot or "echo ${activate}"}
    else
        ${activate}
    fi
  '';

  program = name: path: text: derive.tree name [ { inherit path text; executable = true; } ];

  wrap =
    self: base: activate:
    let
      parts = [
        base
        (program "${base.name}-activate-path" "deploy-rs-activate" (script self activate))
        # deploy-rs's own program, which a host of hdeploy never needs.
        (program "${base.name}-activate-rs" "activate-rs" "#!/bin/sh\nexec false\n")
      ];
    in
    derive.run "activatable-${base.name}" { pkgs = builtins.toJSON parts; parts = toString parts; inherit (base) system; } ''
      mkdir "$out"
      for part in $parts; do
        for entry in "$part"/*; do
          ln -s "$entry" "$out/''${entry##*/}"
        done
      done
    '';

  custom.__functor = wrap;

  activate = {
    inherit custom;
    noop = base: custom base ":";
    home-manager = base: custom base.activationPackage "$PROFILE/activate";
    darwin = base: custom base.config.system.build.toplevel "HOME=/var/root $PROFILE/activate";
    nixos =
      base:
      (custom // {
        dryActivate = "$PROFILE/bin/switch-to-configuration dry-activate";
        boot = "$PROFILE/bin/switch-to-configuration boot";
      }) base.config.system.build.toplevel ''
        # from a folder that is there for everybody
        cd /tmp

        $PROFILE/bin/switch-to-configuration switch

        sed -i '/^default /d' /boot/loader/loader.conf
      '';
  };
in
{
  inherit activate;
  setActivate = custom;
}
