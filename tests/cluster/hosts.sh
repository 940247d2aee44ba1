#!/bin/bash
# Hosts out of namespaces, on one machine: each has its own network, processes, mounts, /tmp, /root and
# /dev/shm, and an sshd as its first process. A bridge joins them, in a network namespace of its own: the
# machine's network is not touched. All hang below one process: when it is killed, they are gone.
#
#   hosts.sh up NAME...                 make these hosts
#   hosts.sh add NAME                   add one, or a blank one in the place of one that was killed
#   hosts.sh exec NAME COMMAND...       run a command inside a host
#   hosts.sh kill NAME                  cut its power: SIGKILL to its first process
#   hosts.sh cut NAME | heal NAME       pull its cable, or put it back
#   hosts.sh ls                         names, addresses, and who lives
#   hosts.sh down                       end everything
#
# Settings, from the environment: STATE (a folder), VENV (a virtual environment, seen by all hosts at its
# own path), SHARE (a folder, seen by all hosts as /share).
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
LAB=${STATE:?a folder for process ids, keys and logs}
NET=${NET:-10.77.0}                 # /24
VENV=${VENV:?a virtual environment}
SHM=${SHM:-2g}                      # each host's /dev/shm
UPPER=${UPPER:-2g}                  # each host's writable layer (tmpfs)
SHARE=${SHARE:?a folder}

labpid() { cat "$LAB/lab.pid"; }
in_lab() { nsenter -t "$(labpid)" --net --mount --pid --uts --ipc -- "$@"; }
alive() { [ -d "/proc/$1" ] && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }   # a zombie is gone
child_of() { for _ in $(seq 100); do c=$(pgrep -P "$1" | head -1 || true); [ -n "$c" ] && { echo "$c"; return; }; sleep .05; done; echo "no child of $1" >&2; return 1; }

make_lab() {
  mkdir -p "$LAB/h"
  [ -f "$LAB/id" ] || ssh-keygen -q -t ed25519 -N '' -f "$LAB/id" -C hosts
  setsid unshare --net --pid --mount --uts --ipc --fork --kill-child --mount-proc \
     sleep infinity </dev/null >"$LAB/lab.log" 2>&1 9>&- &
  echo $! >"$LAB/unshare.pid"
  child_of $! >"$LAB/lab.pid"
  for _ in $(seq 100); do [ "$(readlink /proc/$(labpid)/exe)" = "$(readlink -f "$(command -v sleep)")" ] && break; sleep .05; done
  in_lab bash -ec "ip link set lo up; ip link add br0 type bridge; ip addr add $NET.254/24 dev br0; ip link set br0 up"
}

add_host() { # NAME [OCTET]
  local n=$1 o=${2:-}
  mkdir -p "$LAB/h/$n"
  if [ -z "$o" ]; then
    if [ -f "$LAB/h/$n/octet" ]; then o=$(cat "$LAB/h/$n/octet"); else o=$(( $(find "$LAB/h" -name octet | wc -l) + 1 )); fi
  fi
  echo "$o" >"$LAB/h/$n/octet"
  : >"$LAB/h/$n/ready"
  # --pid=... entered with nsenter so that the host dies with the lab
  nsenter -t "$(labpid)" --net --mount --pid --uts --ipc -- \
    setsid unshare --net --pid --mount --uts --ipc --fork --kill-child \
    bash "$HERE/host_init.sh" "$n" "$NET.$o" "$LAB" "$VENV" "$SHM" "$UPPER" "$SHARE" </dev/null >"$LAB/h/$n/log" 2>&1 9>&- &
  local ns=$!
  disown
  local u p; 
  u=$(child_of $ns); p=$(child_of "$u"); echo "$p" >"$LAB/h/$n/pid"
  in_lab bash -ec "ip link del v-$n 2>/dev/null || true; ip link add v-$n type veth peer name p-$n; \
     ip link set p-$n address $(printf '02:77:00:00:00:%02x' "$o"); ip link set v-$n master br0 up"
  # the pid is the real machine's: move the peer from a process that sees both
  nsenter -t "$(labpid)" --net -- ip link set "p-$n" netns "$p"
  nsenter -t "$p" --net -- bash -ec "ip link set p-$n name eth0; ip link set lo up; ip addr add $NET.$o/24 dev eth0; ip link set eth0 up; [ '${NOROUTE:-}' ] || ip route add default via $NET.254"
  for _ in $(seq 200); do nsenter -t "$(labpid)" --net -- bash -c "exec 3<>/dev/tcp/$NET.$o/22" 2>/dev/null && return 0; sleep .05; done
  echo "host $n: sshd did not come up"; cat "$LAB/h/$n/log"; return 1
}

host_exec() { local n=$1; shift; local p; p=$(cat "$LAB/h/$n/pid"); nsenter -t "$p" --net --pid --mount --uts --ipc --root -- env -i -C /root HOME=/root USER=root TERM=${TERM:-dumb} LANG=C.UTF-8 PATH="$VENV/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" RAY_USAGE_STATS_ENABLED=0 "$@"; }

# one hosts.sh at a time may make or end things in this LAB: a `down` racing an `up` would orphan the new lab
case ${1:-} in up|add|down) exec 9>"$LAB.lock"; flock 9 ;; esac
[ "${1:-}" ] || { sed -n 2,15p "$0"; exit 2; }
case ${1:-} in
  up) shift; [ ! -f "$LAB/lab.pid" ] || ! alive "$(labpid)" || { echo "a lab is up at $LAB (hosts.sh down first)" >&2; exit 1; }
      make_lab; for n in "$@"; do add_host "$n"; done; "$0" ls ;;
  add) add_host "$2" ;;
  exec) shift; host_exec "$@" ;;
  kill) kill -9 "$(cat "$LAB/h/$2/pid")" ;;
  cut) nsenter -t "$(labpid)" --net -- ip link set "v-$2" down ;;
  heal) nsenter -t "$(labpid)" --net -- ip link set "v-$2" up ;;
  ls) for d in "$LAB"/h/*/; do n=$(basename "$d"); p=$(cat "$d/pid"); echo "$n $NET.$(cat "$d/octet") pid=$p $(alive "$p" && echo alive || echo dead)"; done ;;
  down) if [ -f "$LAB/lab.pid" ]; then kill -9 "$(labpid)" 2>/dev/null || true
          for _ in $(seq 100); do alive "$(cat "$LAB/unshare.pid")" || break; sleep .05; done; fi; rm -rf "$LAB" "$LAB.lock" ;;
  *) sed -n 2,15p "$0"; exit 2 ;;
esac
