#!/usr/bin/env bash
# Installs what building and testing need and this host lacks, from Debian's
# own packages. Says nothing when nothing is missing; safe to run again.
set -euo pipefail

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }
engine_answers() {
  curl -sf -m 3 --unix-socket /var/run/docker.sock http://engine/_ping >/dev/null 2>&1
}

missing=()
need() { # package, then a command that succeeds when it is there
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
header() { [ -e "/usr/include/$1" ] || compgen -G "/usr/include/*/$1"; }
static_busybox() { [ -x /bin/busybox ] && ! ldd /bin/busybox; }
postgres() { have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' || compgen -G '/usr/pgsql-*/bin/initdb'; }
certificates() { [ -s /etc/ssl/certs/ca-certificates.crt ]; }

need build-essential have cc
need pkg-config have pkg-config
need libssl-dev header openssl/opensslconf.h
need zlib1g-dev header zlib.h
need ca-certificates certificates
need curl have curl
need git have git
need jq have jq
need openssh-server have sshd
need openssh-client have ssh-keygen
need iproute2 have ip
need iptables have iptables
need busybox-static static_busybox
need postgresql postgres
need docker-registry have docker-registry
have dockerd || engine_answers || missing+=(docker.io)

if [ ${#missing[@]} -gt 0 ]; then
  if ! have apt-get; then
    echo "setup: this host has no apt-get; please install the equivalents of: ${missing[*]}" >&2
    exit 1
  fi
  log=$(mktemp)
  policy=/usr/sbin/policy-rc.d
  ours=
  clean_up() {
    [ -z "$ours" ] || as_root rm -f "$policy"
    rm -f "$log"
  }
  trap clean_up EXIT
  # Programs are wanted, not services: nothing that is installed here starts by itself.
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    ours=1
  fi
  # And no database cluster is created: evenkeel makes its own.
  case " ${missing[*]} " in *" postgresql "*)
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' |
      as_root tee /etc/postgresql-common/createcluster.d/evenkeel.conf >/dev/null
    ;;
  esac
  quietly() {
    if ! as_root env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1; then
      cat "$log" >&2
      echo "setup: failed: $*" >&2
      exit 1
    fi
  }
  quietly apt-get -q update
  printf 'setup: installing %s\n' "${missing[@]}"
  quietly apt-get -q -y --no-install-recommends install "${missing[@]}"
  # A test's own sshd is all that is wanted, not one that opens this host.
  case " ${missing[*]} " in *" openssh-server "*)
    [ ! -d /run/systemd/system ] || quietly systemctl disable ssh.service ssh.socket
    ;;
  esac
fi

if ! have cargo && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
  if apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
    echo "setup: installing rustup"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install rustup >/dev/null
    rustup default stable >/dev/null
  else
    echo "setup: the Rust compiler is missing; install it as https://rustup.rs says, then run this again" >&2
    exit 1
  fi
fi
