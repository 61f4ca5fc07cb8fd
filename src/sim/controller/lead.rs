//! What a leader has in memory, and its turn: what is due is decided and sent out.

use super::messages::{Ask, Head, Wishes};
use super::{CLUSTER, RETRY, RETRY_MAX, SAFETY_NET};
use crate::model::{
    AppKey, Change, DesiredSet, Epoch, Generation, NodeName, Snapshot, SourceName, Timestamp,
};
use crate::plan::agenda::Agenda;
use crate::plan::dispatch::desired_set;
use crate::plan::following::Following;
use crate::plan::hearing::{Hearing, Unheard};
use crate::plan::lease::{Clock, Keeper, may_act};
use crate::plan::observe::STOOD_STILL;
use crate::plan::touched::{Marks, touched};
use crate::plan::{IdSource, Plan, Settings};
use crate::sim::agent::Sent;
use crate::sim::apps::{catalog, commit_id};
use crate::sim::rng::Moment;
use crate::sim::verbs::Verb;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Debug)]
pub(super) enum Job {
    Report(Box<Sent>),
    Plan(BTreeSet<AppKey>),
    Sync { source: SourceName, head: Head },
    Failed { source: SourceName },
    Liveness,
    Verb(Verb),
}

pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) node: usize,
    pub(super) sent: Option<Arc<DesiredSet>>,
}

#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) following: Following,
    pub(super) tree: Option<Head>,
    pub(super) due: Moment,
    pub(super) fetching: bool,
    /// What was fetched is not written down yet: one task does one after the other.
    pub(super) writing: bool,
    pub(super) retry: u64,
}

pub(super) enum Busy {
    No,
    Reading,
    Writing {
        job: Job,
        decision: Arc<Vec<Change>>,
        plan: Option<Plan>,
    },
}

pub struct Lead {
    pub epoch: Epoch,
    pub(super) checked: bool,
    pub(super) keeper: Keeper<Moment>,
    pub(super) clock: Clock<Moment>,
    pub since: Moment,
    pub(super) listening_since: Moment,
    pub(super) last_tick: Moment,
    pub(super) next_tick: Moment,
    pub(super) renewing: Option<Moment>,
    pub image: Option<Snapshot>,
    pub(super) doubt: bool,
    pub(super) busy: Busy,
    pub(super) queue: VecDeque<Job>,
    pub(super) marks: Marks,
    pub(super) agenda: Agenda,
    pub(super) hearing: Hearing<Moment>,
    pub(super) unheard: Unheard,
    pub(super) connections: BTreeMap<NodeName, Connection>,
    pub(super) sources: BTreeMap<SourceName, Source>,
    pub(super) not_before: Moment,
    pub(super) retry: u64,
    pub(super) safety_net: Moment,
}

impl Lead {
    pub fn time(&self, now: Moment) -> Timestamp {
        self.clock.time(now)
    }

    /// Since when it has watched, by its own clock.
    pub fn watched_since(&self) -> Timestamp {
        self.clock.time(self.since)
    }

    pub(super) fn tell(&mut self, node: &NodeName, wishes: &mut Wishes) {
        let (Some(image), Some(connection)) = (&self.image, self.connections.get_mut(node)) else {
            return;
        };
        let set = desired_set(image, CLUSTER, self.epoch, node);
        let same = connection.sent.as_ref().is_some_and(|sent| {
            sent.epoch == set.epoch && sent.instances == set.instances && sent.images == set.images
        });
        if !same {
            let set = Arc::new(set);
            connection.sent = Some(Arc::clone(&set));
            wishes.sets.push((connection.node, connection.id, set));
        }
    }

    pub(super) fn tell_all(&mut self, wishes: &mut Wishes) {
        let names: Vec<NodeName> = self.connections.keys().cloned().collect();
        names.iter().for_each(|name| self.tell(name, wishes));
    }

    pub(super) fn loaded(&mut self, snapshot: Snapshot, now: Moment, wishes: &mut Wishes) {
        self.busy = Busy::No;
        self.doubt = false;
        if self.image.is_none() {
            self.since = now;
            self.listening_since = now;
            self.last_tick = now;
            for name in snapshot.sources.keys() {
                let source = Source {
                    due: now,
                    retry: 2_000,
                    ..Source::default()
                };
                self.sources.insert(name.clone(), source);
            }
        }
        self.image = Some(snapshot);
        self.marks.all = true;
        self.tell_all(wishes);
    }

    pub(super) fn committed(&mut self, generation: Generation, now: Moment, wishes: &mut Wishes) {
        let Busy::Writing {
            job,
            decision,
            plan,
        } = std::mem::replace(&mut self.busy, Busy::No)
        else {
            return;
        };
        let Some(image) = &mut self.image else { return };
        let touched = touched(image, &decision);
        match image.apply_all(decision.iter()) {
            Ok(()) => image.generation = generation,
            Err(error) => {
                wishes
                    .broken
                    .push(format!("a stored change does not fit the image: {error}"));
                self.doubt = true;
            }
        }
        self.marks.add(&touched);
        for node in &touched.dispatch {
            self.tell(node, wishes);
        }
        self.finished(job, plan, now, wishes);
    }

