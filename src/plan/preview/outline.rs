//! What a tree declares anew, with the part of the cluster that it concerns.

use std::collections::{BTreeMap, BTreeSet};

use super::PreviewInput;
use crate::model::source::Held;
use crate::model::{
    AppKey, Change, CommitId, Liveness, Problem, Snapshot, Source, SourceName, SyncOutcome,
    Timestamp,
};
use crate::plan::sync::{SyncInput, plan_sync};
use crate::plan::{Decision, Settings};

/// What the tree declares anew, with the part of the cluster that it concerns.
#[derive(Clone, Debug)]
pub struct Outline {
    pub(super) now: Timestamp,
    pub(super) source: SourceName,
    pub(super) commit: Option<CommitId>,
    pub(super) settings: Settings,
    pub(super) snapshot: Snapshot,
    pub(super) decision: Decision,
    pub(super) held: Option<Held>,
    pub(super) lost: Option<String>,
    pub(super) problems: Vec<Problem>,
    pub(super) invalid: BTreeMap<AppKey, (String, Vec<Problem>)>,
    /// App → file, and the source that has it.
    pub(super) foreign: BTreeMap<AppKey, (String, SourceName)>,
    pub(super) unchanged: usize,
    pub(super) notes: Vec<String>,
}

/// Stands for the commit of files that are in none.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// Quick: compares what is declared, and copies only what would change.
pub fn outline(input: &PreviewInput<'_>) -> Outline {
    let name = &input.source.name;
    let catalog = input.catalog;
    let fresh;
    // One that is not there yet would begin with nothing of its own.
    let snapshot = if input.snapshot.sources.contains_key(name) {
        input.snapshot
    } else {
        let mut excerpt = input.snapshot.excerpt(catalog.apps.keys());
        let source = Source::new(input.source.clone(), None);
        excerpt.sources.insert(name.clone(), source);
        fresh = excerpt;
        &fresh
    };
    let no_commit = CommitId(NO_COMMIT.to_owned());
    let decision = plan_sync(&SyncInput {
        now: input.now,
        snapshot,
        source: name,
        commit: input.commit.unwrap_or(&no_commit),
        catalog,
        touched: None,
        settings: input.settings,
    });
    let after = decision
        .changes
        .iter()
        .rev()
        .find_map(|change| match change {
            Change::PutSource(source) if source.spec.name == *name => Some(source),
            _ => None,
        });
    let lost = after.and_then(|source| match &source.outcome {
        SyncOutcome::Lost { message } => Some(message.clone()),
        SyncOutcome::Never
        | SyncOutcome::Ok
        | SyncOutcome::Unreachable { .. }
        | SyncOutcome::Refused { .. } => None,
    });
    let foreign: BTreeMap<AppKey, (String, SourceName)> = catalog
        .apps
        .iter()
        .filter_map(|(key, declaration)| {
            let app = snapshot.apps.get(key)?;
            let other = app.source != *name && app.declared.is_some();
            other.then(|| (key.clone(), (declaration.path.clone(), app.source.clone())))
        })
        .collect();
    let mut invalid = catalog.invalid.clone();
    let mut touched = BTreeSet::new();
    for change in &decision.changes {
        match change {
            Change::SetInvalid {
                app,
                invalid: Some(told),
            } => {
                let path = snapshot.apps.get(app).map_or("", |a| &a.path);
                let entry = (path.to_owned(), told.problems.clone());
                invalid.entry(app.clone()).or_insert(entry);
            }
            change => touched.extend(change.app().cloned()),
        }
    }
    invalid.retain(|key, _| !foreign.contains_key(key));
    let held = after.and_then(|source| source.held.clone());
    let concerned = touched.iter().chain(invalid.keys());
    let waiting = held.iter().flat_map(|held| held.deletions.keys());
    let declared_anew = catalog.apps.keys().filter(|key| touched.contains(*key));
    let unchanged = catalog.apps.len() - foreign.len() - declared_anew.count();
    Outline {
        now: input.now,
        source: name.clone(),
        commit: input.commit.cloned(),
        settings: *input.settings,
        snapshot: snapshot.excerpt(concerned.chain(waiting)),
        held,
        lost,
        problems: match after {
            Some(after) if after.outcome == SyncOutcome::Ok => after.problems.clone(),
            Some(_) | None => catalog.problems.clone(),
        },
        invalid,
        foreign,
        unchanged,
        notes: notes(snapshot, name),
        decision,
    }
}

fn notes(snapshot: &Snapshot, name: &SourceName) -> Vec<String> {
    let mut notes = Vec::new();
    if snapshot.sources.get(name).is_some_and(|s| s.suspended) {
        notes.push(format!(
            "source {name} is being removed: none of its commits is carried out"
        ));
    }
    let silent: Vec<&str> = snapshot
        .nodes
        .values()
        .filter(|n| n.liveness != Liveness::Ready)
        .map(|n| n.name.as_str())
        .collect();
    if !silent.is_empty() {
        let shown = silent.iter().take(5).copied().collect::<Vec<_>>();
        notes.push(format!(
            "{} of {} nodes are silent now and counted out: {}{}",
            silent.len(),
            snapshot.nodes.len(),
            shown.join(", "),
            if silent.len() > shown.len() {
                ", …"
            } else {
                ""
            }
        ));
    }
    notes
}

impl Outline {
    /// Whether the tree leaves every app as it is and has nothing wrong with it.
    pub fn is_unchanged(&self) -> bool {
        self.touched().is_empty() && self.held.is_none() && self.problems.is_empty()
    }

    pub(super) fn touched(&self) -> BTreeSet<AppKey> {
        let changes = self.decision.changes.iter();
        changes
            .filter(|change| !matches!(change, Change::SetInvalid { .. }))
            .filter_map(Change::app)
            .cloned()
            .collect()
    }

    /// The snapshot once the tree's declarations of `keys` are taken over.
    pub(super) fn declared(&self, keys: Option<&AppKey>) -> Snapshot {
        let mut copy = self.snapshot.clone();
        for change in &self.decision.changes {
            if change
                .app()
                .is_some_and(|app| keys.is_none_or(|k| k == app))
            {
                // Made for this very state, which the excerpt holds as far as it matters.
                let _ = copy.apply(change);
            }
        }
        copy
    }
}
