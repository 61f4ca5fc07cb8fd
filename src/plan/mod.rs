//! Every decision Evenkeel makes, as functions from values to values.
//!
//! `plan` looks at a snapshot and a time and says what changes, why, what each
//! app waits for and when to look again. It is total, does no I/O, reads no
//! clock and draws no randomness: time and ids come in. The next step is
//! recomputed from the state on every run; nothing is remembered between runs.
//!
//! One app is planned at a time, on a working copy that sees its own changes
//! ([`work::Work`]), until nothing more follows. What one app takes of the
//! nodes the next one sees.

pub mod agenda;
pub mod bucket;
pub mod check;
pub mod commit;
pub mod constraint;
pub mod diff;
pub mod dispatch;
pub mod drain;
pub mod exchange;
pub mod following;
pub mod forward;
pub mod hearing;
pub mod ids;
pub mod lease;
pub mod observe;
pub mod operate;
pub mod place;
pub mod preview;
pub mod reconcile;
pub mod report;
pub mod rollout;
pub mod settings;
pub mod statuses;
pub mod sync;
pub mod touched;
pub mod verdict;
pub mod work;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use check::{Violation, check};
pub use ids::IdSource;
pub use report::{AppReport, PlanReport};
pub use settings::Settings;

use crate::model::{
    Actor, AppKey, Change, Event, EventKind, NodeName, Snapshot, SourceName, Timestamp,
};

/// Which apps to look at.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    All,
    Apps(&'a BTreeSet<AppKey>),
}

#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    pub now: Timestamp,
    /// Since when this leadership has watched, by the same clock. What nobody saw is no
    /// evidence: deadlines and silence count from here at the earliest.
    pub since: Timestamp,
    /// At least those with instances of the apps in `scope`.
    pub heard: &'a Spoken,
    pub snapshot: &'a Snapshot,
    pub scope: Scope<'a>,
    pub settings: &'a Settings,
}

/// Nodes stored as silent that have spoken since, and when. A report that could not be written
/// yet is a sign of life all the same: what it says is not known, but that its node is there.
pub type Spoken = BTreeMap<NodeName, Timestamp>;

/// No such node.
pub static NOBODY: Spoken = Spoken::new();

/// A complete answer: whoever carries it out chooses nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be applied in this order, all or none.
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
    /// Of each app looked at: why nothing more is done.
    pub report: PlanReport,
    /// When to look at an app again although nothing happened.
    pub wake_at: BTreeMap<AppKey, Timestamp>,
}

/// What somebody (sync, an operator, a node's report) wants changed, and the record of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
}

/// Why an operator's wish is not carried out; says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
}

pub fn plan(input: &PlanInput<'_>, ids: &mut IdSource) -> Plan {
    plan_after(input, &[], ids)
}

/// Plans as if `observed` were in the snapshot already, so that news and what follows from
/// it can be one commit. Only for [`Change::Observe`]: others are not seen.
pub fn plan_after(input: &PlanInput<'_>, observed: &[Change], ids: &mut IdSource) -> Plan {
    let mut plan = Plan::default();
    let mut overlay = place::Overlay::default();
    let mut one = |key: &AppKey| {
        if let Some(app) = input.snapshot.apps.get(key) {
            let mut work = work::Work::new(input, app, &mut overlay, ids);
            observed.iter().for_each(|news| work.see(news));
            reconcile::plan_app(&mut work);
            work.finish(&mut plan);
        }
    };
    match input.scope {
        Scope::All => input.snapshot.apps.keys().for_each(&mut one),
        Scope::Apps(keys) => keys.iter().for_each(&mut one),
    }
    remove_emptied_sources(input, &mut plan);
    plan
}

/// A source that was removed with its apps goes when the last of them is down.
fn remove_emptied_sources(input: &PlanInput<'_>, plan: &mut Plan) {
    let gone: BTreeSet<&AppKey> = plan
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::RemoveApp { app } => Some(app),
            _ => None,
        })
        .collect();
    let emptied: BTreeSet<SourceName> = gone
        .iter()
        .filter_map(|key| input.snapshot.apps.get(*key))
        .filter_map(|app| input.snapshot.sources.get(&app.source))
        .filter(|source| source.suspended)
        .map(|source| &source.spec.name)
        .filter(|name| input.snapshot.apps_of(name).all(|key| gone.contains(key)))
        .cloned()
        .collect();
    for name in emptied {
        let mut event = Event::new(
            input.now,
            Actor::Controller,
            EventKind::SourceRemoved,
            format!("source {name} is removed: its last app is down"),
        );
        event.source = Some(name.clone());
        plan.events.push(event);
        plan.changes.push(Change::RemoveSource(name));
    }
}
