//! What became of one commit: its status, and how each app that it touched fares.

use crate::model::{App, AppKey, CommitId, CommitStatus, Rejection, Snapshot, SourceName};

use super::statuses::{self, Progress, Standing};

/// An app that a commit changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Touched {
    pub app: AppKey,
    pub fate: Fate,
    /// Why, in a sentence.
    pub reason: String,
    /// What was seen, where its version was rejected.
    pub rejection: Option<Rejection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its instances are being brought to this commit.
    Moving,
    /// It was fully healthy at this commit.
    Healthy,
    Failed,
    /// Its file at this commit is invalid: it stays as it was.
    Invalid,
    /// The commit removes it; it is going down.
    Leaving,
    /// The commit removes it, and a brake holds that.
    Held,
    /// A later commit took over before it was proven.
    Superseded,
}

/// The status that the commit deserves now; `None`: later ones took its place.
pub fn status(snapshot: &Snapshot, source: &SourceName, commit: &CommitId) -> Option<CommitStatus> {
    statuses::of(snapshot, source, commit)
}

/// Apps that this commit touched, as far as it is remembered: those that are at it, and those
/// that keep a release of it.
pub fn touched(snapshot: &Snapshot, source: &SourceName, commit: &CommitId) -> Vec<Touched> {
    let applied = snapshot
        .sources
        .get(source)
        .is_some_and(|s| s.last_applied.as_ref() == Some(commit));
    let held = snapshot.sources.get(source).and_then(|s| s.held.as_ref());
    let mut found: Vec<Touched> = snapshot
        .apps_of(source)
        .filter_map(|key| snapshot.apps.get(key))
        .filter_map(|app| {
            if applied && let Some(held) = held.filter(|h| h.deletions.contains_key(&app.key)) {
                return Some(told(app, Fate::Held, held.reason.clone()));
            }
            one(app, commit, applied)
        })
        .collect();
    found.sort_by(|a, b| a.app.cmp(&b.app));
    found
}

fn told(app: &App, fate: Fate, reason: impl Into<String>) -> Touched {
    Touched {
        app: app.key.clone(),
        fate,
        reason: reason.into(),
        rejection: None,
    }
}

fn one(app: &App, commit: &CommitId, applied: bool) -> Option<Touched> {
    if let Some(invalid) = app.invalid.as_ref().filter(|i| i.commit == *commit) {
        let first = invalid.problems.first().map(ToString::to_string);
        return Some(told(app, Fate::Invalid, first.unwrap_or_default()));
    }
    match statuses::standing(app) {
        Standing::Leaving if applied => Some(told(app, Fate::Leaving, "it is being taken down")),
        Standing::Of(of, progress) if of == commit => Some(match progress {
            Progress::Healthy => told(app, Fate::Healthy, "all its instances were healthy"),
            Progress::Moving => told(app, Fate::Moving, moving(app)),
            Progress::Failed(why) => Touched {
                rejection: app.rejection_of_declared().cloned(),
                ..told(app, Fate::Failed, why)
            },
        }),
        Standing::Leaving | Standing::Of(..) | Standing::Nothing => past(app, commit),
    }
}

fn moving(app: &App) -> String {
    match app.active_rollout() {
        Some(rollout) => rollout.reason.clone(),
        None => "its rollout has not begun".to_owned(),
    }
}

/// Of a commit that the app has left behind.
fn past(app: &App, commit: &CommitId) -> Option<Touched> {
    let rejected = app.quarantine.values().find(|r| r.commit == *commit);
    if let Some(rejection) = rejected {
        return Some(Touched {
            rejection: Some(rejection.clone()),
            ..told(app, Fate::Failed, rejection.reason.clone())
        });
    }
    let release = app.releases.values().find(|r| r.commit == *commit)?;
    Some(match release.is_stable() {
        true => told(app, Fate::Healthy, "all its instances were healthy"),
        false => told(app, Fate::Superseded, "a later commit took over"),
    })
}
