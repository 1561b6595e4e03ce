# What goes wrong on a host, as parts that the other files put into its system. Each fault is off by default:
#
#   activateHang           true: `activate` sleeps for ever, with /etc already changed and /run/current-system still the old one
#   activateExit           N: `activate` does all its work and exits N
#   stcExit                1: a pre-switch check fails; 2: activation fails; 4: a unit fails; 11: lock busy;
#                          100: another init interface; 101: panics between stopping and starting units
#   checkAction            false: switch-to-configuration is from before its action `check`
#   preSwitchCheck         text: a pre-switch check fails and says it; a boot passes
#   lateError              true: switch-to-configuration exits 1 after the activation
#   overwriteKeys          true: `activate` replaces the authorized keys of all logins by another one
#   failUnit               "at-once" | "after-5s": lab-failing.service
#   crashLoop              true: lab-crashing.service dies at once and is restarted for ever; N: it lives N seconds each time
#   preexistingFailedUnit  true: lab-broken.service fails in every revision of this system, its text never changes
#   firewallDropSsh        true: new connections to tcp/22 on host0 are dropped
#   badMount               true: a mount that local-fs.target requires has no device: the host falls into emergency.target
#   dbusDead               true: the D-Bus daemon is restarted and does not come back
#   periodicReload         N: daemon-reload every N seconds
#   sshdRefusesKeys        true: sshd takes no public keys
#   emptyToken, missingToken  true: /etc/opnix-token is emptied or removed by `activate`
#   kernelPanic            true: it can be switched to, and does not survive its boot
#   bootFull               true: the boot loader cannot be written
{ derive, host }:
let
  known = {
    activateHang = false;
    activateExit = 0;
    stcExit = 0;
    checkAction = true;
    preSwitchCheck = "";
    lateError = false;
    overwriteKeys = false;
    failUnit = "";
    crashLoop = false;
    preexistingFailedUnit = false;
    firewallDropSsh = false;
    badMount = false;
    dbusDead = false;
    periodicReload = 0;
    sshdRefusesKeys = false;
    emptyToken = false;
    missingToken = false;
    kernelPanic = false;
    bootFull = false;
  };
  unknown = builtins.filter (key: !(known ? ${key})) (builtins.attrNames host.faults);
  faults = if unknown != [ ] then throw "unknown fault ${builtins.head unknown}" else known // host.faults;

  when = condition: units: if condition then units else { };

  failing = {
    "at-once" = ''
      [Unit]
      Description=Fails when it is started

      [Service]
      Type=oneshot
      ExecStart=/bin/sh -c "echo giving up; exit 1"
    '';
    "after-5s" = ''
      [Unit]
      Description=Fails after five seconds

      [Service]
      ExecStart=/bin/sh -c "sleep 5; echo giving up; exit 1"
    '';
  };
  failUnit = if faults.stcExit == 4 then "at-once" else faults.failUnit;
  crashAfter = if faults.crashLoop == true then 0 else faults.crashLoop;

  # As OpNix does it: truncated and written, not replaced.
  brokenKeys = builtins.concatStringsSep "" (
    map (
      login:
      let
        home = if login == "root" then "/root" else "/home/${login}";
      in
      ''
        mkdir -p ${home}/.ssh
        for file in ${home}/.ssh/authorized_keys /etc/ssh/authorized_keys.d/${login}; do
          echo "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOverwrittenOverwrittenOverwrittenOverwritt0 nobody" >"$file"
          chmod 666 "$file"
        done
      ''
    ) ([ "root" ] ++ host.admins)
  );
in
faults
// {
  activateExit = if faults.stcExit == 2 then 1 else faults.activateExit;
  initInterface = if faults.stcExit == 100 then "systemd 9999" else "systemd 257";

  # Wanted by multi-user.target.
  services =
    when (failUnit != "") {
      "lab-failing.service" = failing.${failUnit} or (throw "unknown failUnit ${failUnit}");
    }
    // when (faults.crashLoop != false) {
      "lab-crashing.service" = ''
        [Unit]
        Description=Crashes again and again
        StartLimitIntervalSec=0

        [Service]
        ExecStart=/bin/sh -c "sleep ${toString crashAfter}; echo crashing; exit 1"
        Restart=always
        RestartSec=1
      '';
    }
    // when faults.preexistingFailedUnit {
      "lab-broken.service" = ''
        [Unit]
        Description=Has been failing all along

        [Service]
        Type=oneshot
        ExecStart=/bin/sh -c "echo still broken; exit 1"
      '';
    }
    // when (faults.periodicReload != 0) {
      "lab-reloading.service" = ''
        [Unit]
        Description=Reloads the manager periodically

        [Service]
        ExecStart=/bin/sh -c "while sleep ${toString faults.periodicReload}; do systemctl daemon-reload; done"
      '';
    };

  # Required by local-fs.target. The device unit only shortens the wait for a device that never comes.
  mounts = when faults.badMount {
    "mnt-lab.mount" = ''
      [Unit]
      Description=A file system whose device does not exist
      Before=local-fs.target

      [Mount]
      What=/dev/labmissing
      Where=/mnt/lab
      Type=ext4
    '';
    "dev-labmissing.device" = ''
      [Unit]
      JobRunningTimeoutSec=2s
    '';
  };

  dbusCommand =
    if faults.dbusDead then
      "/bin/sh -c \"echo the bus does not come up; exit 1\""
    else
      "@/usr/bin/dbus-daemon @dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only";

  activation =
    (if faults.activateHang then "echo 'lab: activation hangs'\nsleep infinity\n" else "")
    + (if faults.emptyToken then ": >/etc/opnix-token\nchmod 600 /etc/opnix-token\n" else "")
    + (if faults.missingToken then "rm -f /etc/opnix-token\n" else "")
    + (if faults.overwriteKeys then brokenKeys else "");

  # Nothing but the end of PID 1 is like a panic in a container.
  stage2 = if faults.kernelPanic then "echo 'Kernel panic - not syncing'; exit 1" else "";

  switchEnvironment =
    (if faults.checkAction then "" else "export LAB_OLD=1\n")
    + (if faults.preSwitchCheck != "" then "export LAB_CHECK='${faults.preSwitchCheck}'\n" else "")
    + (if faults.lateError then "export LAB_LATE_ERROR=1\n" else "")
    + (if builtins.elem faults.stcExit [ 1 11 101 ] then "export LAB_EXIT=${toString faults.stcExit}\n" else "")
    + (if faults.bootFull then "export LAB_BOOT_FULL=1\n" else "");
}
