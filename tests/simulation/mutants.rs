//! Each rule broken on purpose must be noticed: once with every plan held against `plan::check`,
//! and once without, by what really happens alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use evenkeel::mutant::{Mutant, with};
use evenkeel::sim::log::Log;
use evenkeel::sim::{run, script};

const TABLE: &str = "src/sim/MUTANTS.md";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    /// `plan::check` and the promises.
    Both,
    /// The promises alone, measured from outside.
    Outside,
}

#[derive(Clone, Copy)]
struct Caught {
    seed: u64,
    rule: &'static str,
}

impl Caught {
    /// Seen in a plan, and perhaps not in what came of it.
    fn in_a_plan(self) -> bool {
        self.rule == "plan"
    }
}

fn noticed(mutant: Mutant, judge: Judge, seed: u64) -> Option<Caught> {
    let mut script = script::draw(seed);
    script.checked = judge == Judge::Both;
    let broken = with(Some(mutant), || run(script.clone(), Log::default())).broken?;
    // A seed that fails anyway notices nothing.
    if run(script, Log::default()).broken.is_some() {
        return None;
    }
    let rule = broken.rule;
    Some(Caught { seed, rule })
}

/// The first of the `seeds` that notices, and by which rule.
fn hunt(mutant: Mutant, judge: Judge, seeds: RangeInclusive<u64>) -> Option<Caught> {
    let next = AtomicU64::new(*seeds.start());
    let best: Mutex<Option<Caught>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..super::threads() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let known = best.lock().unwrap().as_ref().map(|c| c.seed);
                    if seed > *seeds.end() || known.is_some_and(|k| k < seed) {
                        return;
                    }
                    if let Some(caught) = noticed(mutant, judge, seed) {
                        let mut best = best.lock().unwrap();
                        if best.as_ref().is_none_or(|b| seed < b.seed) {
                            *best = Some(caught);
                        }
                    }
                }
            });
        }
    });
    best.into_inner().unwrap()
}

/// What notices with `plan::check`, and what without. Plans that are only looked at change
/// nothing: until one is found wrong, both runs of a seed are the same.
fn hunt_twice(mutant: Mutant, seeds: u64) -> [Option<Caught>; 2] {
    let both = hunt(mutant, Judge::Both, 1..=seeds);
    let outside = match both {
        Some(caught) if caught.in_a_plan() => hunt(mutant, Judge::Outside, caught.seed..=seeds),
        Some(_) | None => both,
    };
    [both, outside]
}

fn path() -> String {
    format!("{}/{TABLE}", env!("CARGO_MANIFEST_DIR"))
}

/// What notices that one rule, by its name.
pub fn prove_one(name: &str, seeds: u64) {
    let all = Mutant::ALL.into_iter();
    for mutant in all.filter(|m| format!("{m:?}") == name) {
        let [both, outside] = hunt_twice(mutant, seeds).map(|caught| match caught {
            Some(caught) => format!("{} by seed {}", caught.rule, caught.seed),
            None => format!("none of {seeds}"),
        });
        println!("{name}: {both}; from outside alone: {outside}");
    }
}

/// Makes the table anew, and compares or writes it.
pub fn prove(seeds: u64, bless: bool) {
    let mut survivors = 0;
    let mut table = String::from(
        "# Rules broken on purpose\n\n\
         Each rule of `src/mutant.rs`, broken in the real code at the place where it is decided, and what\n\
         noticed it: the promise that was not kept, and the first seed of the simulation in which it was not.\n\
         On the left every plan is also held against `plan::check` (noticed as `plan`); on the right what really\n\
         happens has to tell. The last eight are bugs that the simulation found.\n\n\
         `make mutants` makes this table anew, fails where a rule is not noticed, and tells which rows moved;\n\
         `make mutants BLESS=1` writes it. Seeds change with every change of the planner.\n\n\
         | broken rule | noticed as | by seed | from outside alone | by seed |\n|---|---|---|---|---|\n",
    );
    for mutant in Mutant::ALL {
        let mut row = format!("| {mutant:?} |");
        let caught = hunt_twice(mutant, seeds);
        survivors += usize::from(caught[0].is_none());
        for caught in caught {
            match caught {
                Some(caught) => write!(row, " {} | {} |", caught.rule, caught.seed).unwrap(),
                None => write!(row, " **not within {seeds}** | |").unwrap(),
            }
        }
        println!("{row}");
        writeln!(table, "{row}").unwrap();
    }
    if bless {
        std::fs::write(path(), &table).unwrap();
    }
    if survivors > 0 {
        println!("{survivors} broken rule(s) were not noticed");
        std::process::exit(1);
    }
    compare(&table);
}

/// Which seed is the first to notice moves with every change of what is decided, and with it now
/// and then by what: that is told. A rule that the table does not know, or one too many, is not
/// let pass.
fn compare(table: &str) {
    let old = std::fs::read_to_string(path()).unwrap_or_default();
    let rows = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| line.starts_with('|'));
        rows.map(str::to_owned).collect()
    };
    let names = |rows: &[String]| -> Vec<String> {
        let name = |row: &String| row.split('|').nth(1).unwrap_or_default().trim().to_owned();
        rows.iter().map(name).collect()
    };
    let (was, is) = (rows(&old), rows(table));
    if names(&was) != names(&is) {
        println!("{TABLE} has other rules: read the difference, then `make mutants BLESS=1`");
        std::process::exit(1);
    }
    let moved = is.iter().zip(&was).filter(|(is, was)| is != was).count();
    if moved > 0 {
        println!("{moved} row(s) of {TABLE} moved: `make mutants BLESS=1` writes them");
    }
}

/// The seeds that noticed when the table was made.
fn known() -> BTreeMap<String, u64> {
    let table = std::fs::read_to_string(path()).unwrap_or_default();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.to_owned();
        Some((name, cells.nth(1)?.parse().ok()?))
    });
    rows.collect()
}

/// Each rule's own seed first, and others only where that one notices no more.
pub fn prove_quickly(seeds: u64) {
    let begun = Instant::now();
    let known = known();
    let moved = Mutex::new(Vec::new());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..super::threads() {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(mutant) = Mutant::ALL.get(n) else {
                        return;
                    };
                    let seed = known.get(&format!("{mutant:?}"));
                    if seed
                        .and_then(|s| noticed(*mutant, Judge::Both, *s))
                        .is_none()
                    {
                        moved.lock().unwrap().push(*mutant);
                    }
                }
            });
        }
    });
    let moved = moved.into_inner().unwrap();
    let survives = |m: &&Mutant| hunt(**m, Judge::Both, 1..=seeds).is_none();
    let survivors: Vec<&Mutant> = moved.iter().filter(survives).collect();
    println!(
        "{} rules broken on purpose, {} noticed by another seed than {TABLE} says, {} not within \
         {seeds} seeds, in {:.1} s",
        Mutant::ALL.len(),
        moved.len() - survivors.len(),
        survivors.len(),
        begun.elapsed().as_secs_f64(),
    );
    if !survivors.is_empty() {
        println!("not noticed: {survivors:?}");
        std::process::exit(1);
    }
}
