//! The shell around the real decisions, as the controller's loops are: seeks the lease, decides on
//! its image, sends commits, applies what was taken, tells the nodes. A crash loses all of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::agent::Sent;
use super::apps::{Doc, Tree, catalog, commit_id};
use super::rng::{Moment, Rng};
use super::store::{Lease, Refused};
use super::verbs;
use crate::model::{
    AppKey, Change, DesiredSet, Epoch, Generation, NodeName, Snapshot, SourceName, SyncOutcome,
    Timestamp,
};
use crate::plan::agenda::Agenda;
use crate::plan::dispatch::desired_set;
use crate::plan::following::{Differing, Following};
use crate::plan::hearing::{Hearing, Order};
use crate::plan::lease::{Clock, Due, Keeper, may_act};
use crate::plan::observe::{STOOD_STILL, apps_to_follow, plan_liveness, plan_report};
use crate::plan::statuses::next_statuses;
use crate::plan::sync::{SyncInput, plan_failed_sync, plan_sync};
use crate::plan::touched::{Marks, touched};
use crate::plan::{Decision, IdSource, Plan, PlanInput, Scope, Settings, check, plan_after};

pub const CLUSTER: &str = "sim";
const LEASE_TTL: Duration = Duration::from_secs(10);
const FOLLOW: u64 = 1_000;
const LIVENESS_TICK: u64 = 1_000;
const QUIET_TICK: u64 = 4_000;
const SAFETY_NET: u64 = 120_000;
const RETRY: u64 = 200;
const RETRY_MAX: u64 = 5_000;
const POLL: u64 = 20_000;

#[derive(Debug)]
pub enum ControllerEvent {
    Tick,
    Answer(Answer),
    Report(Box<Sent>),
    Connect {
        node: usize,
        life: u64,
        name: NodeName,
        connection: u64,
    },
    Fetched {
        source: SourceName,
        head: Option<Head>,
    },
    /// Git tells that somebody pushed.
    Pushed,
    Verb(u64),
}

/// What a fetch found.
#[derive(Clone, Debug)]
pub struct Head {
    pub number: usize,
    pub tree: Arc<Tree>,
}

/// To the database.
#[derive(Debug)]
pub struct Request {
    pub from: usize,
    pub life: u64,
    pub ask: Ask,
    pub fate: Fate,
}

#[derive(Debug)]
pub enum Ask {
    Acquire {
        asked: Moment,
    },
    Renew {
        epoch: Epoch,
        asked: Moment,
    },
    Load,
    Commit {
        epoch: Epoch,
        base: Generation,
        changes: Arc<Vec<Change>>,
        why: Why,
    },
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Fine,
    /// It comes true and its answer says that nobody knows.
    AnswerLost,
    /// The same, and it comes true only after the asker has gone on.
    Late,
    /// It never arrives, and nobody knows.
    Lost,
    /// It never arrives, and the asker is told.
    Unavailable,
}

#[derive(Debug)]
pub enum Answer {
    Acquired(Option<Lease>, Moment),
    Renewed(Result<Lease, Refused>, Moment),
    Loaded(Box<Snapshot>),
    Committed(Result<Generation, Refused>),
    Unknown,
    Unavailable,
    /// A renewal or an acquisition that failed.
    NoLease,
}

/// What a commit is for: the watch asks whether it may do what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Report,
    Plan,
    Sync { head: usize },
    Failed,
    Liveness,
    Verb,
}

#[derive(Debug)]
enum Job {
    Report(Box<Sent>),
    Plan(BTreeSet<AppKey>),
    Sync { source: SourceName, head: Head },
    Failed { source: SourceName },
    Liveness,
    Verb(u64),
}

struct Connection {
    id: u64,
    node: usize,
    sent: Option<Arc<DesiredSet>>,
}

#[derive(Debug, Default)]
struct Source {
    following: Following,
    tree: Option<Head>,
    due: Moment,
    fetching: bool,
    retry: u64,
}

enum Busy {
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
    keeper: Keeper<Moment>,
    clock: Clock<Moment>,
    pub since: Moment,
    listening_since: Moment,
    last_tick: Moment,
    next_tick: Moment,
    renewing: Option<Moment>,
    pub image: Option<Snapshot>,
    doubt: bool,
    busy: Busy,
    queue: VecDeque<Job>,
    marks: Marks,
    agenda: Agenda,
    hearing: Hearing<Moment>,
    connections: BTreeMap<NodeName, Connection>,
    sources: BTreeMap<SourceName, Source>,
    not_before: Moment,
    retry: u64,
    safety_net: Moment,
}

