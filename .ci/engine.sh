#!/usr/bin/env bash
# engine.sh start: makes sure that a Docker Engine answers, and starts dockerd
# if none does. Exit 1, with the reason, where none can run.
# engine.sh stop: ends the dockerd that an earlier start started; no other.
#
#   DOCKER_HOST    unix://SOCKET  [unix:///var/run/docker.sock]
#   ENGINE_STATE   folder for log and pid of an Engine started here [/tmp/evenkeel-engine-UID]
#   ENGINE_FLAGS   further flags for dockerd
set -euo pipefail

host=${DOCKER_HOST:-unix:///var/run/docker.sock}
socket=${host#unix://}
state=${ENGINE_STATE:-${TMPDIR:-/tmp}/evenkeel-engine-$(id -u)}
deadline=60 # seconds for one attempt; a cold start on a slow disk takes about 10
PATH="$PATH:/usr/sbin:/sbin"

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

ping() { "$@" curl -sf -m 3 --unix-socket "$socket" http://engine/_ping >/dev/null 2>&1; }

# An Engine that only root may use answers too: starting another beside it would not help.
answers() {
  ping env || { [ -S "$socket" ] && [ ! -w "$socket" ] && ping as_root; }
}

# Waits until the Engine answers, the process ends, or time is up.
await() {
  local end=$((SECONDS + deadline))
  while [ $SECONDS -lt $end ]; do
    answers && return 0
    kill -0 "$1" 2>/dev/null || return 1
    sleep 0.2
  done
  return 1
}

# Not if it only waits to be reaped: the first process of a container may never do that.
runs() { grep -Eq '^State:[[:space:]]+[^ZX[:space:]]' "/proc/$1/status" 2>/dev/null; }

# The log of the last attempt is kept: it says why.
try() {
  # Not through the function: what is started must be the process whose number is kept.
  local sudo=(sudo -n)
  [ "$(id -u)" != 0 ] || sudo=()
  # shellcheck disable=SC2086 # flags are words
  "${sudo[@]}" setsid dockerd --host "unix://$socket" ${ENGINE_FLAGS:-} "$@" \
    >"$state/dockerd.log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$state/dockerd.pid"
  if await "$pid"; then
    echo "engine: started dockerd${*:+ with $*} (log: $state/dockerd.log)"
    return 0
  fi
  as_root kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  return 1
}

case "${1:-}" in
start)
  answers && exit 0
  mkdir -p "$state"
  if [ -d /run/systemd/system ] && [ -z "${DOCKER_HOST:-}" ] &&
    systemctl cat docker.service >/dev/null 2>&1 &&
    as_root systemctl start docker 2>/dev/null; then
    answers && echo "engine: started the docker service" && exit 0
  fi
  if ! command -v dockerd >/dev/null; then
    echo "engine: no Docker Engine answers at $socket and dockerd is not installed (make setup)" >&2
    exit 1
  fi
  # A file system that cannot be stacked on, then a kernel without the firewall's tables.
  try && exit 0
  try --storage-driver=vfs && exit 0
  try --storage-driver=vfs --iptables=false && exit 0
  echo "engine: dockerd does not start here; its last words:" >&2
  tail -n 5 "$state/dockerd.log" >&2
  exit 1
  ;;
stop)
  [ -s "$state/dockerd.pid" ] || exit 0
  pid=$(cat "$state/dockerd.pid")
  rm -f "$state/dockerd.pid"
  # A number may have been given anew since.
  grep -qz dockerd "/proc/$pid/cmdline" 2>/dev/null || exit 0
  as_root kill "$pid"
  end=$((SECONDS + deadline))
  while runs "$pid" && [ $SECONDS -lt $end ]; do
    sleep 0.2
  done
  ! runs "$pid" || {
    echo "engine: dockerd (process $pid) does not end (log: $state/dockerd.log)" >&2
    exit 1
  }
  ;;
*)
  echo "usage: engine.sh start|stop" >&2
  exit 2
  ;;
esac
