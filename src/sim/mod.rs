//! Clusters in virtual time, with faults: the real decisions of sync, planner, leadership,
//! observation and agent run over a database, nodes and a network in memory, and what they
//! promise is measured from outside.
//!
//! One seed decides everything, so a failing run can be played again, and with fewer happenings
//! ([`shrink`]). Built for tests only; does no I/O, reads no clock.
//!
//! What is real: `plan` whole, `agent::step` and `agent::admission`. What is played here: the
//! shells around them ([`controller`], [`agent`]), the database ([`store`]), runtimes
//! ([`machine`]), Git ([`apps`]) and the network ([`world`]). Deliberately absent: YAML, SQL, HTTP.

pub mod agent;
pub mod apps;
pub mod controller;
pub mod event;
pub mod log;
pub mod machine;
pub mod rest;
pub mod rng;
pub mod script;
pub mod shrink;
pub mod store;
#[cfg(test)]
mod tests;
mod verbs;
pub mod watch;
pub mod world;

use std::collections::{BTreeMap, HashSet};

use log::Log;
use rng::Moment;
use script::Script;
use watch::Broken;
use world::{PATIENCE, REST, World};

/// What a run came to.
pub struct Outcome {
    /// The first promise that was not kept.
    pub broken: Option<Broken>,
    /// Over everything that happened.
    pub hash: u64,
    pub lines: Option<Vec<String>>,
    pub reached: BTreeMap<&'static str, u64>,
    pub states: HashSet<u64>,
    pub events: u64,
    /// Virtual time at the end.
    pub ended: Moment,
}

/// Plays the script to its end, or to the first promise that is not kept.
pub fn run(script: Script, log: Log) -> Outcome {
    let mut world = World::new(script, log);
    let broken = play(&mut world);
    if let Some(broken) = &broken {
        let text = format!("BROKEN {}: {}", broken.rule, broken.text);
        world.log.line(world.now, || text);
    }
    Outcome {
        broken,
        hash: world.log.hash(),
        lines: world.log.lines.take(),
        reached: std::mem::take(&mut world.log.reached),
        states: std::mem::take(&mut world.log.states),
        events: world.events,
        ended: world.now,
    }
}

/// The seed's own run.
pub fn run_seed(seed: u64) -> Outcome {
    run(script::draw(seed), Log::default())
}

fn play(world: &mut World) -> Option<Broken> {
    let mut until = world.script.calm_at.plus(PATIENCE);
    loop {
        if !world.step() {
            return Some(Broken {
                at: world.now,
                rule: "rest",
                text: "nothing is left to happen".to_owned(),
            });
        }
        if let Some(broken) = world.watch.broken.first() {
            return Some(broken.clone());
        }
        if world.calm && world.is_still() {
            break;
        }
        let after = world.now.plus(PATIENCE / 4);
        if after > until && world.is_held_by_the_clock() {
            until = after;
        }
        if world.now > until {
            return Some(Broken {
                at: world.now,
                rule: "convergence",
                text: format!("it never comes to rest: {}", world.restlessness()),
            });
        }
    }
    if let Some(text) = world.unfinished() {
        return Some(Broken {
            at: world.now,
            rule: "convergence",
            text,
        });
    }
    rest(world)
}

/// Nothing may be done for [`REST`], also when everybody forgets what is in memory only.
fn rest(world: &mut World) -> Option<Broken> {
    world.be_quiet();
    let (middle, end) = (world.now.plus(REST / 2), world.now.plus(REST));
    let mut restarted = false;
    while world.now < end {
        if !restarted && world.now >= middle {
            restarted = true;
            world.restart_everybody();
        }
        world.step();
        if let Some(broken) = world.watch.broken.first() {
            return Some(broken.clone());
        }
    }
    world.unfinished().map(|text| Broken {
        at: world.now,
        rule: "convergence",
        text: format!("after the rest: {text}"),
    })
}
