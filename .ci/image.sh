#!/usr/bin/env bash
# Makes the images evenkeel-demo:1 and evenkeel-demo:2 in the local Engine out
# of a static busybox: no registry, no docker program. Does nothing for an image
# that is there with the same content.
#
# The image serves HTTP: "/" says "evenkeel-demo VERSION", "/healthz" says "ok".
# Environment: PORT [8080]; BROKEN=1: /healthz is missing; EXIT=CODE: says why
# and ends at once; START_DELAY=SECONDS before it listens.
set -euo pipefail

socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
socket=${socket#unix://}
# Only root may use most Engines.
sudo=()
[ "$(id -u)" = 0 ] || [ -w "$socket" ] || sudo=(sudo)
engine() { "${sudo[@]}" curl -sS --fail-with-body --max-time 120 --unix-socket "$socket" "$@"; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for version in 1 2; do
  root=$folder/$version
  mkdir -p "$root/bin" "$root/www" "$root/tmp"
  chmod 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/busybox"
  for applet in sh cat echo env false httpd ls mkdir cp ps rm sleep test touch true wget; do
    ln -s busybox "$root/bin/$applet"
  done
  echo "evenkeel-demo $version" >"$root/www/index.html"
  echo ok >"$root/www/healthz"
  cat >"$root/bin/web" <<'WEB'
#!/bin/sh
[ -z "$START_DELAY" ] || sleep "$START_DELAY"
if [ -n "$EXIT" ]; then
  echo "evenkeel-demo: told to end with code $EXIT" >&2
  exit "$EXIT"
fi
pages=/www
if [ -n "$BROKEN" ]; then
  pages=/tmp/broken
  mkdir -p "$pages"
  cp /www/index.html "$pages"
  echo "evenkeel-demo: broken on purpose, /healthz is missing" >&2
fi
echo "evenkeel-demo: $(cat /www/index.html) listens on port ${PORT:-8080}"
exec httpd -f -v -p "${PORT:-8080}" -h "$pages"
WEB
  chmod 755 "$root/bin/web"
  # Same bytes in, same bytes out: the digest tells whether the image is up to date.
  tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$root.tar" .
  digest=$(sha256sum "$root.tar" | cut -c1-64)
  if engine "http://engine/images/evenkeel-demo:$version/json" 2>/dev/null | grep -q "$digest"; then
    continue
  fi
  query="fromSrc=-&repo=evenkeel-demo&tag=$version"
  query+="&changes=CMD%20%5B%22/bin/web%22%5D&changes=EXPOSE%208080"
  query+="&changes=LABEL%20dev.evenkeel.demo.content%3D$digest"
  engine -o "$folder/answer" -X POST -H 'Content-Type: application/x-tar' \
    --data-binary "@$root.tar" "http://engine/images/create?$query" || {
    cat "$folder/answer" >&2
    exit 1
  }
  # The Engine answers 200 before it reads; a later failure stands in the answer.
  if grep -q '"error"' "$folder/answer"; then
    cat "$folder/answer" >&2
    exit 1
  fi
  echo "image: made evenkeel-demo:$version"
done
