# The commands of everyday work. `make demo` shows all of it; `make test` proves it.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Tests start Engines, networks and control groups: what cargo builds as you it runs as root.
ifneq ($(shell id -u),0)
MACHINE := $(shell uname -m | tr a-z A-Z)
export CARGO_TARGET_$(MACHINE)_UNKNOWN_LINUX_GNU_RUNNER := sudo -E -H
endif

.PHONY: crash-points fuzz libfuzzer demo test plan-test lint bench setup engine images

# From a fresh machine to a cluster that rolls out, rolls back and heals itself.
# Where no Engine can run, the demo runs its apps as plain processes.
demo: setup
	@if [ -t 2 ]; then cargo build; else echo "building (minutes at first)" && cargo build --quiet; fi
	@exec tests/demo.sh

# Everything, on a real Engine and a real Postgres. The core first: it fails within seconds.
test: setup engine images
	cargo test --quiet --no-default-features --lib
	$(SIMULATION) --seeds 1000
	cargo test --no-fail-fast

# The real program killed at every crash point, at several hits of each, and started again.
# CRASH_ONLY=docker-: points with that word, or one POINT:HIT, or several in one life:
# POINT:HIT,POINT:HIT, CRASH_TIMES=1 of them. CRASH_AT_ONCE=8: runs side by side.
# CRASH_TOGETHER=1: crashes in one run (8 in `make test`).
crash-points: setup engine images
	CRASH_POINTS=all cargo test --test crash_points -- --nocapture

# Hostile input: FUZZ_S seconds for each target, from FUZZ_SEED on.
FUZZ_S ?= 60
fuzz: setup
	FUZZ_S=$(FUZZ_S) cargo test --test fuzz -- --nocapture

# The same targets, guided by what an input reaches. ONLY=specs: that target.
libfuzzer: setup
	@.ci/libfuzzer.sh $(FUZZ_S) $(ONLY)

# Seconds after a change to the planner.
plan-test:
	cargo test --quiet --no-default-features --lib plan::

# Clusters in virtual time with faults: SEEDS runs from FROM on, or the whole log of one SEED.
# Without I/O it builds in a minute and plays some hundred clusters a minute on each core.
SIMULATION = cargo test --quiet --profile sim --no-default-features --features sim --test simulation --
sim:
	$(SIMULATION) $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --from $(or $(FROM),1))

# Breaks each rule of src/mutant.rs and compares what notices it with src/sim/MUTANTS.md.
# QUICK=1: each rule's seed of the table first, and others only where that one notices no more.
mutants:
	$(SIMULATION) --mutants --seeds 1000 $(if $(BLESS),--bless) $(if $(QUICK),--quick)

lint:
	cargo fmt --check
	cargo clippy --quiet --all-targets -- -D warnings
	cargo clippy --quiet --no-default-features --lib -- -D warnings

# Ratios to the work itself, each with its bound. ONLY=sync: groups with that word.
bench: setup engine images
	cargo bench --quiet --bench speed -- $(ONLY)

# Installs what is missing, and says what.
setup:
	@.ci/setup.sh

engine:
	@.ci/engine.sh start

images:
	@.ci/image.sh
