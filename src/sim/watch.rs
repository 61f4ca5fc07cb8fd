//! The promises, measured from outside: on what really runs, what was really committed and what
//! the repository really holds. Knows nothing of how decisions are made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::apps::{Doc, Tree};
use super::controller::Why;
use super::machine::{Act, ActKind};
use super::rng::Moment;
use super::world::Place;
use crate::agent::step::Op;
use crate::model::quantity::Resources;
use crate::model::spec::Strategy;
use crate::model::{
    App, AppKey, Change, Epoch, Generation, Goal, Instance, InstanceId, Liveness, NodeName,
    RolloutId, RolloutPhase, Snapshot, SpecDigest, Verdict, WorkloadDigest,
};
use crate::plan::Settings;

/// Between what a node does and that a leader without faults has heard of it, or has noticed
/// that it hears nothing: what fails in that time could not be known.
const NEWS: u64 = 25_000;
/// The same while messages come late.
const LATE_NEWS: u64 = 60_000;
/// Clocks of two machines and the time of a message.
const SLACK: u64 = 100;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub at: Moment,
    pub rule: &'static str,
    pub text: String,
}

#[derive(Clone, Debug)]
struct Promise {
    since: Moment,
    floor: usize,
    ceiling: usize,
    min_healthy: Duration,
    wanted: Option<WorkloadDigest>,
}

#[derive(Clone, Debug)]
struct Seen {
    instance: Instance,
    created: Moment,
    stop: Option<Stop>,
    /// Told to stop on a node that was silent then or later: nobody counts it.
    given_up: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    at: Moment,
    /// Its node had said that it serves.
    ready: bool,
}

/// What is compared with a commit.
pub struct Truth<'a> {
    pub places: &'a [Place],
    pub history: &'a [Arc<Tree>],
    /// When the leader that commits began to watch.
    pub since: Moment,
}

/// What was so before a commit.
pub struct Before {
    declared: BTreeSet<AppKey>,
    silent: usize,
    nodes: usize,
    rollouts: BTreeMap<AppKey, (RolloutId, bool)>,
}

#[derive(Default)]
pub struct Watch {
    pub broken: Vec<Broken>,
    promises: BTreeMap<AppKey, Vec<Promise>>,
    instances: BTreeMap<InstanceId, Seen>,
    obeyed: BTreeMap<usize, (Epoch, Generation)>,
    contact: BTreeMap<NodeName, Moment>,
    losses: BTreeMap<AppKey, Vec<Moment>>,
    hurt: BTreeSet<AppKey>,
    last_stop: BTreeMap<AppKey, Moment>,
    /// When a node last counted as lost: nobody waits for its images.
    lost: BTreeMap<NodeName, Moment>,
    storm_until: Moment,
    database_stepped: Option<Moment>,
    rollouts: BTreeMap<RolloutId, Moment>,
    /// While nothing may be done.
    pub resting: bool,
}

impl Watch {
    pub fn break_rule(&mut self, at: Moment, rule: &'static str, text: String) {
        self.broken.push(Broken { at, rule, text });
    }

    pub fn heard(&mut self, now: Moment, node: &NodeName) {
        self.contact.insert(node.clone(), now);
    }

    /// A serving container of the app ended, and not because somebody wanted it.
    pub fn lost(&mut self, now: Moment, app: &AppKey) {
        self.losses.entry(app.clone()).or_default().push(now);
    }

    /// Its containers were ended from outside.
    pub fn hurt(&mut self, app: &AppKey) {
        self.hurt.insert(app.clone());
    }

    pub fn storm_until(&mut self, until: Moment) {
        self.storm_until = self.storm_until.max(until);
    }

    pub fn database_stepped(&mut self, now: Moment) {
        self.database_stepped = Some(now);
    }

    pub fn ledger_lost(&mut self, node: usize, previous: Option<(Epoch, Generation)>) {
        match previous {
            Some(key) => self.obeyed.insert(node, key),
            None => self.obeyed.remove(&node),
        };
    }

    pub fn obeyed(&mut self, now: Moment, node: usize, epoch: Epoch, generation: Generation) {
        let new = (epoch, generation);
        if let Some(old) = self.obeyed.insert(node, new)
            && new < old
        {
            self.break_rule(
                now,
                "older orders",
                format!("n{node} obeys {new:?} after {old:?}"),
            );
        }
    }

