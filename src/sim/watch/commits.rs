//! What is committed, held against what the repository and the nodes really hold.

use std::collections::{BTreeMap, BTreeSet};

use super::{Before, Seen, Stop, Truth, Watch};
use crate::model::{
    App, AppKey, Change, Goal, Instance, InstanceId, Liveness, Rollout, RolloutKind, RolloutPhase,
    Snapshot,
};
use crate::plan::Settings;
use crate::sim::controller::Why;
use crate::sim::rng::Moment;

impl Watch {
    pub fn look(&self, before: &Snapshot, changes: &[Change]) -> Before {
        let declared = if changes
            .iter()
            .any(|c| matches!(c, Change::Undeclare { .. }))
        {
            before
                .apps
                .values()
                .filter(|a| a.declared.is_some())
                .map(|a| a.key.clone())
                .collect()
        } else {
            BTreeSet::new()
        };
        let mut rollouts = BTreeMap::new();
        let mut quarantined = BTreeMap::new();
        for change in changes {
            if let Change::PutRollout(r) = change
                && let Some(app) = before.apps.get(&r.app)
            {
                let digests = app.quarantine.keys().cloned().collect();
                quarantined.insert(r.app.clone(), digests);
            }
            // One that goes forward in between ends the rollback before the next begins.
            let forward = |r: &Rollout| {
                let new = |f: &Rollout| f.app == r.app && f.kind == RolloutKind::Forward;
                let of_app = |c: &Change| matches!(c, Change::PutRollout(f) if new(f));
                changes.iter().any(of_app)
            };
            if let Change::PutRollout(r) = change
                && !forward(r)
                && let Some(old) = before.apps.get(&r.app).and_then(App::active_rollout)
            {
                rollouts.insert(r.app.clone(), (old.id, old.is_rollback()));
            }
        }
        Before {
            declared,
            silent: before
                .nodes
                .values()
                .filter(|n| n.liveness != Liveness::Ready)
                .count(),
            nodes: before.nodes.len(),
            rollouts,
            quarantined,
        }
    }

    pub fn committed(
        &mut self,
        now: Moment,
        before: Before,
        after: &Snapshot,
        changes: &[Change],
        why: Why,
        truth: &Truth<'_>,
    ) {
        self.led_since = truth.since;
        if self.resting
            && let Some(change) = changes.iter().find(|c| {
                matches!(
                    c,
                    Change::AddInstance(_)
                        | Change::SetGoal { .. }
                        | Change::PutRollout(_)
                        | Change::Undeclare { .. }
                        | Change::Quarantine { .. }
                )
            })
        {
            let text = format!("{change:?}").chars().take(300).collect();
            self.break_rule(now, "rest", text);
        }
        let touched: BTreeSet<&AppKey> = changes.iter().filter_map(Change::app).collect();
        for change in changes {
            self.change(now, &before, after, change, why, truth);
        }
        for key in touched {
            self.promise(now, key, after.apps.get(key));
        }
        self.deletions(now, &before, changes, why);
    }