enum Role {
    Follower { next: Moment, asking: bool },
    Leader(Box<Lead>),
}

pub struct Controller {
    pub which: usize,
    pub life: u64,
    role: Role,
    ids: IdSource,
    settings: Settings,
    awake_at: Option<Moment>,
    pub quiet: bool,
    /// Wall clock against true time; only for what must not matter.
    pub skew_ms: i64,
}

/// What a controller wants done.
#[derive(Default)]
pub struct Wishes {
    pub asks: Vec<Ask>,
    pub fetches: Vec<SourceName>,
    pub sets: Vec<(usize, u64, Arc<DesiredSet>)>,
    pub hangups: Vec<(usize, u64)>,
    pub taken: Vec<(Box<Sent>, bool)>,
    pub connected: Vec<(usize, u64, u64)>,
    pub tick: Option<Moment>,
    pub broken: Vec<String>,
}

impl Controller {
    pub fn start(which: usize, life: u64, seed: u64, skew_ms: i64, now: Moment) -> Controller {
        let mut rng = Rng::new(seed, 9_000 + which as u64 * 100 + life);
        Controller {
            which,
            life,
            role: Role::Follower {
                next: now.plus(rng.between(0, 500)),
                asking: false,
            },
            ids: IdSource::new(rng.next()),
            settings: Settings::default(),
            awake_at: None,
            quiet: false,
            skew_ms,
        }
    }

    pub fn lead(&self) -> Option<&Lead> {
        match &self.role {
            Role::Leader(lead) => Some(lead),
            Role::Follower { .. } => None,
        }
    }

    /// Whether it believes that it may act.
    pub fn acts(&self, now: Moment) -> bool {
        self.lead()
            .is_some_and(|l| l.image.is_some() && may_act(now, l.keeper.deadline()))
    }

    /// The streams it holds: node and connection.
    pub fn streams(&self) -> Vec<(usize, u64)> {
        let connections = self.lead().into_iter().flat_map(|l| l.connections.values());
        connections.map(|c| (c.node, c.id)).collect()
    }

    /// Its end: the streams that end with it.
    pub fn hang_up(&mut self, now: Moment) -> Vec<(usize, u64)> {
        let mut wishes = Wishes::default();
        self.step_down(now, &mut wishes);
        wishes.hangups
    }

    fn step_down(&mut self, now: Moment, wishes: &mut Wishes) {
        if let Role::Leader(lead) = &self.role {
            let ended = lead.connections.values().map(|c| (c.node, c.id));
            wishes.hangups.extend(ended);
        }
        self.role = Role::Follower {
            next: now.plus(FOLLOW),
            asking: false,
        };
    }

    pub fn absorb(&mut self, event: ControllerEvent, now: Moment) -> Wishes {
        let mut wishes = Wishes::default();
        match event {
            ControllerEvent::Tick => {
                if self.awake_at.is_some_and(|at| at <= now) {
                    self.awake_at = None;
                }
            }
            ControllerEvent::Answer(answer) => self.answered(answer, now, &mut wishes),
            ControllerEvent::Report(sent) => self.reported(sent, now, &mut wishes),
            ControllerEvent::Connect {
                node,
                life,
                name,
                connection,
            } => {
                if self.acts(now)
                    && let Role::Leader(lead) = &mut self.role
                {
                    let new = Connection {
                        id: connection,
                        node,
                        sent: None,
                    };
                    if let Some(old) = lead.connections.insert(name.clone(), new) {
                        wishes.hangups.push((old.node, old.id));
                    }
                    wishes.connected.push((node, life, connection));
                    lead.tell(&name, &mut wishes);
                } else {
                    wishes.hangups.push((node, connection));
                }
            }
            ControllerEvent::Fetched { source, head } => self.fetched(source, head, now),
            ControllerEvent::Pushed => {
                if let Role::Leader(lead) = &mut self.role {
                    lead.sources.values_mut().for_each(|s| s.due = now);
                }
            }
            ControllerEvent::Verb(seed) => {
                if let Role::Leader(lead) = &mut self.role {
                    lead.queue.push_back(Job::Verb(seed));
                }
            }
        }
        self.turn(now, &mut wishes);
        wishes
    }

