#!/bin/bash
# Runs as PID 1 of a new host (own net, pid, mount, uts, ipc namespaces).
set -euo pipefail
n=$1 ip=$2 LAB=$3 VENV=$4 SHM=$5 UPPER=$6 SHARE=${7:-}
hostname "$n"
mount --make-rprivate /
b=$LAB/h/$n/m; mkdir -p "$b"
mount -t tmpfs -o "size=$UPPER,mode=755" tmpfs "$b"
mkdir "$b/upper" "$b/work" "$b/root"
# the machine's own root as the read-only "installed system"; writes go to tmpfs
mount -t overlay overlay -o "lowerdir=/,upperdir=$b/upper,workdir=$b/work" "$b/root"
r=$b/root
mount -t tmpfs -o "size=$UPPER,mode=1777" tmpfs "$r/tmp"
mkdir -p "$r$VENV"; mount --bind "$VENV" "$r$VENV"; mount -o remount,bind,ro "$r$VENV"
if [ "$SHARE" ]; then mkdir -p "$r/share"; mount --bind "$SHARE" "$r/share"; fi
mount -t proc proc "$r/proc"
mount -t sysfs sysfs "$r/sys"
mount -t tmpfs -o mode=755 tmpfs "$r/dev"
for d in null zero full random urandom tty; do touch "$r/dev/$d"; mount --bind "/dev/$d" "$r/dev/$d"; done
mkdir "$r/dev/pts" "$r/dev/shm"; ln -s pts/ptmx "$r/dev/ptmx"; ln -s /proc/self/fd "$r/dev/fd"
ln -s fd/0 "$r/dev/stdin"; ln -s fd/1 "$r/dev/stdout"; ln -s fd/2 "$r/dev/stderr"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$r/dev/pts"
mount -t tmpfs -o "size=$SHM,mode=1777" tmpfs "$r/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$r/run"; mkdir -p "$r/run/sshd"
# a home of its own
mount -t tmpfs -o mode=700 tmpfs "$r/root"
# the interpreter that the venv links to may lie under the home that was just hidden: bring its prefix back in
base=$(dirname "$(dirname "$(readlink -f "$VENV/bin/python")")")
case "$base/" in /root/*) mkdir -p "$r$base"; mount --bind "$base" "$r$base"; mount -o remount,bind,ro "$r$base";; esac
mkdir -m 700 "$r/root/.ssh"; cp "$LAB/id.pub" "$r/root/.ssh/authorized_keys"
printf 'export PATH=%s/bin:$PATH\nexport RAY_USAGE_STATS_ENABLED=0\n' "$VENV" >"$r/root/.bashrc"
printf '[ -f ~/.bashrc ] && . ~/.bashrc\n' >"$r/root/.profile"
[ "$n" = driver ] && install -m 600 "$LAB/id" "$r/root/.ssh/id_hosts"
printf '127.0.0.1 localhost\n%s %s\n' "$ip" "$n" >"$r/etc/hosts"
: >"$r/etc/resolv.conf"
rm -f "$r"/etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f "$r/etc/ssh/ssh_host_ed25519_key" -C "$n"
cat >"$r/etc/ssh/sshd_config" <<S
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
MaxSessions 50
MaxStartups 50:30:100
Subsystem sftp internal-sftp
PidFile none
S
cd "$r"; mkdir -p mnt/old; pivot_root . mnt/old; cd /
umount -l /mnt/old
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /usr/sbin/sshd -D -e
