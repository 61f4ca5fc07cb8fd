#!/usr/bin/env bash
# The whole loop on this machine, live and with nothing faked: `make demo`.
#
# Starts `evenkeel up` (a private Postgres, controller, agent on the local Docker
# Engine) on a Git repository made from examples-repo, then commits to it and shows
# what Evenkeel does, when, and why. Each step is checked against the API and from
# outside of Evenkeel, and the demo fails loudly where one does not show what it should.
# Afterwards everything runs on until Ctrl-C, which removes all of it.
#
#   CI                        set: end after the last step; exit 0 only if all steps showed it
#   EVENKEEL_DEMO_RUNTIME     docker | process [docker where an Engine runs or can be started]
#   EVENKEEL_DEMO_DEADLINE    seconds for one step [120]
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deadline=${EVENKEEL_DEMO_DEADLINE:-120}
evenkeel=${CARGO_TARGET_DIR:-$root/target}/debug/evenkeel
# One demo per clone: what a killed one left behind is found again by this name. Not
# below the clone, which the private Postgres' own user may not be able to reach.
cluster=demo-$(printf '%s' "$root" | sha256sum | cut -c1-8)
home=/tmp/evenkeel-$cluster
socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
socket=${socket#unix://}
steps=6
number=0 proven=0 step_title=start step_ms=0
server='' follower='' prober='' url='' runtime='' own_engine=''
columns=120
[ ! -t 1 ] || columns=$(tput cols) || columns=120
width=$((columns > 80 ? columns - 36 : 60))

# shellcheck source=tests/demo/support.sh
. "$root/tests/demo/support.sh"
# shellcheck source=tests/demo/machine.sh
. "$root/tests/demo/machine.sh"

started_ms=$(now_ms)
step_ms=$started_ms
trap 'end $?' EXIT
trap 'interrupted' INT TERM HUP
prepare "$@"

# ---- 1 ------------------------------------------------------------------------

step 'First sync: three apps, declared in Git'
make_repository
start_evenkeel
first=$commit
await 'all three apps are healthy' eval \
  'app_healthy web $first && app_healthy api $first && app_healthy worker $first'
check_outside web api worker
count=$(for app in web api worker; do running_outside $app; done | wc -l)
shown "3 apps healthy; $outside runs the same $count instances as the API lists"

# ---- 2 ------------------------------------------------------------------------

probe_web &
prober=$!
await 'the prober gets its first answers' eval '[ "$(wc -l <"$home/prober")" -gt 3 ]'

step 'A new version: a rolling update while requests come in'
answers_begin
edit 's/VERSION: "1.0"/VERSION: "2.0"/'
commit 'web 2.0'
second=$commit
await 'web is healthy at 2.0' app_healthy web "$second"
check_outside web
count=$(wc -l < <(running_outside web))
result=$(answers) || exit 1
shown "$result; $outside runs $count instances of web, all of ${second:0:8}"

# ---- 3 ------------------------------------------------------------------------

step 'A bad version: it fails its health check'
answers_begin
edit 's/VERSION: "2.0"/VERSION: "3.0"/; s/HEALTH: ok/HEALTH: no-database/'
commit 'web 3.0, which cannot work'
third=$commit
await 'web is back on 2.0 and 3.0 is quarantined' app_is web \
  "$at_rest and .sync == \"quarantined\" and .running.commit == \$good and .rejected.commit == \$bad" \
  good "$second" bad "$third"
check_outside web
say 'rejected' "${third:0:8}, and web is back on ${second:0:8}. The evidence, as in: evenkeel status web -o json"
jq -e '.rejected.evidence | (.lastExit.code != null) and (.lastProbe.passed == false)
  and (.lastProbe.answer | contains("500")) and (.logTail | length > 0)' <<<"$doc" >/dev/null ||
  fail "the evidence is not complete: $(jq -c .rejected <<<"$doc")"
while IFS=$'\t' read -r what text; do entry '' "$what" "$text"; done < <(jq -r '.rejected.evidence
  | ["  exit code", "\(.lastExit.code), \(.lastExit.ranForMs / 100 | round / 10) s after its start; \(.exits) exits in all"],
    ["  last probe", "\(.lastProbe.probe): \(.lastProbe.answer)"],
    (.logTail[-3:][] | ["  last output", .]) | @tsv' <<<"$doc")
code=0
"$evenkeel" status web --wait --timeout 20s >/dev/null 2>"$home/wait" || code=$?
[ $code = 1 ] || fail "evenkeel status web --wait says exit code $code for a version that was rejected"
say 'exit code 1' 'from: evenkeel status web --wait (what a pipeline sees)'
rollouts() { api projects/shop/apps/web/rollouts | jq '.items | length'; }
before=$(rollouts)
for _ in 1 2 3; do
  last=$(api sources/shop | jq .sync.attempts)
  "$evenkeel" source sync shop >/dev/null || fail 'evenkeel source sync shop failed'
  # shellcheck disable=SC2016 # evaluated by await
  await 'the source was fetched again' eval '[ "$(api sources/shop | jq .sync.attempts)" != "$last" ]'
done
[ "$(rollouts)" = "$before" ] || fail "$third is quarantined and yet was tried again"
say 'quarantined' "3 more syncs at ${third:0:8}: it is not tried again"
app_is web "$at_rest and .sync == \"quarantined\"" || fail "web is no longer quarantined: $doc"
result=$(answers) || exit 1
[[ $result != *'version 3.0'* ]] || fail "the bad version got requests: $result"
shown "$result"

# ---- 4 ------------------------------------------------------------------------

step 'The fix: a commit that works'
answers_begin
edit 's/VERSION: "3.0"/VERSION: "3.1"/; s/HEALTH: no-database/HEALTH: ok/'
commit 'web 3.1, fixed'
fourth=$commit
await 'web is healthy at 3.1' app_healthy web "$fourth"
app_is web '.rejected == null' || fail "web still shows a rejected version: $doc"
check_outside web
result=$(answers) || exit 1
shown "$result; nothing is quarantined any more"

# ---- 5 ------------------------------------------------------------------------

step "A $thing is removed by hand"
answers_begin
lost=$(jq -r '.instances[0].containerId' <<<"$doc")
instance=$(jq -r '.instances[0].id' <<<"$doc")
say "by hand" "$by_hand ${lost:0:12} (web, slot $(jq -r '.instances[0].slot' <<<"$doc"))"
remove_by_hand "$lost" || fail "cannot remove the $thing $lost"
await "another $thing is in its place" app_is web \
  "$at_rest and ([.instances[].containerId] | index(\$lost) == null)" lost "$lost"
check_outside web
new=$(jq -r --arg i "$instance" '.instances[] | select(.id == $i).containerId' <<<"$doc")
result=$(answers) || exit 1
shown "put back as $thing_is ${new:0:12}; $result"

# ---- 6 ------------------------------------------------------------------------

step 'An app is deleted from Git'
repo rm -q -r apps/worker.yaml apps/worker
commit 'no more worker'
await 'worker is gone' app_gone worker
apps_are api web || fail "the API lists $(api apps | jq -c '[.items[].name]')"
[ -z "$(running_outside worker)" ] || fail "$outside still runs worker: $(running_outside worker)"
check_outside web api
shown "pruned; $outside runs nothing of it, and web and api as before"

# ---- and on -------------------------------------------------------------------

kill "$prober" 2>/dev/null
prober=''
[ $proven = $steps ] || fail "only $proven of $steps steps showed what they should"
"$evenkeel" status >"$home/status" || fail 'evenkeel status failed'
printf '\n%sAll %s steps showed what they should, in %s s.%s  evenkeel status:\n\n' \
  "$good" "$steps" "$(since "$started_ms")" "$plain"
sed 's/^/  /' "$home/status"
if [ -n "${CI:-}" ]; then
  exit 0
fi
show_the_way
run_on
