# shellcheck shell=bash disable=SC2154,SC2034 # shares its variables with demo.sh
# How the demo gets onto this machine and off it again: the Engine or plain processes,
# Evenkeel itself, what an earlier demo left behind. Sourced by tests/demo.sh.

prepare() {
  [ -x "$evenkeel" ] || fail_early "there is no $evenkeel; run: make demo"
  choose_runtime "$@"
  # One at a time per clone. The lock goes with this process, however it ends.
  if [ -L "$home" ] || { [ -e "$home" ] && [ ! -O "$home" ]; }; then
    fail_early "$home belongs to somebody else; remove it"
  fi
  mkdir -p "$root/.demo"
  exec 8>"$root/.demo/lock" || fail_early "cannot write $root/.demo/lock"
  flock -n 8 || fail_early "a demo of this folder runs already; end it with Ctrl-C first"
  owns_home=1
  sweep
  rm -rf "$home"
  mkdir -m 755 "$home" || fail_early "cannot make $home"
  : >"$home/prober"
  printf '%sEvenkeel demo%s: %s, a private Postgres, a Git repository\n' "$bold" "$plain" "$below"
}

fail_early() {
  echo "demo: $1" >&2
  exit 1
}

# Docker where an Engine runs or can be started, else plain processes.
choose_runtime() {
  runtime=${EVENKEEL_DEMO_RUNTIME:-}
  local said
  case $runtime in
  '' | docker)
    if said=$("$root/.ci/engine.sh" start 2>&1); then
      [[ $said != *'started dockerd'* ]] || own_engine=1
      if [ "$(id -u)" != 0 ] && { [ ! -r "$socket" ] || [ ! -w "$socket" ]; }; then
        # Only root may use this Engine; engine.sh could, so sudo asks nothing.
        trap - EXIT
        exec sudo -n --preserve-env=CI,CARGO_TARGET_DIR,DOCKER_HOST,EVENKEEL_DEMO_DEADLINE,NO_COLOR,TERM \
          EVENKEEL_DEMO_OWN_ENGINE="$own_engine" \
          ENGINE_STATE="${ENGINE_STATE:-${TMPDIR:-/tmp}/evenkeel-engine-$(id -u)}" "$0" "$@"
      fi
      own_engine=${EVENKEEL_DEMO_OWN_ENGINE:-$own_engine}
      said=$("$root/.ci/image.sh" 2>&1) || fail_early "the demo's images cannot be made: $said"
      runtime=docker
    elif [ "$runtime" = docker ]; then
      fail_early "$said"
    else
      echo "No Docker Engine can run here, so the apps run as plain processes:"
      sed 's/^/  /' <<<"$said"
      runtime=process
    fi
    ;;
  process) ;;
  *) fail_early "EVENKEEL_DEMO_RUNTIME is \"$runtime\"; it can be docker or process" ;;
  esac
  if [ "$runtime" = docker ]; then
    outside='the Engine' thing=container thing_is=container by_hand='removed from the Engine: container'
    below="containers on Docker Engine $(engine GET /version | jq -r .Version)"
  else
    outside='the machine' thing=process thing_is='a process of supervisor' by_hand='kill -9: the program below supervisor'
    below='plain processes of this machine'
  fi
}

# Control groups, of the second kind or the first.
can_limit() {
  [ -w /sys/fs/cgroup/cgroup.subtree_control ] || [ -w /sys/fs/cgroup/memory/cgroup.procs ]
}

