# What the sw directory of a toplevel offers: the base of a NixOS system. The files themselves are the image's.
{
  "/usr/bin" = [
    "[" "awk" "base64" "basename" "bash" "busctl" "cat" "chgrp" "chmod" "chown" "cmp" "comm" "cp" "cut" "date" "dbus-send" "dd"
    "df" "diff" "dirname" "dmesg" "du" "echo" "env" "expr" "false" "find" "findmnt" "flock" "free" "getent" "grep" "groups"
    "gzip" "head" "hostname" "hostnamectl" "id" "install" "ionice" "journalctl" "kill" "ln" "logger" "login" "loginctl" "ls"
    "lsblk" "md5sum" "mkdir" "mkfifo" "mktemp" "more" "mount" "mountpoint" "mv" "networkctl" "nice" "nix" "nix-build"
    "nix-channel" "nix-collect-garbage" "nix-copy-closure" "nix-daemon" "nix-env" "nix-hash" "nix-instantiate" "nix-shell"
    "nix-store" "nohup" "nproc" "nsenter" "numfmt" "od" "paste" "pgrep" "pidof" "pkill" "printenv" "printf" "prlimit" "ps"
    "pwd" "readlink" "realpath" "rm" "rmdir" "scp" "sed" "seq" "setpriv" "setsid" "sftp" "sh" "sha1sum" "sha256sum"
    "sha512sum" "shred" "sleep" "sort" "split" "ss" "ssh" "ssh-add" "ssh-agent" "ssh-keygen" "ssh-keyscan" "stat" "stdbuf"
    "stty" "su" "sync" "systemctl" "systemd-analyze" "systemd-cat" "systemd-cgls" "systemd-delta" "systemd-detect-virt"
    "systemd-escape" "systemd-id128" "systemd-machine-id-setup" "systemd-mount" "systemd-notify" "systemd-path" "systemd-run"
    "systemd-stdio-bridge" "systemd-sysusers" "systemd-tmpfiles" "systemd-tty-ask-password-agent" "systemd-umount" "tac" "tail"
    "tar" "taskset" "tee" "test" "timeout" "top" "touch" "tr" "true" "truncate" "tty" "umount" "uname" "uniq" "unshare" "uptime"
    "w" "wc" "which" "who" "whoami" "xargs" "yes" "zstd"
  ];
  "/usr/sbin" = [
    "agetty" "blkid" "blockdev" "bridge" "chroot" "fsck" "groupadd" "groupdel" "halt" "ip" "losetup" "mkfs" "nft" "nologin"
    "poweroff" "reboot" "runuser" "shutdown" "sshd" "switch_root" "sysctl" "tc" "useradd" "userdel" "usermod"
  ];
}
