//! The shell around the real decisions, as the controller's loops are: seeks the lease, decides on
//! its image, sends commits, applies what was taken, tells the nodes. A crash loses all of it.

mod decide;
mod lead;
mod messages;

pub use lead::Lead;
use lead::*;
pub use messages::*;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::agent::Sent;
use super::apps::{Doc, Tree, catalog, commit_id};
use super::rng::{Moment, Rate, Rng};
use super::store::Refused;
use crate::model::{AppKey, SourceName, SyncOutcome, Timestamp};
use crate::plan::agenda::Agenda;
use crate::plan::following::Differing;
use crate::plan::hearing::{Hearing, Order, Unheard};
use crate::plan::lease::{Clock, Due, Keeper, may_act};
use crate::plan::observe::plan_report;
use crate::plan::touched::Marks;
use crate::plan::{IdSource, Settings};

pub const CLUSTER: &str = "sim";
const LEASE_TTL: Duration = Duration::from_secs(10);
const FOLLOW: u64 = 1_000;
const LIVENESS_TICK: u64 = 1_000;
const QUIET_TICK: u64 = 4_000;
const SAFETY_NET: u64 = 120_000;
const RETRY: u64 = 200;
const RETRY_MAX: u64 = 5_000;
const POLL: u64 = 20_000;

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
    /// All moments in here are of its own clock.
    rate: Rate,
    checked: bool,
}

impl Controller {
    pub fn start(which: usize, life: u64, seed: u64, checked: bool, now: Moment) -> Controller {
        let mut rng = Rng::new(seed, 9_000 + which as u64 * 100 + life);
        let rate = Rate::draw(&mut rng);
        let now = Moment(rate.counted(now.0));
        Controller {
            which,
            life,
            role: Role::Follower {
                next: now.plus(rng.between(0, 500)),
                asking: false,
            },
            ids: IdSource::new(rng.draw()),
            settings: Settings::default(),
            awake_at: None,
            quiet: false,
            rate,
            checked,
        }
    }

    pub fn lead(&self) -> Option<&Lead> {
        match &self.role {
            Role::Leader(lead) => Some(lead),
            Role::Follower { .. } => None,
        }
    }

    /// The true moment `now` by its own clock.
    pub fn own(&self, now: Moment) -> Moment {
        Moment(self.rate.counted(now.0))
    }

    /// Since when it has led and watched, in true time.
    pub fn leads_since(&self) -> Option<Moment> {
        self.lead().map(|l| Moment(self.rate.truly(l.since.0)))
    }

    /// Since when it has listened to the nodes without standing still, in true time.
    pub fn listens_since(&self) -> Option<Moment> {
        let since = self.lead().map(|l| l.since.max(l.listening_since));
        since.map(|at| Moment(self.rate.truly(at.0)))
    }

    /// Whether it believes that it may act at the true moment `now`.
    pub fn acts(&self, now: Moment) -> bool {
        self.may_act(self.own(now))
    }

    fn may_act(&self, now: Moment) -> bool {
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
        self.step_down(self.own(now), &mut wishes);
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

    /// `now` is the true moment, as are those in what it wishes.
    pub fn absorb(&mut self, event: ControllerEvent, now: Moment) -> Wishes {
        let now = self.own(now);
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
                if self.may_act(now)
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
            ControllerEvent::Verb(verb) => {
                if let Role::Leader(lead) = &mut self.role {
                    lead.queue.push_back(Job::Verb(verb));
                }
            }
        }
        self.turn(now, &mut wishes);
        wishes.tick = wishes.tick.map(|at| Moment(self.rate.truly(at.0)));
        wishes
    }

    fn answered(&mut self, answer: Answer, now: Moment, wishes: &mut Wishes) {
        let checked = self.checked;
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
                        checked,
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
                        unheard: Unheard::default(),
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
        if !self.may_act(now) {
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
        match lead.hearing.order(lead.epoch, node, session, sequence, now) {
            Order::Next => {}
            Order::Late => {
                lead.hearing.alive(node, now);
                wishes.heard.push(node.clone());
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
            wishes.heard.push(node.clone());
            lead.told(&sent);
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
                source.writing = true;
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
        source.writing = true;
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