make_repository() {
  mkdir "$home/shop"
  cp -r "$root/examples-repo/$runtime/." "$root/examples-repo/.evenkeel" "$home/shop/"
  # The schema now lies one folder nearer.
  sed -i '1s,\.\./\.\./\.evenkeel,../.evenkeel,' "$home"/shop/apps/*.yaml
  if [ "$runtime" = process ] && ! can_limit; then
    # Evenkeel refuses limits that a node cannot hold, rather than forget them.
    echo '  no control group is writable here, so the apps go without cpu and memory limits'
    sed -i 's/^    limits: /    requests: /' "$home"/shop/apps/{web,worker}.yaml
    sed -i '/^    limits: /d' "$home"/shop/apps/api.yaml
  fi
  repo init -q -b main
  repo add -A
  repo commit -q -m 'The shop opens'
  commit=$(repo rev-parse HEAD)
  say 'git commit' "${commit:0:8} \"The shop opens\": apps/web.yaml, apps/api.yaml, apps/worker.yaml"
}

# As its own session: Ctrl-C ends the demo, and the demo ends this.
start_evenkeel() {
  local port=7600
  if (exec 3<>/dev/tcp/127.0.0.1/7600) 2>/dev/null; then
    port=0 # taken: any free one
  fi
  say 'evenkeel up' "--git $home/shop --runtime $runtime (Postgres, controller and agent in one process)"
  local flags=(--data-dir "$home/data" --listen "127.0.0.1:$port" --cluster "$cluster"
    --node-name local --git "$home/shop" --runtime "$runtime")
  [ "$runtime" != docker ] || flags+=(--engine-socket "$socket")
  local name
  for name in $(compgen -e EVENKEEL_); do unset "$name"; done
  RUST_LOG=info setsid "$evenkeel" up "${flags[@]}" >"$home/evenkeel.log" 2>&1 </dev/null 8>&- &
  server=$!
  local end=$((SECONDS + deadline))
  until [ -s "$home/data/listen" ] && [ -s "$home/data/admin-token" ] &&
    curl -sf -m 2 -o /dev/null "http://$(cat "$home/data/listen")/readyz"; do
    kill -0 $server 2>/dev/null || fail "evenkeel does not start"
    [ $SECONDS -lt $end ] || fail "evenkeel is not ready after $deadline s"
    sleep 0.05
  done
  url=http://$(cat "$home/data/listen")
  export EVENKEEL_DATA_DIR=$home/data
  (umask 077 && echo "Authorization: Bearer $(cat "$home/data/admin-token")" >"$home/auth")
  # -n: also what happened while we waited.
  : >"$home/events.jsonl"
  "$evenkeel" events -f -n 1000 -o json >>"$home/events.jsonl" 2>"$home/events.log" 8>&- &
  follower=$!
  exec {events_fd}<"$home/events.jsonl"
  say 'ready' "$url answers"
}

show_the_way() {
  local bin=$evenkeel
  [ -n "${CARGO_TARGET_DIR:-}" ] || bin=target/debug/evenkeel
  cat <<TEXT

Everything runs on: $below, looked after by Evenkeel.

  page   $url/  (any user name; the password is in $home/data/admin-token)
  API    $url/api/v1/apps  (the same as bearer token)
  docs   README.md, and: $bin help
  CLI    export EVENKEEL_DATA_DIR=$home/data
         $bin status web
         $bin events -f
         $bin logs web -f
  Git    cd $home/shop
         change VERSION in apps/web.yaml, commit, and watch here what happens

${bold}Ctrl-C stops it and removes everything it made.${plain}

TEXT
}

# Goes on telling what happens, until somebody ends it.
run_on() {
  step_ms=$(now_ms)
  while kill -0 "$server" 2>/dev/null; do
    show_events
    sleep 0.3
  done
  fail 'evenkeel ended by itself'
}

interrupted() {
  trap '' INT TERM HUP
  echo
  # Once all was shown, Ctrl-C is the way it ends; before, it is not what was asked for.
  [ $proven = $steps ] || exit 130
  exit 0
}

# ---- the end ------------------------------------------------------------------

# Runs on every exit: takes the apps down through Evenkeel, stops it, and leaves nothing.
end() { # EXIT CODE
  local code=$1
  trap '' INT TERM HUP
  trap - EXIT
  [ -n "${owns_home:-}" ] || exit "$code"
  [ -z "$server" ] || printf '\nStopping: the apps, Evenkeel, its Postgres.\n'
  # shellcheck disable=SC2086 # empty where not started
  [ -z "$prober$follower" ] || kill $prober 2>/dev/null
  if [ -n "$url" ] && kill -0 "$server" 2>/dev/null; then
    "$evenkeel" source remove shop --prune >/dev/null 2>&1
    until_true 30 eval '[ "$(api apps 2>/dev/null | jq ".items | length")" = 0 ]'
  fi
  [ -z "$follower" ] || kill "$follower" 2>/dev/null
  if [ -n "$server" ] && kill "$server" 2>/dev/null; then
    until_true 30 eval '! kill -0 $server 2>/dev/null' || kill -KILL "$server"
  fi
  wait 2>/dev/null
  local left
  left=$(leftovers)
  sweep
  if [ -n "$left" ] && [ "$code" = 0 ]; then
    echo "Evenkeel left something behind, now removed:" >&2
    sed 's/^/  /' <<<"$left" >&2
    code=1
  fi
  rm -rf "$home"
  [ -z "$own_engine" ] || "$root/.ci/engine.sh" stop
  [ -z "$server" ] || [ -n "$left" ] || echo "Stopped; nothing is left of it."
  exit "$code"
}

until_true() { # SECONDS COMMAND…
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

# What runs of a demo of this folder: "kind id what" a line.
leftovers() {
  local file pid text mark
  for file in $(grep -lsaF "$home/data" /proc/[0-9]*/cmdline /proc/[0-9]*/environ |
    sed 's,/environ$,/cmdline,' | sort -u); do
    pid=${file#/proc/}
    pid=${pid%/cmdline}
    text=$({ tr '\0' ' ' <"$file"; } 2>/dev/null) || continue
    case $text in
    *" up --data-dir $home/data "* | *" -D $home/data/postgres"* | *" shim start $home/data/"*)
      echo "process $pid $text"
      ;;
    *)
      # A follower of events of ours, or a program of the process runtime. Shells that only
      # point at this demo are their owner's.
      mark="^EVENKEEL_FILES=$home/data/"
      [[ $text != *' events -f -n 1000 -o json '* ]] || mark="^EVENKEEL_DATA_DIR=$home/data$"
      if tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -q "$mark"; then
        echo "process $pid $text"
      fi
      ;;
    esac
  done 2>/dev/null
  [ "$runtime" = docker ] || return 0
  containers all | jq -r '.[] | "container \(.Id) \(.Names[0])"'
}

# Ends what an earlier demo of this folder left when it was killed, or what this one
# could not end by itself.
sweep() {
  local kind id rest round
  for round in 1 2 3; do
    [ -n "$(leftovers)" ] || return 0
    leftovers | sort -k1,1r | while read -r kind id rest; do
      case $kind in
      process) kill -KILL "$id" 2>/dev/null ;;
      container) engine DELETE "/containers/$id" -d force=1 -d v=1 >/dev/null 2>&1 ;;
      esac
    done
    sleep 0.2
  done
  return 0
}
