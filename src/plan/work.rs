//! The working copy of one app while it is planned: it sees its own changes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::drain::is_draining;
use super::place::{Funnel, Overlay, Request, Siblings, place};
use super::report::Waiting;
use super::{AppReport, Decision, IdSource, Plan, PlanInput};
use crate::model::snapshot::Observed;
use crate::model::{
    Actor, App, Change, Event, EventKind, Goal, Instance, InstanceId, Liveness, NodeName, Release,
    Timestamp,
};
use crate::mutant::{Mutant, mutant};

pub struct Work<'a> {
    pub input: &'a PlanInput<'a>,
    /// With every change emitted so far.
    pub app: App,
    overlay: &'a mut Overlay,
    ids: &'a mut IdSource,
    changes: Vec<Change>,
    events: Vec<Event>,
    report: AppReport,
    wake_at: Option<Timestamp>,
    hosts: Hosts,
    /// Only tried out: nobody reads its events.
    trial: bool,
    /// Where the instances are, until something else than a placement changes that.
    siblings: Option<Siblings>,
}

/// What is the same of all nodes that hold instances of an app: looked up once, it need not
/// be for each instance. Placed ones change nothing of it: they come on nodes that are heard
/// and take new ones.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Those that are not heard.
    silent: BTreeSet<NodeName>,
    /// Some are being drained.
    drained: bool,
}

impl Hosts {
    pub fn of(input: &PlanInput<'_>, app: &App, overlay: &Overlay) -> Hosts {
        let mut hosts = Hosts::default();
        if overlay.is_ideal() {
            return hosts;
        }
        for instance in app.instances.values() {
            let node = input.snapshot.nodes.get(&instance.node);
            if node.is_none_or(|n| n.liveness != Liveness::Ready) {
                hosts.silent.insert(instance.node.clone());
            }
            hosts.drained |= node.is_some_and(is_draining);
        }
        hosts
    }

    pub fn hears(&self, node: &NodeName) -> bool {
        self.silent.is_empty() || !self.silent.contains(node)
    }
}

