//! Each rule broken on purpose must be noticed.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use evenkeel::mutant::{Mutant, with};
use evenkeel::sim::run_seed;

const TABLE: &str = "src/sim/MUTANTS.md";

struct Caught {
    seed: u64,
    rule: &'static str,
}

/// The first seed that notices, and by which rule.
fn hunt(mutant: Mutant, seeds: u64) -> Option<Caught> {
    let next = AtomicU64::new(1);
    let best: Mutex<Option<Caught>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..super::threads() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let known = best.lock().unwrap().as_ref().map(|c| c.seed);
                    if seed > seeds || known.is_some_and(|k| k < seed) {
                        return;
                    }
                    if let Some(broken) = with(Some(mutant), || run_seed(seed)).broken {
                        let mut best = best.lock().unwrap();
                        if best.as_ref().is_none_or(|b| seed < b.seed) {
                            *best = Some(Caught {
                                seed,
                                rule: broken.rule,
                            });
                        }
                    }
                }
            });
        }
    });
    best.into_inner().unwrap()
}

pub fn prove(seeds: u64, bless: bool) {
    let survivors = AtomicUsize::new(0);
    let mut table = String::from(
        "# Rules broken on purpose\n\n\
         Each rule of `src/mutant.rs`, broken in the real code, and what noticed it: the first seed of\n\
         the simulation that fails, and the promise that was not kept there. `make mutants` makes this\n\
         table anew and compares; `make mutants BLESS=1` writes it.\n\n\
         | broken rule | noticed as | by seed |\n|---|---|---|\n",
    );
    for mutant in Mutant::ALL {
        let row = match hunt(mutant, seeds) {
            Some(caught) => format!("| {mutant:?} | {} | {} |", caught.rule, caught.seed),
            None => {
                survivors.fetch_add(1, Ordering::Relaxed);
                format!("| {mutant:?} | **not noticed** within {seeds} seeds | |")
            }
        };
        println!("{row}");
        writeln!(table, "{row}").unwrap();
    }
    let path = format!("{}/{TABLE}", env!("CARGO_MANIFEST_DIR"));
    if bless {
        std::fs::write(&path, &table).unwrap();
    }
    let survivors = survivors.into_inner();
    if survivors > 0 {
        println!("{survivors} broken rule(s) were not noticed");
        std::process::exit(1);
    }
    if std::fs::read_to_string(&path).unwrap_or_default() != table {
        println!("{TABLE} is another: read the difference, then `make mutants BLESS=1`");
        std::process::exit(1);
    }
}
