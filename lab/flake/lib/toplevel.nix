# The toplevel: what a profile's generation points to, what is booted, and what switch-to-configuration belongs to.
{ derive, host, faults, services, etc, specialisation }:
let
  out = builtins.placeholder "out";
  quote = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] text}'";
  lines = builtins.concatStringsSep "\n";

  # Big enough that a small /boot is full after a few of them.
  kernel = derive.run "linux-${host.kernel}" { } ''
    mkdir "$out" "$out/modules"
    { echo "kernel ${host.kernel}"; dd if=/dev/zero bs=1024 count=256; } >"$out/bzImage" 2>/dev/null
    echo "modules of ${host.kernel}" >"$out/modules/modules.order"
  '';
  initrd = derive.run "initrd-linux-${host.kernel}" { } ''
    mkdir "$out"
    echo "initrd ${host.kernel}" >"$out/initrd"
  '';

  programs = import ./programs.nix;
  software = derive.tree "system-path" (
    builtins.concatMap (
      directory:
      map (program: {
        path = "bin/${program}";
        link = "${directory}/${program}";
      }) programs.${directory}
    ) (builtins.attrNames programs)
    ++ services.programs
    ++ [
      {
        path = "bin/bootctl";
        executable = true;
        text = bootOnce "bootctl" "set-oneshot ENTRY" ''[ "$#" -eq 2 ] && [ "$1" = set-oneshot ]'' "$2";
      }
      {
        path = "bin/grub-reboot";
        executable = true;
        text = bootOnce "grub-reboot" "ENTRY" ''[ "$#" -eq 1 ]'' "$1";
      }
      {
        path = "bin/grub-editenv";
        executable = true;
        text = bootOnce "grub-editenv" "- unset next_entry" ''[ "$*" = "- unset next_entry" ]'' "";
      }
    ]
  );
  # The lab's firmware takes the entry of the next boot from a file: there is no EFI variable to set in a container.
  bootOnce = name: usage: valid: entry: ''
    #!/bin/sh
    if ! { ${valid}; }; then
      echo "usage: ${name} ${usage}" >&2
      exit 1
    fi
    if [ -z "${entry}" ]; then
      rm -f /boot/loader/oneshot
      exit
    fi
    mkdir -p /boot/loader
    printf '%s\n' "${entry}" >/boot/loader/oneshot.tmp
    sync /boot/loader/oneshot.tmp
    mv /boot/loader/oneshot.tmp /boot/loader/oneshot
  '';

  payloadPart =
    index:
    let
      kib = host.payloadMiB * 1024 / host.payloadPaths;
    in
    derive.run "payload-${toString index}" { seed = host.payloadSeed; } ''
      mkdir "$out"
      left=${toString kib}
      while [ "$left" -gt 0 ]; do
        size=256
        [ "$left" -ge "$size" ] || size=$left
        dd if=/dev/urandom of="$out/$left" bs=1024 count="$size" 2>/dev/null
        left=$((left - size))
      done
    '';
  payload = if host.payloadMiB == 0 then [ ] else builtins.genList payloadPart host.payloadPaths;

  activate = ''
    #!/bin/sh
    # Makes the running system look like this one: users, /etc, /run. Also the second stage of the boot runs it.
    export PATH=/usr/bin:/usr/sbin
    systemConfig=${out}
    etc=${etc.directory}
    status=0

    umask 0022
    mkdir -p /run/wrappers/bin /etc/ssh /nix/var/nix/gcroots /nix/var/nix/profiles
    link() { [ "$(readlink "$2")" = "$1" ] || { ln -sfn "$1" "$2.lab-new" && mv -fT "$2.lab-new" "$2"; }; }
    link /run/current-system /nix/var/nix/gcroots/current-system
    link /run/booted-system /nix/var/nix/gcroots/booted-system
    link /usr/bin/sudo /run/wrappers/bin/sudo
    link /usr/bin/su /run/wrappers/bin/su

    # The image's own unit directory gives way once; from then on it is a link, never writable.
    [ -L /etc/systemd/system ] || rm -rf /etc/systemd/system
    link "$etc" /etc/static
    # A test can hold the script in the middle, see stc/gate.go.
    while [ "$(cat /run/lab/gates/activate 2>/dev/null)" = "$systemConfig" ]; do
      touch /run/lab/gates/activate.reached
      sleep 0.02
    done
    place() {
      [ "/etc/$1" -ef "/etc/static/$1" ] && [ -L "/etc/$1" ] && return
      mkdir -p "$(dirname "/etc/$1")"
      link "/etc/static/$1" "/etc/$1"
    }
    copy() {
      cmp -s "/etc/static/$1" "/etc/$1" && return
      mkdir -p "$(dirname "/etc/$1")"
      cp --remove-destination "/etc/static/$1" "/etc/$1"
    }
    ${lines (map (path: "place ${quote path}") etc.linkedPaths)}
    ${lines (map (path: "copy ${quote path}") etc.copiedPaths)}
    for file in /etc/ssh/authorized_keys.d/*; do
      [ -e "/etc/static/''${file#/etc/}" ] || rm -f "$file"
    done
    find /etc -xtype l -lname '/etc/static/*' -delete

    group() { grep -q "^$1:" /etc/group || groupadd --system "$1"; }
    user() { grep -q "^$1:" /etc/passwd || useradd "$@"; }
    admin() { grep -q "^$1:" /etc/passwd || useradd -m -s /bin/bash -p '*' "$1"; }
    ${lines (map (login: "admin ${quote login}") host.admins)}
    ${services.activation}
    ${if host.setHostName then "[ \"$(hostname)\" = ${quote host.hostName} ] || hostname ${quote host.hostName}" else ""}
    # sudo looks the host's own name up.
    grep -qwF "$(hostname)" /etc/hosts || echo "127.0.0.2 $(hostname)" >>/etc/hosts
    ${faults.activation}
    ${
      if faults.activateExit != 0 then
        ''
          echo "Activation script snippet 'lab' failed (${toString faults.activateExit})" >&2
          status=${toString faults.activateExit}
        ''
      else
        ""
    }
    ln -sfn "$systemConfig" /run/current-system.lab-new
    mv -fT /run/current-system.lab-new /run/current-system
    exit "$status"
  '';

  # Stage 2 of the boot: the boot loader's entry names this file.
  init = ''
    #!/bin/sh
    export PATH=/usr/bin:/usr/sbin
    systemConfig=${out}
    echo "<<< NixOS stage 2: $systemConfig >>>"
    ${faults.stage2}

    mount --bind /nix/store /nix/store
    mount -o remount,ro,bind /nix/store
    ln -sfn "$systemConfig" /run/booted-system
    # A host without it would count as never booted, and systemd would try to enable units by itself.
    [ -s /etc/machine-id ] || systemd-machine-id-setup

    "$systemConfig/activate"
    export PATH=/run/current-system/sw/bin:/run/wrappers/bin
    exec /usr/lib/systemd/systemd "$@"
  '';

  switchToConfiguration = ''
    #!/bin/sh
    export TOPLEVEL=${out} LOADER=${host.loader} CONFIGURATION_LIMIT=${toString host.configurationLimit}
    ${faults.switchEnvironment}exec ${derive.tool "stc"} "$@"
  '';

  inhibitors = {
    dbus = "dbus";
    init = "systemd";
  } // host.switchInhibitors;

  file = path: text: { inherit path text; };
  program = path: text: {
    inherit path text;
    executable = true;
  };
  link = path: target: {
    inherit path;
    link = "${target}";
  };
in
derive.tree "nixos-system-${host.hostName}-${derive.version}" (
  [
    (program "activate" activate)
    (program "init" init)
    (program "bin/switch-to-configuration" switchToConfiguration)
    (file "nixos-version" derive.version)
    (file "system" derive.system)
    (file "init-interface-version" faults.initInterface)
    (file "switch-inhibitors" (builtins.toJSON inhibitors))
    (file "extra-dependencies" "")
    (link "kernel" "${kernel}/bzImage")
    (link "initrd" "${initrd}/initrd")
    (link "kernel-modules" "${kernel}/modules")
    (file "kernel-params" "loglevel=4")
    (link "etc" etc.directory)
    (link "sw" software)
  ]
  ++ map (name: link "specialisation/${name}" (specialisation name)) host.specialisations
  ++ builtins.genList (index: link "payload/${toString index}" (builtins.elemAt payload index)) (builtins.length payload)
)
