//! What a commit deserves to have said of it at its source's forge, and which changes of
//! state change that.
//!
//! One status speaks for all apps of a source: a forge may ask for it before it lets a
//! branch be merged. It follows rollouts, not the health of the moment: once a commit is
//! proven, an instance that restarts takes nothing back. Texts name what matters first,
//! because forges cut them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    App, AppKey, Change, CommitId, CommitStatus, ForgeKind, ForgeSpec, OutboxEntry, Rollout,
    RolloutPhase, Snapshot, Source, SourceName, StatusState, SyncOutcome, SyncState,
};

/// Apps that a text names before it only counts.
const NAMED: usize = 3;

/// Which of a commit's statuses are Evenkeel's: one per cluster and source.
pub fn context(cluster: &str, source: &SourceName) -> String {
    format!("evenkeel/{cluster}/{source}")
}

/// Of the plan of a pull request into the source's branch.
pub fn plan_context(cluster: &str, source: &SourceName) -> String {
    format!("{}/plan", context(cluster, source))
}

/// The status that the source's last applied commit deserves; `None` before there is one,
/// and while the source is being taken down.
pub fn status(snapshot: &Snapshot, source: &SourceName) -> Option<CommitStatus> {
    let view = View::of(snapshot);
    let commit = view.source(source)?.last_applied.clone()?;
    view.status(source, &commit)
}

/// The status that this commit of the source deserves now; `None`: later ones took its place.
pub(super) fn of(
    snapshot: &Snapshot,
    source: &SourceName,
    commit: &CommitId,
) -> Option<CommitStatus> {
    View::of(snapshot).status(source, commit)
}

/// What is to be sent once `changes` are applied to `before`. Costs nothing where no source
/// has a forge, and little where what changes says nothing of a commit.
pub fn next_statuses(cluster: &str, before: &Snapshot, changes: &[Change]) -> Vec<OutboxEntry> {
    let brings_one =
        |change: &Change| matches!(change, Change::PutSource(s) if s.spec.forge.is_some());
    if !before.sources.values().any(|s| s.spec.forge.is_some()) && !changes.iter().any(brings_one) {
        return Vec::new();
    }
    let after = View::after(before, changes);
    let before = View::of(before);
    let mut entries = Vec::new();
    for (name, commits) in affected(&before, &after) {
        let Some((source, forge)) = after.posting(&name) else {
            continue;
        };
        // A forge that was not told the last time is told now.
        let told = before.posting(&name).filter(|(_, f)| *f == forge);
        for commit in commits {
            let was = told.and_then(|_| before.status(&name, &commit));
            let is_head = heads(source).any(|head| *head == commit);
            let was_head = told.is_some_and(|(s, _)| heads(s).any(|head| *head == commit));
            let status = match (after.status(&name, &commit), &was) {
                (Some(status), _) => status,
                (None, Some(was)) if was.state == StatusState::Pending => replaced(source),
                (None, Some(_) | None) => continue,
            };
            if was.as_ref() == Some(&status) && is_head == was_head {
                continue;
            }
            entries.push(OutboxEntry {
                context: context(cluster, &name),
                source: name.clone(),
                commit,
                status: CommitStatus {
                    state: status.state,
                    description: forge.kind.description(&status.description),
                    target_url: status.target_url,
                },
                follow_up: !is_head,
            });
        }
    }
    entries
}

fn replaced(source: &Source) -> CommitStatus {
    let by = source
        .last_applied
        .as_ref()
        .map_or_else(String::new, |c| format!(" by commit {}", c.short()));
    CommitStatus {
        state: StatusState::Superseded,
        description: format!("superseded{by} before it was healthy"),
        target_url: None,
    }
}

/// Of a commit that was fetched, and is read and compared with what is there.
pub fn announced(kind: ForgeKind) -> CommitStatus {
    CommitStatus {
        state: StatusState::Pending,
        description: kind.description("applying: its files are read and compared"),
        target_url: None,
    }
}

/// Ends what was announced of a commit when another came before there was a verdict.
pub fn overtaken(by: &CommitId) -> CommitStatus {
    CommitStatus {
        state: StatusState::Superseded,
        description: format!("superseded by commit {} before it was applied", by.short()),
        target_url: None,
    }
}

/// The commits that speak for the source itself: the one applied, and one that could not be.
fn heads(source: &Source) -> impl Iterator<Item = &CommitId> {
    let lost = source.last_seen.as_ref().filter(|_| {
        matches!(
            source.outcome,
            SyncOutcome::Lost { .. } | SyncOutcome::Refused { .. }
        )
    });
    source.last_applied.iter().chain(lost)
}

