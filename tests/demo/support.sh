# shellcheck shell=bash disable=SC2154,SC2034 # shares its variables with demo.sh
# What the demo's story stands on: printing, the API, the outside view (Engine or
# processes), the prober, start and end. Sourced by tests/demo.sh.
#
# Nothing in here makes up what it prints: lines with a time come from Evenkeel's
# own events, checks compare the API with what the Engine or /proc says.

# ---- printing -----------------------------------------------------------------

bold='' faint='' good='' bad='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  bold=$'\e[1m' faint=$'\e[2m' good=$'\e[32m' bad=$'\e[1;31m' plain=$'\e[0m'
fi

now_ms() {
  local t=${EPOCHREALTIME/[.,]/}
  echo $((t / 1000))
}

# Milliseconds since $1 as "4.9".
since() {
  local ms=$(($(now_ms) - $1))
  printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

# Wraps text under a label of 35 columns.
entry() { # TIME WHAT TEXT
  local first=1 line
  while IFS= read -r line; do
    if [ $first = 1 ]; then
      printf '  %s%9s%s  %-20s  %s\n' "$faint" "$1" "$plain" "$2" "$line"
    else
      printf '%35s%s\n' '' "$line"
    fi
    first=0
  done < <(fold -s -w "$width" <<<"$3")
}

say() { entry "$(since "$step_ms") s" "$1" "$2"; }

step() { # TITLE
  number=$((number + 1))
  step_title=$1
  step_ms=$(now_ms)
  printf '\n%s%s. %s%s\n' "$bold" "$number" "$1" "$plain"
}

shown() { # WHAT WAS PROVEN
  entry "$(since "$step_ms") s" "${good}ok${plain}                  " "$1"
  proven=$((proven + 1))
}

fail() { # WHY
  trap '' INT TERM HUP
  printf '\n%sFAILED%s in step %s (%s), after %s s: %s\n' "$bad" "$plain" "$number" "$step_title" \
    "$(since "$step_ms")" "$1" >&2
  if [ -n "${url:-}" ]; then
    { "$evenkeel" status; "$evenkeel" why web; "$evenkeel" events -n 25; } 2>&1 | sed 's/^/  | /' >&2
  fi
  mkdir -p "$root/.demo"
  local file
  for file in evenkeel.log events.jsonl prober; do
    [ ! -s "$home/$file" ] || cp "$home/$file" "$root/.demo/$file"
  done
  [ ! -s "$home/evenkeel.log" ] || tail -n 15 "$home/evenkeel.log" | sed 's/^/  | /' >&2
  echo "  the logs of this run are kept in .demo/" >&2
  exit 1
}

# ---- Evenkeel's API and events ------------------------------------------------

# The token goes through a file: arguments are for everybody's eyes.
api() { curl -sS --fail-with-body -m 5 -H "@$home/auth" "$url/api/v1/$1"; }

# The app's status document into $doc; true if it satisfies the jq condition.
app_is() { # APP CONDITION [NAME VALUE]…
  local app=$1 condition=$2
  shift 2
  local args=()
  while [ $# -gt 0 ]; do
    args+=(--arg "$1" "$2")
    shift 2
  done
  doc=$(api "projects/shop/apps/$app" 2>/dev/null) || return 1
  jq -e "${args[@]}" "$condition" <<<"$doc" >/dev/null 2>&1
}

# All there and ready, nothing left to do.
at_rest='.health == "healthy" and .rollout == null
  and .replicas.ready == .replicas.desired and .replicas.total == .replicas.desired'

app_healthy() {
  app_is "$1" "$at_rest and .sync == \"synced\" and .running.commit == \$c
    and all(.instances[]; .commit == \$c)" c "$2"
}
app_gone() { [ "$(api "projects/shop/apps/$1" 2>/dev/null | jq -r .status)" = 404 ]; }
apps_are() { [ "$(api apps 2>/dev/null | jq -r '[.items[].name] | sort | join(" ")')" = "$*" ]; }

# Prints what is new in Evenkeel's record, with the time since the step began.
event_part=''
show_events() {
  local part lines=''
  while true; do
    if IFS= read -r part <&"$events_fd"; then
      lines+=$event_part$part$'\n'
      event_part=''
    else
      event_part+=$part # the rest of the line is still to come
      break
    fi
  done
  [ -n "$lines" ] || return 0
  local time kind message
  while IFS=$'\t' read -r time kind message; do
    entry "$time s" "$kind" "$message"
  done < <(jq -r --argjson t0 "$step_ms" '
    select(.kind | IN("leader.elected", "source.added", "instance.created", "rollout.progress") | not)
    | (.at | sub("\\.[0-9]+Z$"; "Z") | fromdateiso8601 * 1000) as $whole
    | ($whole + (.at | capture("\\.(?<ms>[0-9]{3})").ms | tonumber) - $t0) as $ms
    | (if $ms < 0 then 0 else $ms end) as $ms
    | ["\($ms / 1000 | floor).\($ms % 1000 / 100 | floor)", .kind,
       (.app // "" | sub("^shop/"; "")) as $app
       | if $app == "" or (.message | contains("shop/" + $app)) then .message
         else $app + ": " + .message end]
    | @tsv' <<<"$lines")
}

# Shows events until the command succeeds. Fails loudly when it does not in time.
await() { # WHAT COMMAND…
  local what=$1 end=$((SECONDS + deadline))
  shift
  until "$@"; do
    show_events
    kill -0 "$server" 2>/dev/null || fail "evenkeel ended by itself"
    [ $SECONDS -lt $end ] || fail "waited $deadline s for: $what"
    sleep 0.1
  done
  sleep 0.2 # events follow the state they tell about at once; let the last ones in
  show_events
}

# ---- the view from outside ----------------------------------------------------

engine() { # METHOD PATH [curl's arguments…]
  local method=$1 path=$2
  shift 2
  curl -sS --fail-with-body -m 20 -X "$method" --unix-socket "$socket" -G "http://engine$path" "$@"
}

# Containers of this demo, and of one app of it: JSON of the Engine.
containers() { # all|running [APP]
  local labels="\"dev.evenkeel.cluster=$cluster\"" all=0
  [ -z "${2:-}" ] || labels+=",\"dev.evenkeel.app=$2\""
  [ "$1" = running ] || all=1
  engine GET /containers/json -d "all=$all" --data-urlencode "filters={\"label\":[$labels]}"
}

# Supervisors of the process runtime: "PID INSTANCE" a line.
supervisors() {
  local file line
  for file in $(grep -lsaF "$home/data/agent/processes/" /proc/[0-9]*/cmdline); do
    line=$({ tr '\0' ' ' <"$file"; } 2>/dev/null) || continue
    case $line in *" shim start $home/data/agent/processes/"*)
      file=${file#/proc/}
      line=${line% }
      echo "${file%/cmdline} ${line##*/}"
      ;;
    esac
  done
}

# Ids of the app's instances that really run, sorted.
running_outside() { # APP
  if [ "$runtime" = docker ]; then
    containers running "$1" | jq -r '.[].Labels["dev.evenkeel.instance"]' | sort
    return
  fi
  local pid id
  supervisors | while read -r pid id; do
    # The program itself is the supervisor's child.
    for pid in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); do
      if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "EVENKEEL_APP=$1"; then
        echo "$id"
        break
      fi
    done
  done | sort
}

# The API's instances of an app are exactly those that run.
same_outside() { # APP
  local told seen
  told=$(api "projects/shop/apps/$1" | jq -r '.instances[].id' | sort)
  seen=$(running_outside "$1")
  [ "$told" = "$seen" ]
}

check_outside() { # APP…
  local app
  for app in "$@"; do
    same_outside "$app" || fail "the API and $outside disagree about $app:
API:     $(api "projects/shop/apps/$app" | jq -c '[.instances[].id]')
outside: $(running_outside "$app" | tr '\n' ' ')"
  done
}

# Takes the instance away behind Evenkeel's back.
remove_by_hand() { # ID OF CONTAINER OR SUPERVISOR
  if [ "$runtime" = docker ]; then
    engine DELETE "/containers/$1" -d force=1
  else
    # shellcheck disable=SC2046 # pids are words
    kill -KILL $(cat "/proc/$1/task/$1/children")
  fi
}

# ---- the prober ---------------------------------------------------------------

# Asks web all the time, as a load balancer does: any instance that the API lists as
# ready, the next one if it refuses. One line per request: "ok VERSION" or "FAILED".
probe_web() {
  local turn=0 list=() try version answer
  trap - INT TERM HUP EXIT
  while kill -0 $$ 2>/dev/null; do # $$ is the demo
    mapfile -t list < <(api projects/shop/apps/web 2>/dev/null |
      jq -r '.instances[] | select(.ready and (.stopping | not)) | .ports.http')
    answer="FAILED no instance is ready"
    for ((try = 0; try < ${#list[@]}; try++)); do
      if version=$(curl -sS -f -m 2 "http://${list[(turn + try) % ${#list[@]}]}/healthz.sh" 2>&1); then
        answer="ok $(cut -d' ' -f2 <<<"$version")"
        break
      fi
      answer="FAILED $version"
    done
    turn=$((turn + 1))
    echo "$answer" >>"$home/prober"
    sleep 0.02
  done
}

answers_begin() { answers_from=$(($(wc -l <"$home/prober") + 1)); }

# "312 requests, 0 failed (150 answered by 1.0, 162 by 2.0)"; a failed one fails the demo.
answers() {
  local part total failed
  part=$(tail -n "+$answers_from" "$home/prober")
  total=$(grep -c . <<<"$part")
  failed=$(grep -c '^FAILED' <<<"$part")
  [ "$failed" = 0 ] || fail "$failed of $total requests to web failed: $(grep -m1 '^FAILED' <<<"$part")"
  [ "$total" -ge 3 ] || fail "the prober only made $total requests"
  kill -0 "$prober" 2>/dev/null || fail "the prober ended"
  printf '%s requests to web, 0 failed (%s)' "$total" \
    "$(sort <<<"$part" | uniq -c | awk '{printf "%s%s by version %s", sep, $1, $3; sep = ", "}')"
}
saw_only() { ! tail -n "+$answers_from" "$home/prober" | grep -q "^ok $1\$"; }

# ---- the repository -----------------------------------------------------------

# No setting of this user's or machine's has a say, and no key is asked for.
repo() {
  env -u GIT_DIR -u GIT_WORK_TREE -u GIT_INDEX_FILE GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null \
    git -C "$home/shop" -c user.name='You' -c user.email='you@shop.example' "$@"
}
edit() { sed -i "$1" "$home/shop/apps/web.yaml"; }
commit() { # MESSAGE; the id into $commit
  repo add -A
  repo commit -q -m "$1"
  commit=$(repo rev-parse HEAD)
  say 'git commit' "${commit:0:8} \"$1\""
  repo show --format= --name-only --diff-filter=D HEAD |
    while IFS= read -r line; do entry '' '' "deletes $line"; done
  repo show --format= --unified=0 --diff-filter=M HEAD | grep -E '^[-+][^-+]' | sed 's/^\(.\) */\1 /' | head -n 6 |
    while IFS= read -r line; do entry '' '' "$line"; done
}
