#!/bin/bash
# systemd-box.sh FOLDER CGROUP MOUNT...: become a machine of its own: systemd as its process 1, in
# namespaces of its own, over a copy of this machine's root that is thrown away. Needs root.
#
# Each MOUNT is SOURCE:TARGET, a folder of this machine that the box sees, read-only, elsewhere.
set -euo pipefail
box=$1 cgroup=$2
shift 2

if [ "$$" != 1 ]; then
  # The control group comes first: of its namespace it will be the root.
  mkdir -p "$cgroup"
  echo 0 >"$cgroup/cgroup.procs"
  exec unshare --fork --kill-child --pid --mount --net --ipc --uts --propagation private \
    bash "$0" "$box" "$cgroup" "$@"
fi

mount -t tmpfs tmpfs "$box"
mkdir "$box"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$box/upper,workdir=$box/work" "$box/root"
cd "$box/root"
for each in "$@"; do
  mkdir -p ".${each#*:}"
  mount --bind "${each%%:*}" ".${each#*:}"
  mount -o remount,bind,ro ".${each#*:}"
done

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
for name in sys sysrq-trigger irq bus; do # else settings of the box would be the host's
  [ -e "proc/$name" ] || continue
  mount --bind "proc/$name" "proc/$name"
  mount -o remount,bind,ro "proc/$name"
done
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for name in null zero full random urandom tty; do
  touch "dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for name in stdin:0 stdout:1 stderr:2; do ln -s "fd/${name#*:}" "dev/${name%:*}"; done
ip link set lo up

# Nothing starts but what a test starts.
rm -rf etc/systemd/system/*.wants
: >etc/fstab
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
for name in dev-hugepages.mount proc-sys-fs-binfmt_misc.{auto,}mount sys-fs-fuse-connections.mount \
  sys-kernel-{config,debug,tracing}.mount systemd-{binfmt,modules-load,remount-fs,sysctl}.service; do
  ln -sfn /dev/null "etc/systemd/system/$name"
done

exec env -i PATH="$PATH" container=other unshare --cgroup bash -c '
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mkdir -p .old
  pivot_root . .old
  umount -l /.old
  mount --make-rshared / # as systemd does itself where it is in no container: credentials need it
  exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=0'
