//! Runs the simulation: `SEEDS` runs from `FROM` on, on all cores.
//!
//! `cargo test --test simulation … -- --seeds 1000 --from 1`; `--seed N` plays one and prints
//! its log; `--mutants` proves that broken rules are noticed (`src/sim/MUTANTS.md`), `--quick` by
//! the seeds that are known to notice, `--only NAME` that one rule.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod mutants;

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use evenkeel::sim::log::Log;
use evenkeel::sim::shrink::shrink;
use evenkeel::sim::{Outcome, run, run_seed, script};

/// Failing seeds after which the search ends.
const ENOUGH: usize = 8;

struct Arguments {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    mutants: bool,
    quick: bool,
    bless: bool,
    only: Option<String>,
}

fn arguments() -> Arguments {
    let mut arguments = Arguments {
        seeds: 1000,
        from: 1,
        seed: None,
        mutants: false,
        quick: false,
        bless: false,
        only: None,
    };
    let mut rest = std::env::args().skip(1);
    while let Some(flag) = rest.next() {
        let mut number = || rest.next().unwrap().parse().unwrap();
        match flag.as_str() {
            "--seeds" => arguments.seeds = number(),
            "--from" => arguments.from = number(),
            "--seed" => arguments.seed = Some(number()),
            "--mutants" => arguments.mutants = true,
            "--quick" => arguments.quick = true,
            "--bless" => arguments.bless = true,
            "--only" => arguments.only = rest.next(),
            // What cargo passes to every test.
            _ => {}
        }
    }
    arguments
}

pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn main() {
    let arguments = arguments();
    if let Some(seed) = arguments.seed {
        one(seed);
    } else if let Some(name) = &arguments.only {
        mutants::prove_one(name, arguments.seeds);
    } else if arguments.mutants && arguments.quick {
        mutants::prove_quickly(arguments.seeds);
    } else if arguments.mutants {
        mutants::prove(arguments.seeds, arguments.bless);
    } else {
        many(&arguments);
    }
}

fn one(seed: u64) {
    let outcome = run(script::draw(seed), Log::with_lines());
    for line in outcome.lines.iter().flatten() {
        println!("{line}");
    }
    println!("seed {seed}: hash {:016x}", outcome.hash);
    if outcome.broken.is_some() {
        std::process::exit(1);
    }
}

#[derive(Default)]
struct Sum {
    runs: u64,
    events: u64,
    virtual_ms: u64,
    reached: BTreeMap<&'static str, u64>,
    states: HashSet<u64>,
    failing: Vec<u64>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.runs += 1;
        self.events += outcome.events;
        self.virtual_ms += outcome.ended.0;
        self.states.extend(&outcome.states);
        for (what, times) in &outcome.reached {
            *self.reached.entry(what).or_default() += times;
        }
        if outcome.broken.is_some() {
            self.failing.push(seed);
        }
    }
}

fn many(arguments: &Arguments) {
    let begun = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sum.lock().unwrap().failing.len() >= ENOUGH {
                        return;
                    }
                    let outcome = run_seed(seed);
                    sum.lock().unwrap().add(seed, &outcome);
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap();
    sum.failing.sort_unstable();
    println!(
        "{} runs from seed {}: {} events, {:.1} h of virtual time, {} distinct states of apps, in {:.1} s",
        sum.runs,
        arguments.from,
        sum.events,
        sum.virtual_ms as f64 / 3_600_000.0,
        sum.states.len(),
        begun.elapsed().as_secs_f64(),
    );
    let reached: Vec<String> = sum
        .reached
        .iter()
        .map(|(w, n)| format!("{w} {n}"))
        .collect();
    println!("reached: {}", reached.join(", "));
    if sum.failing.is_empty() {
        return;
    }
    for seed in &sum.failing {
        tell(*seed, *seed == sum.failing[0]);
    }
    println!("{} failing seed(s)", sum.failing.len());
    std::process::exit(1);
}

/// The rule that broke; for the first failing seed also the shortest way there.
fn tell(seed: u64, whole: bool) {
    let script = script::draw(seed);
    let outcome = run(script.clone(), Log::default());
    let Some(broken) = outcome.broken else {
        println!("seed {seed} failed once and not again");
        return;
    };
    println!(
        "seed {seed} breaks \"{}\" at {:.3}s: {}",
        broken.rule,
        broken.at.0 as f64 / 1000.0,
        broken.text
    );
    if !whole {
        return;
    }
    let (small, broken) = shrink(&script, &broken);
    let again = run(small.clone(), Log::with_lines());
    println!(
        "smallest: {} of {} happenings, breaks \"{}\" at {:.3}s: {}",
        small.happenings.len(),
        script.happenings.len(),
        broken.rule,
        broken.at.0 as f64 / 1000.0,
        broken.text
    );
    for (at, happening) in &small.happenings {
        println!("  {:>9.3}s {happening:?}", at.0 as f64 / 1000.0);
    }
    let lines = again.lines.unwrap_or_default();
    let skip = lines.len().saturating_sub(60);
    println!("its last {} lines:", lines.len() - skip);
    for line in &lines[skip..] {
        println!("  {line}");
    }
    println!("play it whole: make sim SEED={seed}");
}