    fn answered(&mut self, answer: Answer, now: Moment, wishes: &mut Wishes) {
        match (&mut self.role, answer) {
            (Role::Follower { next, asking }, answer) => {
                *asking = false;
                *next = now.plus(FOLLOW);
                if let Answer::Acquired(Some(lease), asked) = answer {
                    let clock = Clock::new(asked, Timestamp(lease.now.0 as i64));
                    self.role = Role::Leader(Box::new(Lead {
                        epoch: lease.epoch,
                        keeper: Keeper::new(LEASE_TTL, asked, lease.expires_in, now),
                        clock,
                        since: now,
                        listening_since: now,
                        last_tick: now,
                        next_tick: now,
                        renewing: None,
                        image: None,
                        doubt: true,
                        busy: Busy::No,
                        queue: VecDeque::new(),
                        marks: Marks::default(),
                        agenda: Agenda::default(),
                        hearing: Hearing::default(),
                        connections: BTreeMap::new(),
                        sources: BTreeMap::new(),
                        not_before: now,
                        retry: RETRY,
                        safety_net: now.plus(SAFETY_NET),
                    }));
                }
            }
            (Role::Leader(lead), Answer::Renewed(Ok(lease), asked)) => {
                if lease.epoch == lead.epoch && lead.renewing == Some(asked) {
                    lead.renewing = None;
                    lead.keeper.renewed(asked, lease.expires_in);
                }
            }
            (Role::Leader(_), Answer::Renewed(Err(_), _)) => self.step_down(now, wishes),
            (Role::Leader(lead), Answer::NoLease) => {
                lead.renewing = None;
                lead.keeper.failed(now);
            }
            (Role::Leader(lead), Answer::Loaded(snapshot)) => lead.loaded(*snapshot, now, wishes),
            (Role::Leader(lead), Answer::Committed(Ok(generation))) => {
                lead.committed(generation, now, wishes);
            }
            (Role::Leader(lead), Answer::Committed(Err(refused))) => match refused {
                Refused::StaleEpoch { .. } => self.step_down(now, wishes),
                Refused::StaleGeneration { .. } => lead.not_done(true, now, wishes),
                Refused::Diverged(why) => {
                    wishes
                        .broken
                        .push(format!("the store cannot take a commit: {why}"));
                    lead.not_done(true, now, wishes);
                }
            },
            (Role::Leader(lead), Answer::Unknown) => lead.not_done(true, now, wishes),
            (Role::Leader(lead), Answer::Unavailable) => lead.not_done(false, now, wishes),
            (Role::Leader(_), Answer::Acquired(..)) => {}
        }
    }

    fn reported(&mut self, sent: Box<Sent>, now: Moment, wishes: &mut Wishes) {
        if !self.acts(now) {
            wishes.taken.push((sent, false));
            return;
        }
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let Some(image) = &lead.image else { return };
        if let Some((seen, _)) = sent.report.applied
            && seen > lead.epoch
        {
            // Another controller leads by now.
            wishes.taken.push((sent, false));
            self.step_down(now, wishes);
            return;
        }
        let report = &sent.report;
        let (session, sequence) = (report.session, report.sequence);
        let node = &report.body.node;
        match lead.hearing.order(lead.epoch, node, session, sequence) {
            Order::Next => {}
            Order::Late => {
                lead.hearing.alive(node, now);
                wishes.taken.push((sent, true));
                return;
            }
            Order::Predecessor => {
                wishes.taken.push((sent, false));
                return;
            }
        }
        let news = plan_report(lead.clock.time(now), image, &report.body);
        if news.changes.is_empty() && news.events.is_empty() {
            lead.hearing.heard(lead.epoch, node, session, sequence, now);
            wishes.taken.push((sent, true));
            return;
        }
        lead.queue.push_back(Job::Report(sent));
    }

    fn fetched(&mut self, name: SourceName, head: Option<Head>, now: Moment) {
        let Role::Leader(lead) = &mut self.role else {
            return;
        };
        let Some(image) = &lead.image else { return };
        let Some(source) = lead.sources.get_mut(&name) else {
            return;
        };
        source.fetching = false;
        let Some(head) = head else {
            source.following.failed();
            source.due = now.plus(source.retry);
            source.retry = (source.retry * 2).min(POLL);
            let known = image
                .sources
                .get(&name)
                .is_some_and(|s| matches!(s.outcome, SyncOutcome::Unreachable { .. }));
            if !known {
                lead.queue.push_back(Job::Failed { source: name });
            }
            return;
        };
        source.retry = 2_000;
        source.due = now.plus(POLL);
        let id = commit_id(head.number);
        let problems = catalog(&head.tree).problems.len();
        let refused = image
            .sources
            .get(&name)
            .is_some_and(|s| s.problems.len() > problems);
        if source.following.is_taken(&id, refused) {
            return;
        }
        let differing = match &source.tree {
            None => Some(Differing::All),
            Some(old) if old.number == head.number => None,
            Some(old) => Some(Differing::Only(differing(&old.tree, &head.tree))),
        };
        if let Some(differing) = differing {
            source.following.saw(differing);
        }
        source.tree = Some(head.clone());
        lead.queue.push_back(Job::Sync { source: name, head });
    }

