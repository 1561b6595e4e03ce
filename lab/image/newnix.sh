#!/usr/bin/env bash
# Puts the newest Nix that Debian has into an empty directory, with all libraries it needs,
# so that it runs as /opt/nix beside whatever a host has. Nothing is installed here.
# Usage: newnix.sh DIR
set -euo pipefail

dir=${1:?usage: newnix.sh DIR}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# The mirror is the one this machine installs its own packages from.
# shellcheck disable=SC2016 # apt expands these, not the shell
mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
  awk '$2 == "main" && $1 ~ /\/debian\/?$/ { print $1; exit }')
if [[ -z $mirror ]]; then
  echo "newnix: no Debian mirror in this machine's apt configuration" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/state/lists/partial "$work"/cache/archives/partial "$work/root"
# To an apt that knows of no installed package everything is missing, libc too.
: >"$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sid.list"
apt() {
  apt-get -q -o "Dir::State=$work/state" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache" \
    -o "Dir::Etc::SourceList=$work/sid.list" -o Dir::Etc::SourceParts=- -o APT::Sandbox::User=root \
    -o APT::Install-Recommends=0 -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=0 "$@"
}
apt update
apt install -y --download-only nix-bin
for package in "$work"/cache/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done

mkdir "$dir/bin" "$dir/lib" "$dir/libexec"
cp "$work/root/usr/bin/nix" "$dir/libexec/nix"
cp "$work"/root/usr/lib64/ld-linux-*.so.* "$dir/lib/ld.so"
find "$work/root/usr/lib" -path '*-linux-gnu/*.so*' -maxdepth 2 -exec cp -d -t "$dir/lib" {} +

# The libraries of another libc need its own loader. Nix learns from NIX_BIN_DIR how to call
# itself: what /proc says that it is, is the loader.
install -m 0755 /dev/stdin "$dir/bin/nix" <<'SH'
#!/bin/sh
export NIX_BIN_DIR=/opt/nix/bin
exec /opt/nix/lib/ld.so --argv0 "${0##*/}" --library-path /opt/nix/lib /opt/nix/libexec/nix "$@"
SH
for name in nix-build nix-channel nix-collect-garbage nix-copy-closure nix-daemon nix-env nix-hash nix-instantiate nix-prefetch-url nix-shell nix-store; do
  ln -s nix "$dir/bin/$name"
done
