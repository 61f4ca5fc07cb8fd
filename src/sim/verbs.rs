//! What operators ask for at random moments.

use std::time::Duration;

use super::rng::Rng;
use crate::model::{AppKey, NodeName, Scheduling, Snapshot, SourceName, Timestamp};
use crate::plan::operate::{
    plan_abort, plan_approve_held, plan_pause, plan_release, plan_reset_scale, plan_restart,
    plan_resume, plan_resume_rollout, plan_rollback, plan_scale, plan_scheduling, plan_suspend,
};
use crate::plan::{Decision, IdSource, Settings};

/// For which time some verbs hold.
const WHILE: Duration = Duration::from_secs(60);

/// What an operator asks for.
#[derive(Clone, Debug)]
pub enum Verb {
    /// Any verb, of any object: both follow from the number.
    Any(u64),
    /// A rollback of the app.
    TakeBack(AppKey),
}

const BY: &str = "ann";

/// Refusals are no decisions.
pub fn decide(verb: &Verb, snapshot: &Snapshot, now: Timestamp, ids: &mut IdSource) -> Decision {
    match verb {
        Verb::Any(seed) => any(*seed, snapshot, now, ids),
        Verb::TakeBack(app) => {
            plan_rollback(now, snapshot, app, BY, None, None).unwrap_or_default()
        }
    }
}

fn any(seed: u64, snapshot: &Snapshot, now: Timestamp, ids: &mut IdSource) -> Decision {
    let mut rng = Rng::new(seed, 3);
    let apps: Vec<&AppKey> = snapshot.apps.keys().collect();
    let nodes: Vec<&NodeName> = snapshot.nodes.keys().collect();
    let sources: Vec<&SourceName> = snapshot.sources.keys().collect();
    let (Some(app), Some(node), Some(source)) =
        (rng.pick(&apps), rng.pick(&nodes), rng.pick(&sources))
    else {
        return Decision::default();
    };
    let by = BY;
    let settings = Settings::default();
    let until = rng.chance(500).then(|| now + WHILE);
    let decision = match rng.below(16) {
        0 | 1 => plan_rollback(now, snapshot, app, by, None, None),
        2 | 3 => plan_release(now, snapshot, app, by),
        4 => plan_suspend(now, snapshot, app, by, None, until),
        5 => plan_resume(now, snapshot, app, by),
        6 => plan_approve_held(now, snapshot, source, by),
        7 => plan_scale(now, snapshot, app, by, rng.below(6) as u32, None, until),
        8 => plan_reset_scale(now, snapshot, app, by),
        9 => plan_pause(now, snapshot, app, by, None),
        10 => plan_resume_rollout(now, snapshot, app, by),
        11 => plan_abort(now, snapshot, app, by, None),
        12 => plan_restart(now, snapshot, app, by, None, &settings, ids),
        13 => plan_scheduling(now, snapshot, node, Scheduling::Cordoned, by, None),
        14 => plan_scheduling(now, snapshot, node, Scheduling::Draining, by, None),
        _ => plan_scheduling(now, snapshot, node, Scheduling::Active, by, None),
    };
    decision.unwrap_or_default()
}
