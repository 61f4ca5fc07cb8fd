//! A failing run with as few happenings as it takes, found by leaving some out.

use super::log::Log;
use super::rng::Moment;
use super::script::Script;
use super::watch::Broken;
use super::{Outcome, run};

/// Runs that may be spent on it.
const TRIES: usize = 250;

/// The smallest script found that breaks the same rule.
pub fn shrink(script: &Script, broken: &Broken) -> (Script, Broken) {
    let mut best = script.clone();
    let mut why = broken.clone();
    let mut tries = 0;
    // What comes after the fact had no part in it.
    let end = broken.at;
    let mut cut = best.clone();
    cut.happenings.retain(|(at, _)| *at <= end);
    if let Some(found) = still_fails(&cut, broken.rule, &mut tries) {
        (best, why) = (cut, found);
    }
    let mut size = best.happenings.len().div_ceil(2);
    while size > 0 && tries < TRIES {
        let mut from = 0;
        let mut any = false;
        while from < best.happenings.len() && tries < TRIES {
            let mut less = best.clone();
            let to = (from + size).min(less.happenings.len());
            less.happenings.drain(from..to);
            match still_fails(&less, broken.rule, &mut tries) {
                Some(found) => {
                    (best, why) = (less, found);
                    any = true;
                }
                None => from += size,
            }
        }
        if !any {
            size /= 2;
        }
    }
    let calmer = Script {
        calm_at: best
            .happenings
            .last()
            .map_or(Moment(1_000), |(at, _)| at.plus(1)),
        ..best.clone()
    };
    if let Some(found) = still_fails(&calmer, broken.rule, &mut tries) {
        (best, why) = (calmer, found);
    }
    (best, why)
}

fn still_fails(script: &Script, rule: &str, tries: &mut usize) -> Option<Broken> {
    *tries += 1;
    let Outcome { broken, .. } = run(script.clone(), Log::default());
    broken.filter(|b| b.rule == rule)
}