    /// Everything that is due now.
    fn turn(&mut self, now: Moment, wishes: &mut Wishes) {
        let mut wake = match &mut self.role {
            Role::Follower { next, asking } => {
                if !*asking && *next <= now {
                    *asking = true;
                    wishes.asks.push(Ask::Acquire { asked: now });
                    None
                } else {
                    (!*asking).then_some(*next)
                }
            }
            Role::Leader(_) => None,
        };
        if let Role::Leader(lead) = &mut self.role {
            match lead.renewing {
                Some(asked) if asked + LEASE_TTL / 3 <= now => {
                    lead.renewing = None;
                    lead.keeper.unanswered(now);
                }
                Some(_) | None => {}
            }
            match lead.keeper.due(now) {
                Due::StepDown => {
                    self.step_down(now, wishes);
                    wake = Some(now.plus(FOLLOW));
                }
                Due::Wait(until) => wake = Some(until),
                Due::Renew { give_up } => {
                    if lead.renewing.is_none() {
                        lead.renewing = Some(now);
                        wishes.asks.push(Ask::Renew {
                            epoch: lead.epoch,
                            asked: now,
                        });
                    }
                    wake = Some(give_up.max(now.plus(1)));
                }
            }
        }
        if let Role::Leader(lead) = &mut self.role {
            let tick = if self.quiet {
                QUIET_TICK
            } else {
                LIVENESS_TICK
            };
            let next = lead.turn(&mut self.ids, &self.settings, tick, now, wishes);
            wake = Some(wake.map_or(next, |w| w.min(next)));
        }
        if let Some(at) = wake {
            let at = at.max(now.plus(1));
            if self.awake_at.is_none_or(|awake| at < awake) {
                self.awake_at = Some(at);
                wishes.tick = Some(at);
            }
        }
    }
}

fn differing(old: &Tree, new: &Tree) -> BTreeSet<AppKey> {
    let changed = |key: &&AppKey| old.get(*key) != new.get(*key);
    let mut keys: BTreeSet<AppKey> = old
        .keys()
        .chain(new.keys())
        .filter(changed)
        .cloned()
        .collect();
    // A file that cannot be read, or can be again, may declare anything.
    let unreadable = |tree: &Tree| tree.values().any(|d| *d == Doc::Unreadable);
    if unreadable(old) || unreadable(new) {
        keys.extend(old.keys().chain(new.keys()).cloned());
    }
    keys
}

impl Lead {
    pub fn time(&self, now: Moment) -> Timestamp {
        self.clock.time(now)
    }

    /// Since when it has watched, by its own clock.
    pub fn watched_since(&self) -> Timestamp {
        self.clock.time(self.since)
    }