    pub(super) fn finished(
        &mut self,
        job: Job,
        plan: Option<Plan>,
        now: Moment,
        wishes: &mut Wishes,
    ) {
        match job {
            Job::Report(sent) => {
                self.told(&sent);
                wishes.taken.push((sent, true));
            }
            Job::Plan(apps) => {
                self.retry = RETRY;
                if let Some(plan) = plan {
                    let time = self.clock.time(now);
                    for app in &apps {
                        self.agenda.planned(app, &plan, time);
                    }
                }
            }
            Job::Sync { source, head } => {
                if let Some(source) = self.sources.get_mut(&source) {
                    source.writing = false;
                    let id = commit_id(head.number);
                    match catalog(&head.tree).spec_files {
                        0 => source.following.refused(&id),
                        _ => source.following.wrote(&id),
                    };
                }
            }
            Job::Failed { source } => {
                if let Some(source) = self.sources.get_mut(&source) {
                    source.writing = false;
                }
            }
            Job::Liveness | Job::Verb(_) => {}
        }
    }

    /// What a report says is in the image.
    pub(super) fn told(&mut self, sent: &Sent) {
        let r = &sent.report;
        let (node, session) = (&r.body.node, r.session);
        if r.full && self.hearing.told(self.epoch, node, session, r.sequence) {
            self.marks.told.insert(node.clone());
        }
    }

    /// Nothing was done, or nobody knows (`doubt`).
    pub(super) fn not_done(&mut self, doubt: bool, now: Moment, wishes: &mut Wishes) {
        self.doubt |= doubt;
        match std::mem::replace(&mut self.busy, Busy::No) {
            Busy::No => {}
            Busy::Reading => self.not_before = now.plus(RETRY),
            Busy::Writing { job, .. } => match job {
                Job::Report(sent) => {
                    let r = &sent.report;
                    self.hearing.unheard(&r.body.node, r.session, r.sequence);
                    wishes.taken.push((sent, false));
                }
                Job::Plan(apps) => {
                    self.marks.apps.extend(apps);
                    self.not_before = now.plus(self.retry);
                    self.retry = (self.retry * 2).min(RETRY_MAX);
                }
                Job::Sync { source, .. } | Job::Failed { source } => {
                    if let Some(source) = self.sources.get_mut(&source) {
                        source.writing = false;
                        source.due = now.plus(source.retry);
                    }
                }
                Job::Liveness | Job::Verb(_) => {}
            },
        }
    }

    /// Sends out what is due; returns when to look again.
    pub(super) fn turn(
        &mut self,
        ids: &mut IdSource,
        settings: &Settings,
        tick: u64,
        now: Moment,
        wishes: &mut Wishes,
    ) -> Moment {
        let mut next = now.plus(60_000);
        if self.image.is_some() {
            if self.next_tick <= now {
                if now.since(self.last_tick) > STOOD_STILL {
                    self.listening_since = now;
                }
                self.last_tick = now;
                self.next_tick = now.plus(tick);
                self.queue.push_back(Job::Liveness);
            }
            if self.safety_net <= now {
                self.safety_net = now.plus(SAFETY_NET);
                self.marks.all = true;
            }
            for (name, source) in &mut self.sources {
                let idle = !source.fetching && !source.writing;
                if idle && source.due <= now {
                    source.fetching = true;
                    wishes.fetches.push(name.clone());
                } else if idle {
                    next = next.min(source.due);
                }
            }
            next = next.min(self.next_tick).min(self.safety_net);
        }
        while matches!(self.busy, Busy::No) && may_act(now, self.keeper.deadline()) {
            if self.doubt {
                if self.not_before > now {
                    next = next.min(self.not_before);
                    break;
                }
                self.busy = Busy::Reading;
                wishes.asks.push(Ask::Load);
                break;
            }
            let Some(job) = self.next_job(now) else { break };
            self.decide(job, ids, settings, now, wishes);
        }
        if self.not_before > now {
            next = next.min(self.not_before);
        }
        if let Some(at) = self.agenda.next() {
            let wait = at.since(self.clock.time(now)).as_millis() as u64;
            next = next.min(now.plus(wait.max(1)));
        }
        next
    }

    pub(super) fn next_job(&mut self, now: Moment) -> Option<Job> {
        if let Some(job) = self.queue.pop_front() {
            return Some(job);
        }
        if self.not_before > now {
            return None;
        }
        let image = self.image.as_ref()?;
        let due = self.agenda.take_due(self.clock.time(now));
        if self.marks.is_empty() && due.is_empty() {
            return None;
        }
        let mut marks = std::mem::take(&mut self.marks);
        marks.apps.extend(due);
        for node in &marks.told {
            marks.apps.extend(self.unheard.told(node));
        }
        for app in &marks.apps {
            if !image.apps.contains_key(app) {
                self.agenda.forget(app);
            }
        }
        let mut apps = marks.resolve(image, &self.agenda.blocked);
        self.unheard
            .hold_back(&self.hearing, self.epoch, image, &mut apps);
        (!apps.is_empty()).then_some(Job::Plan(apps))
    }
}
