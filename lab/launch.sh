# Gives one host its root and runs it. Started in mount and network namespaces of
# its own, so that nothing it mounts outlives it.
#
#   launch.sh hold DIR LOWER                       root for a host that is off, until stdin closes
#   launch.sh run  DIR LOWER CGROUP PORT ARGS...   boot; ARGS are for systemd-nspawn
set -euo pipefail
mode=$1 dir=$2 lower=$3
shift 3
root=$dir/root

mount --make-rprivate /
mount -t overlay overlay "$root" \
  -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work,index=off,metacopy=off,redirect_dir=off"
for image in "$dir"/disks/*; do
  [[ -e $image ]] || continue
  # The name of a disk is its mount point with every slash written as a comma.
  name=${image##*/}
  mkdir -p "$root${name//,//}"
  mount -o loop "$image" "$root${name//,//}"
done

hold() {
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/run"
  echo ready
  read -r _ || true
}

# systemd refuses to boot where version 1 controllers are mounted beside version 2.
own_cgroup() {
  if [[ $(stat -f -c %T /sys/fs/cgroup) != cgroup2fs ]]; then
    umount -l /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
  fi
  cgroup=/sys/fs/cgroup$1
  mkdir -p "$cgroup/launcher" "$cgroup/machine"
  echo $$ >"$cgroup/launcher/cgroup.procs"
}

# A host gets a new bridge port at every boot; the limit of the old one holds for it too.
restore_limit() {
  local port=$1 rate
  [[ -s $dir/rate ]] || return 0
  for _ in {1..200}; do
    [[ $(ip -o link show dev "$port" 2>/dev/null) == *" master "* ]] && break
    sleep 0.02
  done
  read -r rate <"$dir/rate"
  tc qdisc replace dev "$port" root tbf rate "$rate" burst 64kb latency 100ms
}

run() {
  local port=$2 status
  own_cgroup "$1"
  shift 2
  # nspawn keeps files by machine name there, and names repeat between worlds.
  mkdir -p /run/systemd/nspawn
  mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
  while :; do
    rm -f "$dir/limited"
    # After a power cut the kernel may not have removed the old port yet.
    ip link del dev "$port" 2>/dev/null || true
    (
      echo $BASHPID >"$cgroup/machine/cgroup.procs"
      exec systemd-nspawn -q --settings=no --keep-unit --register=no --link-journal=no \
        --resolv-conf=off --timezone=off --kill-signal=SIGRTMIN+3 -D "$root" "$@"
    ) &
    restore_limit "$port" || echo "lab: cannot limit what $port receives"
    : >"$dir/limited"
    status=0
    wait $! || status=$?
    echo "lab: nspawn ended with status $status"
    # 133 is a reboot from inside.
    ((status == 133)) || exit "$status"
  done
}

"$mode" "$@"