    pub fn two_leaders(&mut self, now: Moment) {
        // A lease that ends early by a clock that was set is what the epochs are for.
        if self.database_stepped.is_none() {
            self.break_rule(now, "one leader", "two controllers act at once".to_owned());
        }
    }

    pub fn op_failed(&mut self, now: Moment, node: usize, op: &Op, failure: &str) {
        if failure == "port is already allocated" {
            self.break_rule(
                now,
                "over-commitment",
                format!(
                    "n{node}: a fixed port is given out twice, {:?}",
                    op.instance()
                ),
            );
        }
    }

    fn news(&self, now: Moment) -> u64 {
        if now < self.storm_until {
            LATE_NEWS
        } else {
            NEWS
        }
    }

    // --- what really happens on a node

    pub fn acted(&mut self, now: Moment, act: &Act, snapshot: &Snapshot, places: &[Place]) {
        if self.resting && !matches!(act.kind, ActKind::Start { again: true }) {
            self.break_rule(
                now,
                "rest",
                format!(
                    "n{} {:?} {} while at rest",
                    act.node,
                    act.kind,
                    act.id.short()
                ),
            );
        }
        let Some(seen) = self.instances.get(&act.id).cloned() else {
            self.break_rule(
                now,
                "not ours",
                format!(
                    "n{} {:?} {} that nobody planned",
                    act.node, act.kind, act.id
                ),
            );
            return;
        };
        match act.kind {
            ActKind::Start { again: false } => self.started(now, act, &seen, places),
            ActKind::Stop {
                served: true,
                asked: true,
            } => self.stopped(now, act, &seen, places),
            ActKind::Start { again: true } | ActKind::Create | ActKind::Stop { .. } => {}
            ActKind::Remove { running } => {
                if running {
                    let text = format!("{} was removed while it ran", act.id.short());
                    self.break_rule(now, "graceful", text);
                }
            }
        }
        let _ = snapshot;
    }

    fn started(&mut self, now: Moment, act: &Act, seen: &Seen, places: &[Place]) {
        let app = &seen.instance.app;
        let running: Vec<(usize, InstanceId)> = places
            .iter()
            .enumerate()
            .flat_map(|(n, p)| {
                let of_app = p
                    .machine
                    .containers
                    .iter()
                    .filter(|(_, c)| c.app == *app && c.is_running());
                of_app.map(move |(id, _)| (n, *id))
            })
            .collect();
        let counted = running
            .iter()
            .filter(|(_, id)| self.instances.get(id).is_some_and(|s| !s.given_up))
            .count();
        let ceiling = self
            .promised(app, seen.created)
            .map(|p| p.ceiling)
            .max()
            .unwrap_or(usize::MAX);
        if counted > ceiling && !seen.given_up {
            self.break_rule(
                now,
                "surge",
                format!("{app}: {counted} run, {ceiling} are allowed"),
            );
        }
        let container = places[act.node].machine.containers.get(&act.id);
        if container.is_some_and(|c| !c.volumes.is_empty()) {
            let twin = running.iter().find(|(n, id)| {
                *id != act.id && places[*n].machine.containers[id].slot == seen.instance.slot
            });
            if twin.is_some() {
                let slot = seen.instance.slot;
                let text = format!("{app}: slot {slot} with its volume runs twice");
                self.break_rule(now, "exclusive volume", text);
            }
        }
        let place = &places[act.node].machine;
        let mut used = Resources::default();
        for (id, _) in place.containers.iter().filter(|(_, c)| c.is_running()) {
            if let Some(other) = self.instances.get(id) {
                used = used.plus(other.instance.requests);
            }
        }
        let capacity = place.facts.capacity;
        if used.cpu_millis > capacity.cpu_millis || used.memory_bytes > capacity.memory_bytes {
            let text = format!("n{}: {used:?} of {capacity:?} are used", act.node);
            self.break_rule(now, "over-commitment", text);
        }
    }

    /// The promises of an app that held at some time from `since` on.
    fn promised(&self, app: &AppKey, since: Moment) -> impl Iterator<Item = &Promise> {
        let all = self.promises.get(app).map_or(&[][..], Vec::as_slice);
        let first = all.iter().rposition(|p| p.since <= since).unwrap_or(0);
        all[first..].iter()
    }

