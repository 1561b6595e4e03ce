# etc/systemd/system of a toplevel. As on NixOS it is the only place where units are enabled: /etc/systemd/system links here.
{ derive, host, faults, services }:
let
  debian = unit: "/usr/lib/systemd/system/${unit}";

  # The new text is what restarts the unit: the path of the configuration changes with its content.
  restartTrigger = path: "X-Restart-Triggers=${path}";

  targets = {
    "multi-user.target" = ''
      [Unit]
      Description=Multi-User System
      Requires=basic.target
      Conflicts=rescue.service rescue.target
      After=basic.target rescue.service rescue.target
      AllowIsolate=yes
    '';
    # A mount that cannot be made stops the system in emergency mode, also while it runs: the switch stops and starts this target.
    "local-fs.target" = ''
      [Unit]
      Description=Local File Systems
      After=local-fs-pre.target
      DefaultDependencies=no
      Conflicts=shutdown.target
      OnFailure=emergency.target
      OnFailureJobMode=replace-irreversibly
      X-StopOnReconfiguration=true
    '';
    "remote-fs.target" = ''
      [Unit]
      Description=Remote File Systems
      After=remote-fs-pre.target
      DefaultDependencies=no
      Conflicts=shutdown.target
      X-StopOnReconfiguration=true
    '';
    "sockets.target" = ''
      [Unit]
      Description=Socket Units
      DefaultDependencies=no
      Conflicts=shutdown.target
      Before=shutdown.target
    '';
    "timers.target" = ''
      [Unit]
      Description=Timer Units
      DefaultDependencies=no
      Conflicts=shutdown.target
      Before=shutdown.target
      After=time-set.target time-sync.target
    '';
    "network-online.target" = ''
      [Unit]
      Description=Network is Online
      After=network.target
    '';
  };

  firewall = builtins.toFile "firewall.nft" ''
    table inet lab-fw
    delete table inet lab-fw
    table inet lab-fw {
      chain input {
        type filter hook input priority filter; policy accept;
        iifname "lo" accept
        ct state established,related accept
        ${if faults.firewallDropSsh then "iifname \"host0\" tcp dport 22 drop" else "tcp dport 22 accept"}
      }
    }
  '';
  revision = builtins.toFile "revision" "${host.revision}\n";

  wanted = {
    # As in NixOS: never stopped for a switch, and a restart leaves the sessions alone.
    "sshd.service" = ''
      [Unit]
      Description=SSH Daemon
      After=network.target
      ${restartTrigger services.sshdConfig}
      X-StopIfChanged=false

      [Service]
      ExecStartPre=/bin/sh -c "test -s /etc/ssh/ssh_host_ed25519_key || ssh-keygen -q -t ed25519 -N \"\" -f /etc/ssh/ssh_host_ed25519_key"
      ExecStart=/usr/sbin/sshd -D -f /etc/ssh/sshd_config
      RuntimeDirectory=sshd
      RuntimeDirectoryMode=0755
      RuntimeDirectoryPreserve=yes
      KillMode=process
      Restart=always
      Type=notify
    '';
    "firewall.service" = ''
      [Unit]
      Description=Firewall
      Wants=network-pre.target
      Before=network-pre.target
      After=sysinit.target
      DefaultDependencies=no
      Conflicts=shutdown.target
      Before=shutdown.target
      X-ReloadIfChanged=true

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/usr/sbin/nft -f ${firewall}
      ExecReload=/usr/sbin/nft -f ${firewall}
      ExecStop=/usr/sbin/nft delete table inet lab-fw
    '';
    "lab-marker.service" = ''
      [Unit]
      Description=Writes the revision of the system

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/usr/bin/cp ${revision} /run/lab-marker
    '';
  }
  // host.extraUnits
  // faults.services
  // services.wanted;

  plain = {
    "dbus.service" = ''
      [Unit]
      Description=D-Bus System Message Bus
      Requires=dbus.socket
      ${if faults.dbusDead then "X-StopIfChanged=false" else "X-ReloadIfChanged=true"}

      [Service]
      Type=notify
      NotifyAccess=main
      ExecStart=${faults.dbusCommand}
      ExecReload=/usr/bin/dbus-send --print-reply --system --type=method_call --dest=org.freedesktop.DBus / org.freedesktop.DBus.ReloadConfig
      OOMScoreAdjust=-900
    '';
    "nix-daemon.service" = ''
      [Unit]
      Description=Nix Daemon
      RequiresMountsFor=/nix/store /nix/var /nix/var/nix/db
      ConditionPathIsReadWrite=/nix/var/nix/daemon-socket
      ${restartTrigger services.nixConfig}
      X-StopIfChanged=false

      [Service]
      ExecStart=@/usr/bin/nix-daemon nix-daemon --daemon
      KillMode=process
      LimitNOFILE=1048576
      TasksMax=1048576
      Delegate=yes
    '';
    "nix-daemon.socket" = ''
      [Unit]
      Description=Nix Daemon Socket
      Before=multi-user.target
      RequiresMountsFor=/nix/store
      ConditionPathIsReadWrite=/nix/var/nix/daemon-socket

      # As on NixOS, every user may speak to the daemon.
      [Socket]
      ListenStream=/nix/var/nix/daemon-socket/socket
      ExecStartPre=/usr/bin/chmod 755 /nix/var/nix/daemon-socket
    '';
  }
  // services.units;

  masked = [
    "systemd-networkd-wait-online.service"
    "console-getty.service"
    "getty.target"
    "apt-daily.timer"
    "apt-daily-upgrade.timer"
    "dpkg-db-backup.timer"
    "e2scrub_all.timer"
    "e2scrub_reap.service"
    "fstrim.timer"
    "ldconfig.service"
    "systemd-journal-catalog-update.service"
    "ssh.service"
    "ssh.socket"
  ];

  all = targets // plain // wanted // faults.mounts;
  names = builtins.attrNames;
  inTarget = target: kind: unit: {
    path = "${target}.${kind}/${unit}";
    link = "../${unit}";
  };
  enabledFromDebian = target: unit: {
    path = "${target}.wants/${unit}";
    link = debian unit;
  };

  entries =
    map (unit: {
      path = unit;
      text = all.${unit};
    }) (names all)
    ++ map (unit: {
      path = unit;
      link = "/dev/null";
    }) masked
    ++ map (inTarget "multi-user.target" "wants") (names wanted)
    ++ map (inTarget "sockets.target" "wants") [ "nix-daemon.socket" ]
    ++ map (inTarget "local-fs.target" "requires") (
      builtins.filter (unit: builtins.match ".+\\.mount" unit != null) (names faults.mounts)
    )
    ++ services.links
    ++ [
      {
        path = "default.target";
        link = "multi-user.target";
      }
      (enabledFromDebian "multi-user.target" "systemd-networkd.service")
      (enabledFromDebian "sockets.target" "systemd-networkd.socket")
      {
        path = "multi-user.target.wants/remote-fs.target";
        link = "../remote-fs.target";
      }
      {
        path = "dbus-org.freedesktop.network1.service";
        link = debian "systemd-networkd.service";
      }
    ];

  # The words behind KEY= of a unit's text.
  relation =
    key: unit:
    let
      lines = builtins.filter builtins.isString (builtins.split "\n" all.${unit});
      values = builtins.filter (value: value != null) (map (builtins.match "[ ]*${key}=(.*)") lines);
    in
    builtins.filter (word: builtins.isString word && word != "") (
      builtins.concatMap (value: builtins.split " +" (builtins.head value)) values
    );

  serviceName = unit: builtins.match "(.+)\\.service" unit;
in
{
  directory = derive.tree "system-units" entries;

  # What config.systemd.services shows: the relations, and which settings of the service there are.
  services = builtins.listToAttrs (
    map (unit: rec {
      name = builtins.head (serviceName unit);
      value = {
        enable = true;
        after = relation "After" unit;
        wants = relation "Wants" unit;
        requires = relation "Requires" unit;
        serviceConfig = if builtins.match ".*RestartPreventExitStatus=.*" all.${unit} == null then { } else { RestartPreventExitStatus = "65 75"; };
      }
      // services.details.${name} or { };
    }) (builtins.filter (unit: serviceName unit != null) (names all))
  );
  # What config.systemd.units shows.
  definitions = builtins.mapAttrs (unit: _: {
    aliases = if unit == "opnix-secrets.service" && services.aliased then [ "onepassword-secrets.service" ] else [ ];
  }) all;
}