/// A snapshot with some apps and sources as they are about to be.
struct View<'a> {
    base: &'a Snapshot,
    /// `None`: gone.
    apps: BTreeMap<AppKey, Option<App>>,
    sources: BTreeMap<SourceName, Option<&'a Source>>,
}

impl<'a> View<'a> {
    fn of(base: &'a Snapshot) -> View<'a> {
        View {
            base,
            apps: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }

    /// Copies only the apps of sources that have a forge.
    fn after(base: &'a Snapshot, changes: &'a [Change]) -> View<'a> {
        let mut view = View::of(base);
        for change in changes {
            if let Change::PutSource(source) = change {
                let name = source.spec.name.clone();
                view.sources.insert(name, Some(&**source));
            } else if let Change::RemoveSource(name) = change {
                view.sources.insert(name.clone(), None);
            }
        }
        for change in changes {
            view.apply(change);
        }
        view
    }

    fn apply(&mut self, change: &Change) {
        let Some(key) = change.app() else {
            return;
        };
        if !self.apps.contains_key(key) {
            let known = self.base.apps.get(key);
            let of = known.map(|app| &app.source);
            let mut concerned = of.is_some_and(|source| self.posting(source).is_some());
            if let Change::Declare { source, .. } = change {
                concerned |= self.posting(source).is_some();
            }
            if !concerned {
                return;
            }
            self.apps.insert(key.clone(), known.cloned());
        }
        let Some(slot) = self.apps.get_mut(key) else {
            return;
        };
        if let Change::RemoveApp { .. } = change {
            *slot = None;
            return;
        }
        if let Change::Declare { source, path, .. } = change {
            slot.get_or_insert_with(|| App::new(key.clone(), source.clone(), path.clone()));
        }
        if let Some(app) = slot {
            // A change that does not fit is found out when it is applied for good.
            let _ = app.apply(change);
        }
    }

    fn source(&self, name: &SourceName) -> Option<&'a Source> {
        match self.sources.get(name) {
            Some(source) => *source,
            None => self.base.sources.get(name),
        }
    }

    /// The source, if its commits' statuses are posted.
    fn posting(&self, name: &SourceName) -> Option<(&'a Source, &'a ForgeSpec)> {
        let source = self.source(name).filter(|s| !s.suspended)?;
        Some((source, source.spec.forge.as_ref()?))
    }

    fn app(&self, key: &AppKey) -> Option<&App> {
        match self.apps.get(key) {
            Some(app) => app.as_ref(),
            None => self.base.apps.get(key),
        }
    }

    fn apps_of<'s>(&'s self, source: &'s SourceName) -> impl Iterator<Item = &'s App> {
        let unchanged = self
            .base
            .apps_of(source)
            .filter(|key| !self.apps.contains_key(*key))
            .filter_map(|key| self.base.apps.get(key));
        let changed = self.apps.values().flatten();
        unchanged.chain(changed.filter(move |app| app.source == *source))
    }

    fn status(&self, name: &SourceName, commit: &CommitId) -> Option<CommitStatus> {
        let source = self.source(name).filter(|s| !s.suspended)?;
        let failure = |description: String| {
            Some(CommitStatus {
                state: StatusState::Failure,
                description,
                target_url: None,
            })
        };
        let applied = source.last_applied.as_ref() == Some(commit);
        if let SyncOutcome::Lost { message } | SyncOutcome::Refused { message } = &source.outcome
            && source.last_seen.as_ref() == Some(commit)
            && !applied
        {
            return failure(format!("not applied: {message}"));
        }
        if applied && let Some(first) = source.problems.first() {
            let more = match source.problems.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            return failure(format!("invalid{more}: {first}"));
        }
        let mut touched: BTreeSet<&AppKey> = BTreeSet::new();
        let mut moving = false;
        let mut failed: Vec<String> = Vec::new();
        for app in self.apps_of(name) {
            match standing(app) {
                Standing::Leaving if applied => {
                    touched.insert(&app.key);
                    moving = true;
                }
                Standing::Of(of, progress) if of == commit => {
                    touched.insert(&app.key);
                    match progress {
                        Progress::Healthy => {}
                        Progress::Moving => moving = true,
                        Progress::Failed(why) => failed.push(format!("{}: {why}", app.key)),
                    }
                }
                Standing::Leaving | Standing::Of(..) | Standing::Nothing => {}
            }
        }
        if let Some(first) = failed.first() {
            let more = match failed.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more apps)"),
            };
            return failure(format!("{first}{more}"));
        }
        if applied && let Some(held) = &source.held {
            return failure(format!("held: {}", held.reason));
        }
        let (state, description) = if moving {
            // Which app is how far is not said: each step would be a status of its own.
            (
                StatusState::Pending,
                format!("rolling out {}", list(&touched)),
            )
        } else if !touched.is_empty() {
            (StatusState::Success, format!("healthy: {}", list(&touched)))
        } else if applied {
            let words = "applied: no app is changed by it".to_owned();
            (StatusState::Success, words)
        } else {
            return None;
        };
        Some(CommitStatus {
            state,
            description,
            target_url: None,
        })
    }
}