impl<'a> Work<'a> {
    pub fn new(
        input: &'a PlanInput<'a>,
        app: &App,
        overlay: &'a mut Overlay,
        ids: &'a mut IdSource,
    ) -> Work<'a> {
        let hosts = Hosts::of(input, app, overlay);
        let mut work = Work::trial(hosts, input, app.clone(), overlay, ids);
        work.trial = false;
        work
    }

    /// Its changes are carried out by nobody, and it records no events of instances.
    pub fn trial(
        hosts: Hosts,
        input: &'a PlanInput<'a>,
        app: App,
        overlay: &'a mut Overlay,
        ids: &'a mut IdSource,
    ) -> Work<'a> {
        Work {
            input,
            hosts,
            trial: true,
            app,
            overlay,
            ids,
            changes: Vec::new(),
            events: Vec::new(),
            report: AppReport::default(),
            wake_at: None,
            siblings: None,
        }
    }

    /// Takes in what the snapshot does not have yet.
    pub fn see(&mut self, news: &Change) {
        if let Change::Observe { app, .. } = news
            && *app == self.app.key
        {
            // An instance that is not there is for who makes `news` to notice.
            let _ = self.app.apply(news);
            self.siblings = None;
        }
    }

    pub fn finish(self, plan: &mut Plan) {
        plan.changes.extend(self.changes);
        plan.events.extend(self.events);
        plan.report.apps.insert(self.app.key.clone(), self.report);
        if let Some(at) = self.wake_at {
            plan.wake_at.insert(self.app.key, at);
        }
    }

    pub fn now(&self) -> Timestamp {
        self.input.now
    }

    pub fn emitted(&self) -> usize {
        self.changes.len()
    }

    /// What was decided, for who asked for it.
    pub fn into_decision(self) -> Decision {
        Decision {
            changes: self.changes,
            events: self.events,
        }
    }

    /// For a trial run: the app as it became, the changes, and what is waited for.
    pub fn into_trial(self) -> (App, Vec<Change>, AppReport, String) {
        let words = self.waiting_words();
        (self.app, self.changes, self.report, words)
    }

    /// What is waited for, in one line.
    pub fn waiting_words(&self) -> String {
        if self.report.waiting.is_empty() {
            return "nothing moves".to_owned();
        }
        let words: Vec<&str> = self
            .report
            .waiting
            .iter()
            .map(|w| w.what.as_str())
            .collect();
        words.join("; ")
    }

    /// Starts a round: what is waited for is told anew.
    pub fn start_round(&mut self) {
        self.report = AppReport::default();
        self.wake_at = None;
    }

    pub fn emit(&mut self, change: Change) {
        match &change {
            Change::AddInstance(instance) => {
                self.overlay.take(self.input.snapshot, instance);
                if let Some(siblings) = &mut self.siblings {
                    siblings.add(instance);
                }
            }
            Change::SetGoal { .. } | Change::Observe { .. } | Change::SetIncarnation { .. } => {
                self.siblings = None;
            }
            Change::ForgetInstance { instance, .. } => {
                self.siblings = None;
                if let Some(old) = self.app.instances.get(instance) {
                    self.overlay.release(self.input.snapshot, old);
                }
            }
            Change::SetRequests {
                instance, requests, ..
            } => {
                if let Some(old) = self.app.instances.get(instance) {
                    let mut new = old.clone();
                    new.requests = *requests;
                    self.overlay.release(self.input.snapshot, old);
                    self.overlay.take(self.input.snapshot, &new);
                }
            }
            _ => {}
        }
        // The changes come from this very copy: one that does not fit is a bug
        // that `check` reports, and must not be lost here.
        let _ = self.app.apply(&change);
        self.changes.push(change);
    }

    /// The app's record goes; nothing may be emitted for it afterwards.
    pub fn emit_removal(&mut self) {
        self.changes.push(Change::RemoveApp {
            app: self.app.key.clone(),
        });
    }

    pub fn tell(&mut self, kind: EventKind, message: impl Into<String>) -> &mut Event {
        let mut event = Event::new(self.now(), Actor::Controller, kind, message);
        event.app = Some(self.app.key.clone());
        event.source = Some(self.app.source.clone());
        event.rollout = self.app.active_rollout().map(|r| r.id);
        event.commit = self.app.target_release().map(|r| r.commit.clone());
        let index = self.events.len();
        self.events.push(event);
        &mut self.events[index]
    }

    pub fn wait_for(&mut self, what: impl Into<String>, until: Option<Timestamp>) {
        let waiting = Waiting {
            what: what.into(),
            until,
        };
        // Several instances may wait for one thing.
        if !self.report.waiting.contains(&waiting) {
            self.report.waiting.push(waiting);
        }
        if let Some(at) = until {
            self.wake(at);
        }
    }

    /// Looks again at `at`, which is later than now.
    pub fn wake(&mut self, at: Timestamp) {
        if at > self.now() {
            self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
        }
    }

    pub fn set_funnel(&mut self, funnel: Funnel) {
        self.report.funnel = Some(funnel);
    }

    pub fn observe<'i>(&self, instance: &'i Instance) -> Observed<'i> {
        // Placed ones come on nodes that are heard.
        if !self.hosts.hears(&instance.node) {
            let seen = self.input.snapshot.observe(instance);
            if seen == Observed::Unknown && mutant(Mutant::UnknownIsAbsent) {
                return Observed::Absent;
            }
            return seen;
        }
        match &instance.status {
            Some(_) if instance.is_gone() => Observed::Absent,
            Some(status) if self.app.is_unseen(instance, status) => Observed::Unknown,
            Some(status) => Observed::Known(status),
            None => Observed::Pending,
        }
    }

    /// For how long the node has been silent; `None`: it can be heard.
    pub fn silence(&self, node: &NodeName) -> Option<Duration> {
        if self.hosts.hears(node) {
            return None;
        }
        match self.input.snapshot.nodes.get(node) {
            None => Some(Duration::MAX),
            Some(node) => match node.liveness {
                Liveness::Ready => None,
                Liveness::Suspect | Liveness::Lost => {
                    let heard = self.input.heard.get(&node.name).copied();
                    let last = node.last_heard.max(heard.unwrap_or(node.last_heard));
                    Some(self.now().since(self.watched(last)))
                }
            },
        }
    }

    /// From when on what began at `at` was watched by who leads now.
    pub fn watched(&self, at: Timestamp) -> Timestamp {
        if mutant(Mutant::UnwatchedDeadlines) {
            return at;
        }
        at.max(self.input.since)
    }

    /// The same for what began on that node: nobody watched it while the node was silent.
    pub fn watched_on(&self, node: &NodeName, at: Timestamp) -> Timestamp {
        let node = self.input.snapshot.nodes.get(node);
        // A time to come was written down before the clock was put back.
        let returned = node.map(|n| n.last_heard).filter(|at| *at <= self.now());
        let at = self.watched(at);
        match returned.filter(|_| !mutant(Mutant::SilenceCounts)) {
            Some(returned) => at.max(returned),
            None => at,
        }
    }

    /// Whether the node of any of its instances is being drained.
    pub fn any_drained(&self) -> bool {
        self.hosts.drained
    }

    /// Whether all nodes are heard that hold instances of the app.
    pub fn all_heard(&self) -> bool {
        self.hosts.silent.is_empty()
    }

    pub fn overlay(&self) -> &Overlay {
        self.overlay
    }

    pub fn next_uuid(&mut self) -> uuid::Uuid {
        self.ids.next_uuid()
    }

    /// Creates an instance of `release` for `slot` on the best node.
    pub fn add_instance(
        &mut self,
        release: &Release,
        slot: u32,
        reason: &str,
    ) -> Result<InstanceId, Funnel> {
        let spec = &release.spec;
        let volumes: Vec<String> = spec
            .workload
            .exclusive_volumes()
            .map(str::to_owned)
            .collect();
        let home = if volumes.is_empty() {
            None
        } else {
            self.app.homes.get(&slot).cloned()
        };
        let workload = &release.workload_digest;
        let known = self.siblings.take().filter(|s| s.is_of(workload));
        let siblings = known
            .unwrap_or_else(|| Siblings::of(self.overlay.next_siblings(), &self.app, workload));
        let request = Request {
            app: &self.app.key,
            spec,
            siblings: self.siblings.insert(siblings),
            home: home.as_ref(),
        };
        let node = place(self.input.snapshot, self.overlay, &request, self.ids)?;
        let id = InstanceId(self.next_uuid());
        if !volumes.is_empty() && home.is_none() {
            self.emit(Change::SetHome {
                app: self.app.key.clone(),
                slot,
                node: node.clone(),
            });
        }
        self.emit(Change::AddInstance(Box::new(Instance {
            id,
            app: self.app.key.clone(),
            slot,
            release: release.id,
            workload: release.workload_digest.clone(),
            incarnation: self.app.incarnation,
            node: node.clone(),
            created_at: self.now(),
            reason: reason.to_owned(),
            requests: spec.requests,
            host_ports: spec.workload.fixed_host_ports().collect(),
            volumes,
            goal: Goal::Run,
            status: None,
        })));
        if self.trial {
            return Ok(id);
        }
        let commit = release.commit.clone();
        let event = self.tell(
            EventKind::InstanceCreated,
            format!("slot {slot} starts on {node}: {reason}"),
        );
        event.instance = Some(id);
        event.node = Some(node);
        event.commit = Some(commit);
        Ok(id)
    }

    pub fn stop_instance(&mut self, id: InstanceId, reason: &str) {
        let Some(instance) = self.app.instances.get(&id) else {
            return;
        };
        let (slot, node) = (instance.slot, instance.node.clone());
        self.emit(Change::SetGoal {
            app: self.app.key.clone(),
            instance: id,
            goal: Goal::Stop {
                at: self.now(),
                reason: reason.to_owned(),
            },
        });
        if self.trial {
            return;
        }
        let event = self.tell(
            EventKind::InstanceStopping,
            format!("slot {slot} on {node} stops: {reason}"),
        );
        event.instance = Some(id);
        event.node = Some(node);
    }

    pub fn forget_instance(&mut self, id: InstanceId, reason: &str) {
        let Some(instance) = self.app.instances.get(&id) else {
            return;
        };
        let (slot, node) = (instance.slot, instance.node.clone());
        self.emit(Change::ForgetInstance {
            app: self.app.key.clone(),
            instance: id,
        });
        let event = self.tell(
            EventKind::InstanceGone,
            format!("slot {slot} is gone from {node}: {reason}"),
        );
        event.instance = Some(id);
        event.node = Some(node);
        event.detail = Value::Null;
    }
}