    fn stopped(&mut self, now: Moment, act: &Act, seen: &Seen, places: &[Place]) {
        let app = &seen.instance.app;
        let Some(stop) = seen.stop else {
            let text = format!("{app}: {} stops and nobody decided it", act.id.short());
            self.break_rule(now, "reasons", text);
            return;
        };
        if seen.given_up {
            return;
        }
        let container = places[act.node].machine.containers.get(&act.id);
        let started = container.map_or(now, |c| c.started_at);
        if !stop.ready && started.0 + LATE_NEWS > stop.at.0 {
            return; // it came up while it was given up
        }
        let promises: Vec<&Promise> = self
            .promised(app, Moment(stop.at.0.saturating_sub(1)))
            .collect();
        let Some(floor) = promises.iter().map(|p| p.floor).min().filter(|f| *f > 0) else {
            return;
        };
        // Until this takes effect others may have become healthy, and more may have been stopped
        // for them.
        let decided = self
            .last_stop
            .get(app)
            .map_or(stop.at, |at| stop.at.max(*at));
        let at_decision = promises.iter().rev().find(|p| p.since <= decided).copied();
        let window = self.news(now).max(now.0 - stop.at.0);
        let from = stop.at.0.saturating_sub(window);
        let mut available = 0;
        let mut lost = 0;
        for container in places.iter().flat_map(|p| &p.machine.containers) {
            let (id, c) = container;
            if c.app != *app {
                continue;
            }
            let Some((since, until)) = c.serves() else {
                continue;
            };
            let wanted = at_decision.and_then(|p| p.wanted.as_ref());
            let new = self
                .instances
                .get(id)
                .is_some_and(|s| Some(&s.instance.workload) == wanted);
            let age = at_decision.map_or(Duration::ZERO, |p| p.min_healthy);
            let proven = !new
                || self.database_stepped.is_some()
                || since.0 + age.as_millis() as u64 <= decided.0 + SLACK;
            if since <= now && now < until && proven {
                available += 1;
            } else if until <= now && until.0 >= from {
                lost += 1;
            }
        }
        let losses = self.losses.get(app).map_or(&[][..], Vec::as_slice);
        lost += losses.iter().filter(|at| at.0 >= from).count();
        if available + lost < floor {
            self.break_rule(
                now,
                "availability",
                format!(
                    "{app}: {available} serve after {} stops, {floor} are promised \
                     ({lost} more were lost by faults); decided at {:.3}s",
                    act.id.short(),
                    stop.at.0 as f64 / 1000.0
                ),
            );
        }
    }

    // --- what is committed

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
        for change in changes {
            if let Change::PutRollout(r) = change
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
        self.deletions(now, &before, changes, why, truth);
    }

    fn promise(&mut self, now: Moment, key: &AppKey, app: Option<&App>) {
        let none = Promise {
            since: now,
            floor: 0,
            ceiling: usize::MAX,
            min_healthy: Duration::ZERO,
            wanted: None,
        };
        let release = app
            .filter(|a| a.declared.is_some())
            .and_then(|a| a.target_release());
        let promise = release.map_or(none, |release| {
            let policy = &release.spec.rollout;
            let replicas = app.map_or(0, |a| a.replicas_of(release));
            let unavailable = policy.max_unavailable.of_rounding_down(replicas);
            Promise {
                since: now,
                floor: match policy.strategy {
                    Strategy::Recreate => 0,
                    Strategy::Rolling => replicas.saturating_sub(unavailable) as usize,
                },
                ceiling: (replicas + policy.max_surge.of_rounding_up(replicas)) as usize,
                min_healthy: policy.min_healthy_time,
                wanted: Some(release.workload_digest.clone()),
            }
        });
        let all = self.promises.entry(key.clone()).or_default();
        let same = all.last().is_some_and(|p| {
            (p.floor, p.ceiling, p.min_healthy)
                == (promise.floor, promise.ceiling, promise.min_healthy)
                && p.wanted == promise.wanted
        });
        if !same {
            all.push(promise);
        }
    }

