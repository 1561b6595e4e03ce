#!/usr/bin/env bash
# Builds the Debian root that all lab hosts share into an empty directory.
# Usage: image.sh ROOT
set -euo pipefail

root=${1:?usage: image.sh ROOT}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# The mirror is the one this machine installs its own packages from.
# shellcheck disable=SC2016 # apt expands these, not the shell
mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
  awk '$2 == "main" && $1 ~ /\/debian\/?$/ { print $1; exit }')
if [[ -z $mirror ]]; then
  echo "image: no Debian mirror in this machine's apt configuration" >&2
  exit 1
fi

debootstrap --variant=minbase \
  --include=systemd,systemd-sysv,dbus,iproute2,sudo,procps,zstd \
  trixie "$root" "$mirror"

install -m 0755 /dev/stdin "$root/usr/sbin/policy-rc.d" <<'SH'
#!/bin/sh
exit 101
SH
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/lab"

# A step of its own: together with the first, nix-bin is configured before perl.
chroot "$root" apt-get update -q
chroot "$root" apt-get install -q -y --no-install-recommends \
  nix-bin nix-setup-systemd openssh-server ca-certificates busybox-static nftables fish opendoas polkitd

rm "$root/usr/sbin/policy-rc.d" "$root/etc/dpkg/dpkg.cfg.d/lab"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
# Each host gets an identity of its own.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
# Journals survive a power cut, as on NixOS.
mkdir -p "$root/var/log/journal"

# No cache and no resolver is reachable: without these every command waits for retries.
cat >"$root/etc/nix/nix.conf" <<'CONF'
experimental-features = nix-command flakes
substituters =
trusted-users = root
build-users-group = nixbld
sandbox = false
flake-registry =
warn-dirty = false
CONF
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >"$root/etc/resolv.conf"
sed -i 's/^hosts:.*/hosts: files/' "$root/etc/nsswitch.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"

in_root() { chroot "$root" "$@"; }
in_root systemctl -q enable systemd-networkd.service ssh.service nix-daemon.socket
in_root systemctl -q mask \
  systemd-networkd-wait-online.service console-getty.service getty.target \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
