//! Which spans follow from an event; a pure function of the events so far.
//!
//! A commit's trace holds the forge's word of the push where there was one, its sync, the rollouts that it caused, also the rollback after a
//! failed one, and in each of them its instances from their creation to ready. The root
//! ends when the commit has its verdict, the same that its status at the forge tells.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::model::{
    App, AppKey, CommitId, Event, EventKind, Rollout, RolloutId, RolloutKind, Snapshot, SourceName,
    StatusState, Timestamp,
};
use crate::plan::statuses;

/// Commits whose verdict is awaited, and rollouts of which the end is; the oldest give way.
const MOST_OPEN: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// With the reason.
    Failed(String),
    /// Neither: another commit took its place.
    Unset,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: TraceId,
    pub id: SpanId,
    /// `None`: the root.
    pub parent: Option<SpanId>,
    pub name: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub outcome: Outcome,
    pub attributes: Vec<(&'static str, String)>,
}

/// The trace of a commit: the first 16 bytes of the SHA-256 of cluster, source and commit,
/// with a line feed after each.
pub fn trace_id(cluster: &str, source: &SourceName, commit: &CommitId) -> TraceId {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(&[cluster, source.as_str(), &commit.0])[..16]);
    TraceId(id)
}

fn span_id(parts: &[&str]) -> SpanId {
    let mut id = [0; 8];
    id.copy_from_slice(&hash(parts)[..8]);
    SpanId(id)
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().into()
}

type Key = (SourceName, CommitId);

/// How a sync came to be; by default nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Began {
    /// When a forge's delivery asked for it.
    pub hinted: Option<Timestamp>,
    pub started: Option<Timestamp>,
}

/// A rollout under way, and the commit in whose trace it is.
struct Open {
    rollout: Rollout,
    of: Key,
}

pub struct Tracker {
    cluster: String,
    /// Commits without a verdict, with when their sync began.
    commits: BTreeMap<Key, Timestamp>,
    rollouts: BTreeMap<RolloutId, Open>,
}

impl Tracker {
    pub fn new(cluster: &str) -> Tracker {
        Tracker {
            cluster: cluster.to_owned(),
            commits: BTreeMap::new(),
            rollouts: BTreeMap::new(),
        }
    }

    /// What `event` ends. `began`: of a sync, how it came to be. `snapshot` holds what
    /// the event tells of, and maybe more.
    pub fn absorb(&mut self, event: &Event, began: Began, snapshot: &Snapshot) -> Vec<Span> {
        let mut spans = Vec::new();
        match event.kind {
            EventKind::SyncOk => self.synced(event, began, &mut spans),
            EventKind::RolloutStarted | EventKind::RolloutResumed => {
                self.open(event, snapshot);
                return spans;
            }
            EventKind::InstanceReady => {
                self.ready(event, snapshot, &mut spans);
                return spans;
            }
            EventKind::RolloutSucceeded
            | EventKind::RolloutRolledBack
            | EventKind::RolloutFailed
            | EventKind::RolloutSuperseded => self.ended(event, snapshot, &mut spans),
            _ => return spans,
        }
        self.settle(event.at, snapshot, &mut spans);
        spans
    }

    fn synced(&mut self, event: &Event, began: Began, spans: &mut Vec<Span>) {
        let (Some(source), Some(commit)) = (&event.source, &event.commit) else {
            return;
        };
        let key = (source.clone(), commit.clone());
        let start = began.started.unwrap_or(event.at).min(event.at);
        // A delivery that a faster poll was ahead of is not what began it.
        let hinted = began.hinted.filter(|at| *at <= start);
        let first = hinted.unwrap_or(start);
        self.commits.entry(key.clone()).or_insert(first);
        if self.commits.len() > MOST_OPEN {
            self.commits.pop_first();
        }
        let mut span = self.span(&key, &["sync"], format!("sync {source}"), start, event.at);
        span.attributes
            .push(("evenkeel.result", event.message.clone()));
        spans.push(span);
        if let Some(at) = hinted {
            let name = format!("push to {source}");
            spans.push(self.span(&key, &["push"], name, at, start));
        }
    }

    fn open(&mut self, event: &Event, snapshot: &Snapshot) {
        if let Some((app, rollout)) = rollout_of(event, snapshot) {
            self.insert(app, rollout);
        }
    }

    fn insert(&mut self, app: &App, rollout: &Rollout) {
        let commit = match &rollout.kind {
            // It belongs to the story of what failed.
            RolloutKind::Rollback { of: Some(of) } => self
                .rollouts
                .get(of)
                .map(|open| open.of.1.clone())
                .or_else(|| {
                    let rejected = |r: &&crate::model::release::Rejection| r.rollout == Some(*of);
                    let rejection = app.quarantine.values().find(rejected)?;
                    Some(rejection.commit.clone())
                }),
            RolloutKind::Forward | RolloutKind::Restart | RolloutKind::Rollback { of: None } => {
                None
            }
        };
        let target = || app.releases.get(&rollout.to).map(|r| r.commit.clone());
        let Some(commit) = commit.or_else(target) else {
            return;
        };
        let open = Open {
            rollout: rollout.clone(),
            of: (app.source.clone(), commit),
        };
        self.rollouts.insert(rollout.id, open);
        if self.rollouts.len() > MOST_OPEN {
            self.rollouts.pop_first();
        }
    }