fn list(apps: &BTreeSet<&AppKey>) -> String {
    let named: Vec<String> = apps.iter().take(NAMED).map(ToString::to_string).collect();
    let named = named.join(", ");
    match apps.len() {
        0..=NAMED => named,
        n => format!("{n} apps: {named}, …"),
    }
}

/// Sources that post, each with the commits whose status may differ.
fn affected(before: &View<'_>, after: &View<'_>) -> BTreeMap<SourceName, BTreeSet<CommitId>> {
    let mut found: BTreeMap<SourceName, BTreeSet<CommitId>> = BTreeMap::new();
    let mut add = |name: &SourceName, commits: &mut dyn Iterator<Item = &CommitId>| {
        found
            .entry(name.clone())
            .or_default()
            .extend(commits.cloned());
    };
    for (name, now) in &after.sources {
        let Some(now) = now else { continue };
        let was = before.source(name);
        let differs = was.is_none_or(|was| {
            was.spec.forge != now.spec.forge
                || was.suspended != now.suspended
                || was.last_applied != now.last_applied
                || was.last_seen != now.last_seen
                || was.outcome != now.outcome
                || was.problems != now.problems
                || was.held != now.held
        });
        if differs {
            add(name, &mut was.into_iter().chain([*now]).flat_map(heads));
        }
    }
    for key in after.apps.keys() {
        let (was, now) = (before.app(key), after.app(key));
        let old = was.map_or(Standing::Nothing, standing);
        let new = now.map_or(Standing::Nothing, standing);
        let moved = was.map(|a| &a.source) != now.map(|a| &a.source);
        if old == new && !moved {
            continue;
        }
        for app in [was, now].into_iter().flatten() {
            let Some(source) = after.source(&app.source) else {
                continue;
            };
            let commits = [old.commit(), new.commit()].into_iter().flatten();
            // A removal is its head's matter.
            add(&app.source, &mut commits.chain(source.last_applied.iter()));
        }
    }
    found
}

/// What an app has to say, and of which commit.
#[derive(Debug, PartialEq)]
pub(super) enum Standing<'a> {
    Of(&'a CommitId, Progress),
    /// Removed from Git, not yet down.
    Leaving,
    Nothing,
}

impl<'a> Standing<'a> {
    fn commit(&self) -> Option<&'a CommitId> {
        match self {
            Standing::Of(commit, _) => Some(commit),
            Standing::Leaving | Standing::Nothing => None,
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    Moving,
    Healthy,
    /// Why, in short.
    Failed(String),
}

pub(super) fn standing(app: &App) -> Standing<'_> {
    let Some(declared) = &app.declared else {
        return Standing::Leaving;
    };
    Standing::Of(&declared.commit, progress(app))
}

fn progress(app: &App) -> Progress {
    if let Some(rejection) = app.rejection_of_declared() {
        // Place, verdict and the last word of the instance, in that order.
        return Progress::Failed(rejection.reason.clone());
    }
    let target = app.target_release();
    let at_declared = match (&app.declared, target) {
        (Some(declared), Some(target)) => target.spec_digest == declared.digest,
        (Some(_) | None, Some(_) | None) => false,
    };
    match &app.rollout {
        Some(rollout) if rollout.phase == RolloutPhase::Paused && at_declared => {
            Progress::Failed(paused(rollout))
        }
        rollout => {
            // The last file was invalid: what is declared is what it was before.
            let synced = match app.sync_state(false) {
                SyncState::Synced => true,
                SyncState::Invalid => at_declared && app.active_rollout().is_none(),
                SyncState::OutOfSync
                | SyncState::Quarantined
                | SyncState::Suspended
                | SyncState::Held => false,
            };
            let proven = target.is_some_and(|release| release.is_stable())
                || rollout
                    .as_ref()
                    .is_some_and(|r| r.phase == RolloutPhase::Succeeded);
            match synced && proven {
                true => Progress::Healthy,
                false => Progress::Moving,
            }
        }
    }
}

fn paused(rollout: &Rollout) -> String {
    let why = rollout.outcome.as_deref().unwrap_or(&rollout.reason);
    format!("paused: {why}")
}