    fn change(
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
                self.leaving(now, before, after, app, *instance, reason, truth);
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
                    seen.stop.get_or_insert(Stop { at: now, ready });
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
                self.rollouts.entry(rollout.id).or_insert(now);
                let Some(app) = after.apps.get(&rollout.app) else {
                    return;
                };
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
            | Change::SetLiveness { .. }
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

    fn added(&mut self, now: Moment, after: &Snapshot, instance: &Instance) {
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
    fn leaving(
        &mut self,
        now: Moment,
        before: &Before,
        after: &Snapshot,
        app: &AppKey,
        id: InstanceId,
        reason: &str,
        truth: &Truth<'_>,
    ) {
        if !reason.contains("has been silent for") {
            return;
        }
        let Some(seen) = self.instances.get(&id) else {
            return;
        };
        let node = seen.instance.node.clone();
        let contact = self.contact.get(&node).copied().unwrap_or(Moment(0));
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

    /// The first old instance that serves stops only once every node has the image.
    fn images(
        &mut self,
        now: Moment,
        after: &Snapshot,
        key: &AppKey,
        id: InstanceId,
        truth: &Truth<'_>,
    ) {
        let Some(app) = after.apps.get(key).filter(|a| a.declared.is_some()) else {
            return;
        };
        let Some(rollout) = app.active_rollout().filter(|r| !r.is_rollback()) else {
            return;
        };
        let (Some(release), Some(instance)) =
            (app.releases.get(&rollout.to), app.instances.get(&id))
        else {
            return;
        };
        let heard = |node: &NodeName| {
            after
                .nodes
                .get(node)
                .is_some_and(|n| n.liveness == Liveness::Ready)
        };
        let serves = instance.is_ready() && heard(&instance.node);
        if instance.workload == release.workload_digest || !serves {
            return;
        }
        let (Some(image), Some(tag)) = (release.image(), release.spec.workload.image()) else {
            return;
        };
        let began = self.rollouts.get(&rollout.id).copied().unwrap_or(now);
        let lost_since = |node: &NodeName| self.lost.get(node).is_some_and(|at| *at >= began);
        let lacks = truth.places.iter().find(|p| {
            !lost_since(&p.machine.name)
                && rollout.prepare.contains(&p.machine.name)
                && heard(&p.machine.name)
                && p.machine.reachable()
                && !p.machine.images.contains(image)
                && !p.machine.images.contains(tag)
        });
        if let Some(place) = lacks {
            let text = format!(
                "{key}: an old instance stops, and {} has not got {image}",
                place.machine.name
            );
            self.break_rule(now, "images first", text);
        }
    }

    fn verdict(
        &mut self,
        now: Moment,
        after: &Snapshot,
        key: &AppKey,
        digest: &SpecDigest,
        rejection: &crate::model::Rejection,
        truth: &Truth<'_>,
    ) {
        let app = after.apps.get(key);
        let Some(release) = app.and_then(|a| a.releases.get(&rejection.release)) else {
            return;
        };
        let image = release.spec.workload.image().map(super::apps::image);
        let good = image.is_some_and(|i| i.behaviour.is_good());
        let behaviour = image.map(|i| i.behaviour);
        let watched = now.0 - truth.since.0;
        let rollout = rejection.rollout.and_then(|r| self.rollouts.get(&r));
        let began = rollout.copied().unwrap_or(Moment(0));
        let policy = &release.spec.rollout;
        use super::apps::Behaviour as B;
        let wrong = match rejection.verdict {
            Verdict::NotReady => {
                let limit = policy.healthy_deadline.as_millis() as u64;
                if good && !self.hurt.contains(key) {
                    Some("it is ready soon after each start".to_owned())
                } else {
                    (watched + 1_500 < limit).then(|| format!("after {watched} ms of {limit}"))
                }
            }
            Verdict::NoProgress => {
                let limit = policy.progress_deadline.as_millis() as u64;
                let lasted = watched.min(now.0 - began.0);
                (lasted + 1_500 < limit).then(|| format!("after {lasted} ms of {limit}"))
            }
            Verdict::ImageMissing => {
                (behaviour != Some(B::Missing)).then(|| "the image is there".to_owned())
            }
            Verdict::CannotStart => {
                (behaviour != Some(B::Refused)).then(|| "it can start".to_owned())
            }
            Verdict::CrashLoop => {
                (good && !self.hurt.contains(key)).then(|| "it never crashed".to_owned())
            }
            Verdict::FailedBake => {
                (good && !self.hurt.contains(key)).then(|| "it never sickened".to_owned())
            }
            Verdict::Infeasible | Verdict::Operator => None,
        };
        if let Some(wrong) = wrong {
            let text = format!(
                "{key}: {:?} of {:?} ({}): {wrong}",
                rejection.verdict,
                release.spec.workload.image(),
                digest.short()
            );
            self.break_rule(now, "verdict", text);
        }
    }

    fn deletions(
        &mut self,
        now: Moment,
        before: &Before,
        changes: &[Change],
        why: Why,
        truth: &Truth<'_>,
    ) {
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
        let _ = (truth, Doc::Invalid);
    }
}
