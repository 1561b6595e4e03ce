# profile NAME SETTINGS: a closure that is no NixOS system. SETTINGS is the content of profiles/NAME.json:
#
#   kind        "home-manager" | "custom" | "deploy-rs"
#   wraps       what deploy-rs's wrapper has behind it: "custom" (default), "home-manager", "noop", "darwin", or "nixos", which is the
#               toplevel given as system
#   revision    any string: another one gives another closure
#   legacy      true: a home-manager generation from before gen-version, which moves its own profile (false)
#   exit        exit code of the activation, after it has changed what it changes (0)
#   hang        true: the activation never ends
#   check       exit code of the check (0)
#   undo        exit code of the declared rollback (0)
#
# What an activation has made is in $HOME/lab-NAME: the revision. Each run adds a line to $HOME/lab-NAME.log.
{ derive, systems }:
name: settings:
let
  out = builtins.placeholder "out";
  known = {
    kind = "custom";
    wraps = "custom";
    system = "";
    revision = "1";
    legacy = false;
    exit = 0;
    hang = false;
    check = 0;
    undo = 0;
  };
  unknown = builtins.filter (key: !(known ? ${key})) (builtins.attrNames settings);
  p = if unknown == [ ] then known // settings else throw "profile ${name}: unknown setting ${builtins.head unknown}";

  program = path: text: {
    inherit path text;
    executable = true;
  };
  end = ''
    ${if p.hang then "while :; do sleep 1; done" else ""}
    exit ${toString p.exit}
  '';
  log = what: ''echo "${what} ${p.revision} as $(id -un) in $PWD" >>"$HOME/lab-${name}.log"'';

  home =
    [
      (program "activate" ''
        #!/bin/sh
        set -eu
        driver=0
        while [ "$#" -gt 0 ]; do
          case "$1" in
            --driver-version) driver=$2; shift 2 ;;
            *) echo "unknown option $1" >&2; exit 1 ;;
          esac
        done
        ${log "activate"}
        state=$HOME/.local/state
        mkdir -p "$state/nix/profiles" "$state/home-manager/gcroots"
        current=$state/home-manager/gcroots/current-home
        ${if p.legacy then ''nix-env --profile "$state/nix/profiles/home-manager" --set ${out}'' else ''[ "$driver" = 1 ] || exit 9''}
        if [ -e "$current/home-files" ]; then
          (cd "$current/home-files" && find . ! -type d) | while read -r file; do
            [ -e "${out}/home-files/$file" ] || rm -f "$HOME/$file"
          done
        fi
        (cd ${out}/home-files && find . ! -type d) | while read -r file; do
          mkdir -p "$(dirname "$HOME/$file")"
          ln -sfn "${out}/home-files/$file" "$HOME/$file"
        done
        ln -sfn ${out} "$current"
        echo "${p.revision}" >"$HOME/lab-${name}"
        ${end}
      '')
      {
        path = "home-files/.config/lab/${name}";
        text = p.revision;
      }
      {
        path = "home-files/.only-${p.revision}";
        text = p.revision;
      }
    ]
    ++ (
      if p.legacy then
        [ ]
      else
        [
          {
            path = "gen-version";
            text = "1\n";
          }
        ]
    );

  custom = [
    (program "bin/apply" ''
      #!/bin/sh
      set -eu
      ${log "activate"}
      echo "${p.revision} $*" >"$HOME/lab-${name}"
      ${end}
    '')
    (program "bin/undo" ''
      #!/bin/sh
      set -eu
      ${log "undo"}
      echo "undone to $HDEPLOY_PREVIOUS" >"$HOME/lab-${name}"
      exit ${toString p.undo}
    '')
    (program "bin/check" ''
      #!/bin/sh
      ${log "check"}
      exit ${toString p.check}
    '')
  ];

  # As deploy-rs's wrapper: links to everything of the base, and the two scripts.
  farm =
    base: names: script:
    map (file: {
      path = file;
      link = "${base}/${file}";
    }) names
    ++ [
      (program "deploy-rs-activate" ''
        #!/bin/sh
        set -eu
        ${script}
      '')
      (program "activate-rs" ''
        #!/bin/sh
        echo "the lab has no program of deploy-rs" >&2
        exit 1
      '')
    ];

  generation = derive.tree "home-manager-generation" home;
  wrapped = {
    custom = farm generation [ ] ''
      ${log "activate"}
      [ "$PROFILE" -ef "$PWD" ]
      echo "${p.revision}" >"$HOME/lab-${name}"
      ${end}
    '';
    home-manager = farm generation [ "activate" "home-files" ] ''"$PROFILE/activate"'';
    noop = farm generation [ ] ":";
    darwin = farm generation [ "activate" ] ''HOME=/var/root "$PROFILE/activate"'';
    nixos = farm systems.${p.system} [ "activate" "bin" "etc" "init" "kernel" "nixos-version" "sw" "system" ] ''
      cd /tmp
      "$PROFILE/bin/switch-to-configuration" switch
    '';
  };
in
derive.tree "${p.kind}-${name}" (
  if p.kind == "home-manager" then home
  else if p.kind == "custom" then custom
  else wrapped.${p.wraps}
)
