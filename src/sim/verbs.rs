//! What operators ask for at random moments.

use super::rng::Rng;
use crate::model::{AppKey, Change, NodeName, Scheduling, Snapshot, Timestamp};
use crate::plan::Decision;
use crate::plan::operate::{
    plan_approve_held, plan_release, plan_resume, plan_rollback, plan_scale, plan_suspend,
};

/// Refusals are no decisions.
pub fn decide(seed: u64, snapshot: &Snapshot, now: Timestamp) -> Decision {
    let mut rng = Rng::new(seed, 3);
    let apps: Vec<&AppKey> = snapshot.apps.keys().collect();
    let Some(app) = rng.pick(&apps).copied() else {
        return Decision::default();
    };
    let by = "ann";
    let decision = match rng.below(9) {
        7 => plan_scale(now, snapshot, app, by, rng.below(6) as u32, None, None),
        0 | 1 => plan_rollback(now, snapshot, app, by, None, None),
        2 | 3 => plan_release(now, snapshot, app, by),
        4 => plan_suspend(now, snapshot, app, by, None, None),
        5 => plan_resume(now, snapshot, app, by),
        6 => match rng.pick(&snapshot.sources.keys().collect::<Vec<_>>()) {
            Some(source) => plan_approve_held(now, snapshot, source, by),
            None => return Decision::default(),
        },
        _ => return schedule(&mut rng, snapshot),
    };
    decision.unwrap_or_default()
}

fn schedule(rng: &mut Rng, snapshot: &Snapshot) -> Decision {
    let nodes: Vec<&NodeName> = snapshot.nodes.keys().collect();
    let Some(node) = rng.pick(&nodes).copied() else {
        return Decision::default();
    };
    let scheduling = if rng.chance(500) {
        Scheduling::Cordoned
    } else {
        Scheduling::Active
    };
    Decision {
        changes: vec![Change::SetScheduling {
            node: node.clone(),
            scheduling,
            note: None,
        }],
        events: Vec::new(),
    }
}
