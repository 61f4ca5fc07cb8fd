//! Hostile input: the fuzz targets for a bounded time on stable, and a corpus of hostile
//! repositories taken through the real program.
//!
//! `make fuzz FUZZ_S=60` spends that many seconds on each target; `FUZZ_SEED` begins
//! elsewhere. A failure prints the input and where it was kept; `FUZZ_INPUT=FILE` replays it.
//! The same targets run under libFuzzer, which is guided by what an input reaches:
//! `make libfuzzer`. That is `tests/fuzz/cargo`, a package of its own outside of this one's
//! build; it begins with the corpus of this one, which `FUZZ_CORPUS=FOLDER` writes down.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/free_port.rs"]
mod free_port;
#[path = "../support/git_http.rs"]
mod git_http;
#[path = "../support/pg.rs"]
mod pg;

mod corpus;
mod hostile;
mod mutate;
mod reports;
mod targets;
mod trees;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use mutate::Random;

/// One input may take so long, in a debug build on a busy machine.
const ONE: Duration = Duration::from_secs(20);
/// Per target, unless `FUZZ_S` says more.
const SECONDS: u64 = 4;
/// Of one input.
const MOST_BYTES: usize = 64 << 10;

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => otherwise,
    }
}

/// Runs `target` over its corpus, and then over what becomes of it, until the time is up.
fn fuzz(name: &str, target: &dyn Fn(&[u8])) {
    let seeds = corpus::of(name);
    if let Ok(file) = std::env::var("FUZZ_INPUT") {
        return target(&std::fs::read(file).unwrap());
    }
    if let Ok(folder) = std::env::var("FUZZ_CORPUS") {
        return write_down(&Path::new(&folder).join(name), &seeds);
    }
    for seed in &seeds {
        attempt(name, target, seed);
    }
    let mut random = Random::new(number("FUZZ_SEED", 1));
    let end = Instant::now() + Duration::from_secs(number("FUZZ_S", SECONDS));
    let mut inputs = 0u64;
    while Instant::now() < end {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            mutate::change(&mut input, &seeds, &mut random);
        }
        input.truncate(MOST_BYTES);
        attempt(name, target, &input);
        inputs += 1;
    }
    println!("{name}: {inputs} inputs, {} seeds", seeds.len());
    assert!(inputs > 50, "{name}: only {inputs} inputs in the time");
}

/// A file for each seed, named by its number.
fn write_down(folder: &Path, seeds: &[Vec<u8>]) {
    std::fs::create_dir_all(folder).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
    }
}

fn attempt(name: &str, target: &dyn Fn(&[u8]), input: &[u8]) {
    let began = Instant::now();
    let survived = catch_unwind(AssertUnwindSafe(|| target(input)));
    let took = began.elapsed();
    if survived.is_err() || took > ONE {
        let kept =
            std::env::temp_dir().join(format!("evenkeel-fuzz-{name}-{}", std::process::id()));
        std::fs::write(&kept, input).unwrap();
        panic!(
            "{name}: {} after {took:?} on {:?}; kept in {}",
            if survived.is_err() {
                "panicked"
            } else {
                "too slow"
            },
            String::from_utf8_lossy(&input[..input.len().min(2000)]),
            kept.display()
        );
    }
}

fn run(name: &str) {
    let (_, target) = targets::TARGETS.iter().find(|(n, _)| *n == name).unwrap();
    fuzz(name, target);
}

#[test]
fn specs() {
    run("specs");
}

#[test]
fn quantities() {
    run("quantities");
}

#[test]
fn constraints() {
    run("constraints");
}

#[test]
fn hooks() {
    run("hooks");
}

#[test]
fn messages() {
    run("messages");
}

#[test]
fn reports() {
    fuzz("reports", &reports::reports);
}

#[test]
fn trees() {
    let place = trees::Place::new();
    fuzz("trees", &|data| place.read(data));
}
