//! Turns a list of changes into few statements without changing what it means.
//!
//! Changes of one app (or source, or node) keep their order; those of different
//! ones commute. So a change may join any later-or-equal batch of its kind, as
//! long as that batch is not before the last one of its owner, and does not
//! already hold the same row: one statement may touch a row only once.
//!
//! Pure: no SQL here.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::model::{AppKey, Change, NodeName, ReleaseId, RolloutId, SourceName};

/// Changes that one statement can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    PutSource,
    RemoveSource,
    Declare,
    SetInvalid,
    Undeclare,
    RemoveApp,
    SetSuspension,
    SetScale,
    AddRelease,
    SetReleaseState,
    PinImage,
    ForgetRelease,
    Quarantine,
    Unquarantine,
    PutRollout,
    AddInstance,
    SetGoal,
    SetRequests,
    SetHome,
    Observe,
    ForgetInstance,
    PutNode,
    SetLiveness,
    SetScheduling,
    PutImage,
    DropImage,
    RemoveNode,
}

#[derive(Debug, PartialEq)]
pub(super) struct Batch<'a> {
    pub kind: Kind,
    pub changes: Vec<&'a Change>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Owner<'a> {
    Source(&'a SourceName),
    App(&'a AppKey),
    Node(&'a NodeName),
}

/// The row below its owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Row<'a> {
    Own,
    Id(Uuid),
    Slot(u32),
    Text(&'a str),
}

/// `None`: [`app_patches`] writes it.
fn place_of(change: &Change) -> Option<(Kind, Owner<'_>, Row<'_>)> {
    use Owner::{App, Node, Source};
    Some(match change {
        Change::PutSource(s) => (Kind::PutSource, Source(&s.spec.name), Row::Own),
        Change::RemoveSource(name) => (Kind::RemoveSource, Source(name), Row::Own),
        Change::Declare { app, .. } => (Kind::Declare, App(app), Row::Own),
        Change::SetInvalid { app, .. } => (Kind::SetInvalid, App(app), Row::Own),
        Change::Undeclare { app } => (Kind::Undeclare, App(app), Row::Own),
        Change::RemoveApp { app } => (Kind::RemoveApp, App(app), Row::Own),
        Change::SetSuspension { app, .. } => (Kind::SetSuspension, App(app), Row::Own),
        Change::SetScale { app, .. } => (Kind::SetScale, App(app), Row::Own),
        Change::AddRelease(r) => (Kind::AddRelease, App(&r.app), Row::Id(r.id.0)),
        Change::SetReleaseState { app, release, .. } => {
            (Kind::SetReleaseState, App(app), Row::Id(release.0))
        }
        Change::PinImage { app, release, .. } => (Kind::PinImage, App(app), Row::Id(release.0)),
        Change::ForgetRelease { app, release } => {
            (Kind::ForgetRelease, App(app), Row::Id(release.0))
        }
        Change::SetTarget { .. } | Change::SetIncarnation { .. } => return None,
        Change::Quarantine { app, rejection } => {
            (Kind::Quarantine, App(app), Row::Text(&rejection.digest.0))
        }
        Change::Unquarantine { app, digest } => {
            (Kind::Unquarantine, App(app), Row::Text(&digest.0))
        }
        Change::PutRollout(r) => (Kind::PutRollout, App(&r.app), Row::Id(r.id.0)),
        Change::AddInstance(i) => (Kind::AddInstance, App(&i.app), Row::Id(i.id.0)),
        Change::SetGoal { app, instance, .. } => (Kind::SetGoal, App(app), Row::Id(instance.0)),
        Change::SetRequests { app, instance, .. } => {
            (Kind::SetRequests, App(app), Row::Id(instance.0))
        }
        Change::SetHome { app, slot, .. } => (Kind::SetHome, App(app), Row::Slot(*slot)),
        Change::Observe { app, instance, .. } => (Kind::Observe, App(app), Row::Id(instance.0)),
        Change::ForgetInstance { app, instance } => {
            (Kind::ForgetInstance, App(app), Row::Id(instance.0))
        }
        Change::PutNode(n) => (Kind::PutNode, Node(&n.name), Row::Own),
        Change::SetLiveness { node, .. } => (Kind::SetLiveness, Node(node), Row::Own),
        Change::SetScheduling { node, .. } => (Kind::SetScheduling, Node(node), Row::Own),
        Change::SetImage { node, image, state } => match state {
            Some(_) => (Kind::PutImage, Node(node), Row::Text(image)),
            None => (Kind::DropImage, Node(node), Row::Text(image)),
        },
        Change::RemoveNode { node } => (Kind::RemoveNode, Node(node), Row::Own),
    })
}

/// Batches in the order in which they must be written.
pub(super) fn schedule(changes: &[Change]) -> Vec<Batch<'_>> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut of_kind: HashMap<Kind, Vec<usize>> = HashMap::new();
    let mut last: HashMap<Owner, (usize, HashSet<Row>)> = HashMap::new();
    for change in each_rollout_once(changes) {
        let Some((kind, owner, row)) = place_of(change) else {
            continue;
        };
        let indexes = of_kind.entry(kind).or_default();
        let first = match last.get(&owner) {
            None => 0,
            Some((at, rows)) if batches[*at].kind == kind && !rows.contains(&row) => *at,
            Some((at, _)) => at + 1,
        };
        let at = match indexes.get(indexes.partition_point(|&i| i < first)) {
            Some(&at) => at,
            None => {
                let at = batches.len();
                indexes.push(at);
                batches.push(Batch {
                    kind,
                    changes: Vec::new(),
                });
                at
            }
        };
        batches[at].changes.push(change);
        let (last_at, rows) = last.entry(owner).or_insert_with(|| (at, HashSet::new()));
        if *last_at != at {
            *last_at = at;
            rows.clear();
        }
        rows.insert(row);
    }
    batches
}

/// A rollout is put as a whole: where a commit puts it more than once, as it is in the end,
/// in the place of the first, for rollouts are numbered in that order.
fn each_rollout_once(changes: &[Change]) -> impl Iterator<Item = &Change> {
    let mut at_last: HashMap<RolloutId, &Change> = HashMap::new();
    let mut removed: HashSet<&AppKey> = HashSet::new();
    for change in changes {
        match change {
            Change::PutRollout(rollout) => drop(at_last.insert(rollout.id, change)),
            Change::RemoveApp { app } => drop(removed.insert(app)),
            _ => {}
        }
    }
    changes.iter().filter_map(move |change| match change {
        // Some of them may be meant to go with the app.
        Change::PutRollout(rollout) if !removed.contains(&rollout.app) => {
            at_last.remove(&rollout.id)
        }
        _ => Some(change),
    })
}

/// What a whole commit does to the app's own row besides declaring it: written once, at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AppPatch {
    /// By how much its version grows.
    pub steps: i64,
    pub target: Option<ReleaseId>,
    /// Its last rollout.
    pub rollout: Option<RolloutId>,
    pub incarnation: Option<u64>,
}

/// Apps that are removed at the end are left out. `Declare` and `SetInvalid` are not counted:
/// they may name an app that is not there yet, and move the version themselves.
pub(super) fn app_patches(changes: &[Change]) -> HashMap<&AppKey, AppPatch> {
    let mut patches: HashMap<&AppKey, AppPatch> = HashMap::new();
    for change in changes {
        let Some(app) = change.app() else { continue };
        match change {
            Change::Declare { .. } | Change::SetInvalid { .. } => continue,
            Change::RemoveApp { app } => {
                patches.remove(app);
                continue;
            }
            _ => {}
        }
        let patch = patches.entry(app).or_default();
        patch.steps += 1;
        match change {
            Change::SetTarget { release, .. } => patch.target = Some(*release),
            Change::PutRollout(rollout) => patch.rollout = Some(rollout.id),
            Change::SetIncarnation { incarnation, .. } => patch.incarnation = Some(*incarnation),
            _ => {}
        }
    }
    patches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Goal, InstanceId, Order, Rollout, RolloutKind, RolloutPhase, Timestamp};

    fn app(n: u128) -> AppKey {
        format!("p/a{n}").parse().unwrap()
    }
    fn target(a: u128) -> Change {
        Change::SetTarget {
            app: app(a),
            release: ReleaseId(Uuid::from_u128(1)),
        }
    }
    fn pin(a: u128) -> Change {
        Change::PinImage {
            app: app(a),
            release: ReleaseId(Uuid::from_u128(1)),
            image: String::new(),
        }
    }
    fn goal(a: u128, instance: u128) -> Change {
        Change::SetGoal {
            app: app(a),
            instance: InstanceId(Uuid::from_u128(instance)),
            goal: Goal::Stop {
                at: Timestamp(0),
                reason: String::new(),
            },
        }
    }
    fn shape(changes: &[Change]) -> Vec<(Kind, usize)> {
        schedule(changes)
            .iter()
            .map(|b| (b.kind, b.changes.len()))
            .collect()
    }

    #[test]
    fn a_pattern_repeated_per_app_needs_one_batch_per_kind() {
        let changes: Vec<Change> = (0..100)
            .flat_map(|n| [pin(n), goal(n, 2 * n), goal(n, 2 * n + 1)])
            .collect();
        assert_eq!(
            shape(&changes),
            [(Kind::PinImage, 100), (Kind::SetGoal, 200)]
        );
    }

    #[test]
    fn one_row_twice_needs_two_batches() {
        assert_eq!(
            shape(&[goal(1, 7), goal(1, 7), goal(2, 8)]),
            [(Kind::SetGoal, 2), (Kind::SetGoal, 1)]
        );
    }

    #[test]
    fn order_within_an_app_is_kept() {
        let remove = |a| Change::RemoveApp { app: app(a) };
        let changes = [pin(1), goal(1, 1), pin(1), remove(2), pin(2)];
        for batches in [schedule(&changes)] {
            let order: Vec<&Change> = batches
                .iter()
                .flat_map(|b| b.changes.iter().copied())
                .collect();
            for a in [1, 2] {
                let of = |list: Vec<&Change>| -> Vec<Change> {
                    list.into_iter()
                        .filter(|c| c.app() == Some(&app(a)))
                        .cloned()
                        .collect()
                };
                assert_eq!(of(order.clone()), of(changes.iter().collect()));
            }
        }
    }

    fn put(id: u128, best_healthy: u32) -> Change {
        Change::PutRollout(Box::new(Rollout {
            id: RolloutId(Uuid::from_u128(id)),
            app: app(1),
            kind: RolloutKind::Forward,
            from: None,
            to: ReleaseId(Uuid::from_u128(1)),
            strategy: crate::model::spec::Strategy::Rolling,
            order: Order::StartFirst,
            phase: RolloutPhase::Progressing,
            started_at: Timestamp(0),
            progress_at: Timestamp(0),
            best_healthy,
            baking_since: None,
            finished_at: None,
            prepare: Default::default(),
            reason: String::new(),
            outcome: None,
            rejection: None,
        }))
    }

    #[test]
    fn a_rollout_that_is_put_twice_is_written_once_as_it_is_in_the_end() {
        let changes = [put(1, 0), put(2, 0), goal(1, 7), put(1, 3)];
        let written: Vec<Change> = schedule(&changes)
            .iter()
            .flat_map(|b| b.changes.iter().map(|c| (*c).clone()))
            .collect();
        assert_eq!(written, [put(1, 3), put(2, 0), goal(1, 7)]);
    }

    #[test]
    fn a_rollout_that_goes_with_its_app_is_not_taken_for_a_later_one() {
        let changes = [put(1, 0), Change::RemoveApp { app: app(1) }];
        assert_eq!(
            shape(&changes),
            [(Kind::PutRollout, 1), (Kind::RemoveApp, 1)]
        );
    }

    #[test]
    fn an_app_starts_again_after_a_removal() {
        let changes = [
            target(1),
            Change::RemoveApp { app: app(1) },
            pin(1),
            pin(1),
            target(2),
            pin(2),
        ];
        let (first, second) = (app(1), app(2));
        let patches = app_patches(&changes);
        let target = Some(ReleaseId(Uuid::from_u128(1)));
        let patch = |steps, target| AppPatch {
            steps,
            target,
            rollout: None,
            incarnation: None,
        };
        assert_eq!(patches[&first], patch(2, None));
        assert_eq!(patches[&second], patch(2, target));
    }
}