    fn ended(&mut self, event: &Event, snapshot: &Snapshot, spans: &mut Vec<Span>) {
        let Some(id) = event.rollout else { return };
        if !self.rollouts.contains_key(&id) {
            // Begun under another leader, or before a rollback was heard of.
            self.open(event, snapshot);
        }
        let Some(Open { rollout, of }) = self.rollouts.remove(&id) else {
            return;
        };
        // What follows at once, such as the rollback, keeps the commit's root open.
        if let Some(app) = snapshot.apps.get(&rollout.app)
            && let Some(next) = app.active_rollout()
        {
            self.insert(app, next);
        }
        let verb = match rollout.kind {
            RolloutKind::Forward => "rollout",
            RolloutKind::Rollback { .. } => "rollback",
            RolloutKind::Restart => "restart",
        };
        let name = format!("{verb} {}", rollout.app);
        let mut span = self.span(&of, &[&id.to_string()], name, rollout.started_at, event.at);
        span.outcome = match event.kind {
            EventKind::RolloutSucceeded => Outcome::Ok,
            EventKind::RolloutSuperseded => Outcome::Unset,
            _ => Outcome::Failed(event.message.clone()),
        };
        app_attributes(&mut span, &rollout.app);
        span.attributes.extend([
            ("evenkeel.rollout", id.to_string()),
            ("evenkeel.result", event.kind.as_str().to_owned()),
            ("evenkeel.reason", rollout.reason),
        ]);
        spans.push(span);
    }

    fn ready(&mut self, event: &Event, snapshot: &Snapshot, spans: &mut Vec<Span>) {
        let app = event.app.as_ref().and_then(|key| snapshot.apps.get(key));
        let Some((app, id)) = app.zip(event.instance) else {
            return;
        };
        let Some(instance) = app.instances.get(&id) else {
            return;
        };
        let restarted = instance.status.as_ref().is_some_and(|s| s.restarts > 0);
        let rollout = app.rollout.as_ref().filter(|r| r.to == instance.release);
        let open = rollout.and_then(|r| self.rollouts.get(&r.id));
        let (Some(open), false) = (open, restarted) else {
            return;
        };
        let (of, parent) = (open.of.clone(), open.rollout.id);
        let name = format!("instance {}", instance.slot);
        let mut span = self.span(&of, &[&id.to_string()], name, instance.created_at, event.at);
        span.parent = Some(span_id(&[&parent.to_string()]));
        span.outcome = Outcome::Ok;
        app_attributes(&mut span, &app.key);
        span.attributes.extend([
            ("evenkeel.instance", id.to_string()),
            ("evenkeel.node", instance.node.to_string()),
        ]);
        spans.push(span);
    }

    /// Ends the roots of commits that have their verdict and nothing under way.
    fn settle(&mut self, at: Timestamp, snapshot: &Snapshot, spans: &mut Vec<Span>) {
        let busy: std::collections::BTreeSet<&Key> =
            self.rollouts.values().map(|open| &open.of).collect();
        let idle: Vec<Key> = self
            .commits
            .keys()
            .filter(|key| !busy.contains(key))
            .cloned()
            .collect();
        for key in idle {
            let source = snapshot.sources.get(&key.0);
            let current = source.is_some_and(|s| s.last_applied.as_ref() == Some(&key.1));
            let verdict = current
                .then(|| statuses::status(snapshot, &key.0))
                .flatten();
            let outcome = match verdict.map(|v| (v.state, v.description)) {
                Some((StatusState::Pending, _)) => continue,
                Some((StatusState::Success, _)) => Outcome::Ok,
                Some((StatusState::Failure, why)) => Outcome::Failed(why),
                Some((StatusState::Superseded, _)) | None => Outcome::Unset,
            };
            let Some(start) = self.commits.remove(&key) else {
                continue;
            };
            let name = format!("commit {}", key.1.short());
            let mut root = self.span(&key, &[], name, start, at);
            root.parent = None;
            root.outcome = outcome;
            spans.push(root);
        }
    }

    /// Directly below the commit's root; with no `parts` the root itself.
    fn span(
        &self,
        key: &Key,
        parts: &[&str],
        name: String,
        start: Timestamp,
        end: Timestamp,
    ) -> Span {
        let (source, commit) = key;
        let root = span_id(&[&self.cluster, source.as_str(), &commit.0, "root"]);
        let id = match parts {
            [] => root,
            // Neither has an id of its own.
            [word @ ("sync" | "push")] => {
                span_id(&[&self.cluster, source.as_str(), &commit.0, word])
            }
            parts => span_id(parts),
        };
        Span {
            trace: trace_id(&self.cluster, source, commit),
            id,
            parent: Some(root),
            name,
            start: start.min(end),
            end,
            outcome: Outcome::Unset,
            attributes: vec![
                ("evenkeel.cluster", self.cluster.clone()),
                ("evenkeel.source", source.to_string()),
                ("evenkeel.commit", commit.to_string()),
            ],
        }
    }
}

fn app_attributes(span: &mut Span, app: &AppKey) {
    span.attributes.extend([
        ("evenkeel.project", app.project.to_string()),
        ("evenkeel.app", app.name.to_string()),
    ]);
}

/// The rollout that the event tells of, if it is still its app's latest.
fn rollout_of<'a>(event: &Event, snapshot: &'a Snapshot) -> Option<(&'a App, &'a Rollout)> {
    let app = snapshot.apps.get(event.app.as_ref()?)?;
    let rollout = app.rollout.as_ref()?;
    (Some(rollout.id) == event.rollout).then_some((app, rollout))
}
