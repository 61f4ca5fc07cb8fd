#!/usr/bin/env bash
# libfuzzer.sh SECONDS [TARGET...]: the targets of tests/fuzz under libFuzzer, which is guided by
# what an input reaches: one after the other, each for so long. What it learns stays in
# target/libfuzzer/corpus, and the next run goes on from there. A finding ends it with 1.
set -euo pipefail

cd "$(dirname "$0")/.."
seconds=${1:?how many seconds for each target}
shift
package=tests/fuzz/cargo
home=$PWD/target/libfuzzer
tool=$home/tools/bin/cargo-fuzz
mkdir -p "$home"
trap 'rm -rf "$home/tmp"' EXIT

say() { echo "libfuzzer: $*" >&2; }
quietly() { # its words are told where it fails
  "$@" >"$home/log" 2>&1 || {
    tail -n 60 "$home/log" >&2
    say "failed: $*"
    exit 1
  }
}

if [ ! -x "$tool" ]; then
  say "installing cargo-fuzz below target"
  quietly cargo install --quiet --locked --root "$home/tools" cargo-fuzz
fi
say "building (minutes at first)"
# The very dependencies that the product is built of.
cp Cargo.lock "$package/Cargo.lock"
quietly "$tool" fuzz build --fuzz-dir "$package" --sanitizer none --codegen-units 16 \
  --target-dir "$home/build"
[ $# -gt 0 ] || mapfile -t all < <("$tool" fuzz list --fuzz-dir "$package")
[ $# -gt 0 ] || set -- "${all[@]}"
# It begins where the test of the same name begins.
quietly env FUZZ_CORPUS="$home/seeds" cargo test --quiet --test fuzz -- --exact "$@"

host=$(rustc -vV | sed -n 's/^host: //p')
for target in "$@"; do
  mkdir -p "$home/corpus/$target" "$home/findings/$target" "$home/tmp"
  if ! TMPDIR=$home/tmp "$home/build/$host/release/$target" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="$home/findings/$target/" \
    "$home/corpus/$target" "$home/seeds/$target" >"$home/$target.log" 2>&1; then
    tail -n 30 "$home/$target.log" >&2
    say "$target: found something; FUZZ_INPUT=FILE cargo test --test fuzz -- --exact $target plays it:"
    ls -t "$home/findings/$target"/* >&2
    exit 1
  fi
  # How many inputs, how much they reached, and how many are worth keeping.
  echo "$target: $(sed -n 's/^#\([0-9]*\)\tDONE *\(.*\) lim: .* exec\/s: \([0-9]*\) .*/\1 inputs (\3 a second), \2/p' "$home/$target.log")"
  rm -rf "$home/tmp"
done