    pub(super) fn change(
        &mut self,
        now: Moment,
        before: &Before,
        after: &Snapshot,
        change: &Change,
        why: Why,
        truth: &Truth<'_>,
    ) {
        match change {
            Change::AddInstance(instance) => self.added(now, after, instance),
            Change::SetGoal {
                app,
                instance,
                goal: Goal::Stop { reason, .. },
            } => {
                let for_silence = reason.contains("has been silent for");
                if for_silence {
                    self.left_silent(now, before, after, (app, *instance), truth);
                }
                self.images(now, after, app, *instance, truth);
                self.last_stop.insert(app.clone(), now);
                let silent = |seen: &Seen| {
                    after
                        .nodes
                        .get(&seen.instance.node)
                        .is_none_or(|n| n.liveness != Liveness::Ready)
                };
                if let Some(seen) = self.instances.get_mut(instance) {
                    let app = after.apps.get(app);
                    let instance = app.and_then(|a| a.instances.get(instance));
                    let ready = instance.is_some_and(Instance::is_ready);
                    seen.stop.get_or_insert(Stop {
                        at: now,
                        ready,
                        for_silence,
                    });
                    seen.given_up |= silent(seen);
                }
            }
            Change::SetRequests {
                instance, requests, ..
            } => {
                if let Some(seen) = self.instances.get_mut(instance) {
                    seen.instance.requests = *requests;
                }
            }
            Change::SetLiveness { node, liveness, .. } if *liveness != Liveness::Ready => {
                if *liveness == Liveness::Lost {
                    self.lost.insert(node.clone(), now);
                }
                for seen in self.instances.values_mut() {
                    if seen.instance.node == *node && seen.stop.is_some() {
                        seen.given_up = true;
                    }
                }
            }
            Change::SetLiveness { node, .. } => {
                let at = self.contact(node, truth.decided);
                self.returned.insert(node.clone(), at);
            }
            Change::ForgetInstance { app, instance } => {
                let there = truth
                    .places
                    .iter()
                    .any(|p| p.machine.containers.contains_key(instance));
                if there {
                    let text = format!("{app}: {} is forgotten and exists", instance.short());
                    self.break_rule(now, "unknown is not absent", text);
                }
            }
            Change::PutRollout(rollout) => {
                let begins = !self.rollouts.contains_key(&rollout.id);
                self.rollouts.entry(rollout.id).or_insert(now);
                let Some(app) = after.apps.get(&rollout.app) else {
                    return;
                };
                self.progress(now, app, rollout, truth);
                let rejected = app.releases.get(&rollout.to).is_some_and(|to| {
                    let was = before.quarantined.get(&app.key);
                    let was = was.is_some_and(|digests| digests.contains(&to.spec_digest));
                    was && app.quarantine.contains_key(&to.spec_digest)
                });
                if begins && rejected && rollout.kind == RolloutKind::Forward {
                    let text = format!("{}: forward to a release that was rejected", app.key);
                    self.break_rule(now, "quarantine", text);
                }
                let is_new = before
                    .rollouts
                    .get(&rollout.app)
                    .is_none_or(|(id, _)| *id != rollout.id);
                if !(is_new && rollout.is_rollback() && rollout.phase == RolloutPhase::Preparing) {
                    return;
                }
                let proven = app.releases.get(&rollout.to).is_some_and(|r| r.is_stable());
                if !proven {
                    let text = format!("{}: to a release that was never proven", app.key);
                    self.break_rule(now, "rollback", text);
                }
                if before.rollouts.get(&rollout.app).is_some_and(|(_, r)| *r) {
                    let text = format!("{}: a rollback was rolled back", app.key);
                    self.break_rule(now, "rollback", text);
                }
            }
            Change::Quarantine { app, rejection } => {
                self.verdict(now, after, app, &rejection.digest, rejection, truth);
            }
            Change::Undeclare { app } => {
                if let Why::Sync { head } = why {
                    let doc = truth.history.get(head).and_then(|t| t.get(app));
                    if doc.is_some() {
                        let text = format!("{app}: deleted, and the repository holds {doc:?}");
                        self.break_rule(
                            now,
                            "nothing unread is deleted",
                            text.chars().take(200).collect(),
                        );
                    }
                    if head >= 1_000_000 {
                        let text = format!("{app}: deleted by an empty tree");
                        self.break_rule(now, "nothing unread is deleted", text);
                    }
                }
            }
            Change::RemoveApp { app } => {
                let left = truth.places.iter().any(|p| {
                    let mut containers = p.machine.containers.values();
                    containers.any(|c| c.app == *app)
                });
                if left {
                    let text = format!("{app}: removed while containers of it exist");
                    self.break_rule(now, "unknown is not absent", text);
                }
            }
            Change::SetGoal { .. }
            | Change::PutSource(_)
            | Change::RemoveSource(_)
            | Change::Declare { .. }
            | Change::SetInvalid { .. }
            | Change::SetSuspension { .. }
            | Change::SetScale { .. }
            | Change::SetIncarnation { .. }
            | Change::AddRelease(_)
            | Change::SetReleaseState { .. }
            | Change::PinImage { .. }
            | Change::ForgetRelease { .. }
            | Change::SetTarget { .. }
            | Change::Unquarantine { .. }
            | Change::SetHome { .. }
            | Change::Observe { .. }
            | Change::PutNode(_)
            | Change::SetScheduling { .. }
            | Change::SetImage { .. }
            | Change::RemoveNode { .. } => {}
        }
    }

    pub(super) fn added(&mut self, now: Moment, after: &Snapshot, instance: &Instance) {
        let app = after.apps.get(&instance.app);
        let release = app.and_then(|a| a.releases.get(&instance.release));
        if let (Some(app), Some(release)) = (app, release)
            && app.quarantine.contains_key(&release.spec_digest)
        {
            let text = format!(
                "{}: slot {} starts anew a release that was rejected",
                app.key, instance.slot
            );
            self.break_rule(now, "quarantine", text);
        }
        self.instances.insert(
            instance.id,
            Seen {
                instance: instance.clone(),
                created: now,
                stop: None,
                given_up: false,
            },
        );
    }

    /// A node is given up only after it was silent for as long as the app allows, and never
    /// when most are silent at once.
    pub(super) fn left_silent(
        &mut self,
        now: Moment,
        before: &Before,
        after: &Snapshot,
        (app, id): (&AppKey, InstanceId),
        truth: &Truth<'_>,
    ) {
        let Some(seen) = self.instances.get(&id) else {
            return;
        };
        let node = seen.instance.node.clone();
        let contact = self.contact(&node, truth.decided);
        let release = after.apps.get(app).and_then(|a| a.target_release());
        let after_ms = release.map_or(0, |r| r.spec.on_node_loss.after.as_millis() as u64);
        let silent = now.0 - contact.max(truth.since).0;
        if silent + 2_000 < after_ms {
            let text = format!("{app}: given up on {node} after {silent} ms of {after_ms}");
            self.break_rule(now, "node loss", text);
        }
        let brake = Settings::default().silent_nodes;
        if brake.holds(before.silent, before.nodes) {
            let text = format!(
                "{app}: moved while {} of {} nodes are silent",
                before.silent, before.nodes
            );
            self.break_rule(now, "node loss", text);
        }
    }

    pub(super) fn deletions(&mut self, now: Moment, before: &Before, changes: &[Change], why: Why) {
        let gone = changes
            .iter()
            .filter(|c| matches!(c, Change::Undeclare { .. }))
            .count();
        let brake = (50, 3);
        let of = before.declared.len();
        let many = gone >= brake.1 && gone * 100 > of * brake.0;
        match why {
            Why::Sync { .. } if many => {
                let text = format!("{gone} of {of} apps deleted by one commit");
                self.break_rule(now, "deletion brake", text);
            }
            Why::Sync { .. } | Why::Verb => {}
            Why::Report | Why::Plan | Why::Failed | Why::Liveness if gone > 0 => {
                let text = format!("{gone} apps deleted by no commit ({why:?})");
                self.break_rule(now, "nothing unread is deleted", text);
            }
            Why::Report | Why::Plan | Why::Failed | Why::Liveness => {}
        }
    }
}