    fn tell(&mut self, node: &NodeName, wishes: &mut Wishes) {
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

    fn tell_all(&mut self, wishes: &mut Wishes) {
        let names: Vec<NodeName> = self.connections.keys().cloned().collect();
        names.iter().for_each(|name| self.tell(name, wishes));
    }

    fn loaded(&mut self, snapshot: Snapshot, now: Moment, wishes: &mut Wishes) {
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

    fn committed(&mut self, generation: Generation, now: Moment, wishes: &mut Wishes) {
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

    fn finished(&mut self, job: Job, plan: Option<Plan>, now: Moment, wishes: &mut Wishes) {
        match job {
            Job::Report(sent) => wishes.taken.push((sent, true)),
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
                    let id = commit_id(head.number);
                    match catalog(&head.tree).spec_files {
                        0 => source.following.refused(&id),
                        _ => source.following.wrote(&id),
                    };
                }
            }
            Job::Failed { .. } | Job::Liveness | Job::Verb(_) => {}
        }
    }

    /// Nothing was done, or nobody knows (`doubt`).
    fn not_done(&mut self, doubt: bool, now: Moment, wishes: &mut Wishes) {
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
                        source.due = now.plus(source.retry);
                    }
                }
                Job::Liveness | Job::Verb(_) => {}
            },
        }
    }

    /// Sends out what is due; returns when to look again.
    fn turn(
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
                if !source.fetching && source.due <= now {
                    source.fetching = true;
                    wishes.fetches.push(name.clone());
                } else if !source.fetching {
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

    fn next_job(&mut self, now: Moment) -> Option<Job> {
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
        for app in &marks.apps {
            if !image.apps.contains_key(app) {
                self.agenda.forget(app);
            }
        }
        let apps = marks.resolve(image, &self.agenda.blocked);
        (!apps.is_empty()).then_some(Job::Plan(apps))
    }

    fn decide(
        &mut self,
        job: Job,
        ids: &mut IdSource,
        settings: &Settings,
        now: Moment,
        wishes: &mut Wishes,
    ) {
        let Some(image) = &self.image else { return };
        let time = self.clock.time(now);
        let since = self.clock.time(self.since);
        let mut planned = None;
        let mut plan = |observed: &[Change], apps: &BTreeSet<AppKey>, ids: &mut IdSource| {
            let input = PlanInput {
                now: time,
                since,
                snapshot: image,
                scope: Scope::Apps(apps),
                settings,
            };
            let plan = plan_after(&input, observed, ids);
            let mut seen;
            let before = if observed.is_empty() {
                image
            } else {
                seen = image.clone();
                if seen.apply_all(observed).is_err() {
                    wishes.broken.push("a report does not fit".to_owned());
                }
                &seen
            };
            if !plan.changes.is_empty() {
                let found = check(before, &plan);
                wishes
                    .broken
                    .extend(found.iter().map(|v| format!("plan::check: {v}")));
            }
            plan
        };
        let (decision, why) = match &job {
            Job::Report(sent) => {
                let r = &sent.report;
                let node = &r.body.node;
                if self.hearing.order(self.epoch, node, r.session, r.sequence) == Order::Next {
                    self.hearing
                        .heard(self.epoch, node, r.session, r.sequence, now);
                    let mut decision = plan_report(time, image, &r.body);
                    let apps = apps_to_follow(&decision);
                    if !apps.is_empty() {
                        let plan = plan(&decision.changes, &apps, ids);
                        decision.changes.extend(plan.changes);
                        decision.events.extend(plan.events);
                    }
                    (decision, Why::Report)
                } else {
                    (Decision::default(), Why::Report)
                }
            }
            Job::Plan(apps) => {
                let mut plan = plan(&[], apps, ids);
                let decision = Decision {
                    changes: std::mem::take(&mut plan.changes),
                    events: std::mem::take(&mut plan.events),
                };
                planned = Some(plan);
                (decision, Why::Plan)
            }
            Job::Sync { source, head } => {
                let id = commit_id(head.number);
                let catalog = catalog(&head.tree);
                let touched = self
                    .sources
                    .get(source)
                    .and_then(|s| s.following.touched(&id));
                let decision = plan_sync(&SyncInput {
                    now: time,
                    snapshot: image,
                    source,
                    commit: &id,
                    catalog: &catalog,
                    touched,
                    settings,
                });
                (decision, Why::Sync { head: head.number })
            }
            Job::Failed { source } => {
                let outcome = SyncOutcome::Unreachable {
                    message: "no answer".to_owned(),
                };
                (
                    plan_failed_sync(time, image, source, None, outcome),
                    Why::Failed,
                )
            }
            Job::Liveness => {
                let heard = self
                    .hearing
                    .last_heard(self.epoch)
                    .map(|(node, at)| (node.clone(), self.clock.time(at.max(self.listening_since))))
                    .collect();
                let since = self.clock.time(self.listening_since);
                (
                    plan_liveness(time, image, &heard, since, settings),
                    Why::Liveness,
                )
            }
            Job::Verb(seed) => (verbs::decide(*seed, image, time), Why::Verb),
        };
        if decision.changes.is_empty() && decision.events.is_empty() {
            self.finished(job, planned, now, wishes);
            return;
        }
        // Only that it copes; nobody listens.
        drop(next_statuses(CLUSTER, image, &decision.changes));
        let base = image.generation;
        let changes = Arc::new(decision.changes);
        wishes.asks.push(Ask::Commit {
            epoch: self.epoch,
            base,
            changes: Arc::clone(&changes),
            why,
        });
        self.busy = Busy::Writing {
            job,
            decision: changes,
            plan: planned,
        };
    }
}
