//! What a commit of a source changes in what is declared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Decision, Settings, diff};
use crate::model::source::Held;
use crate::model::{
    Actor, App, AppKey, Catalog, Change, CommitId, Declaration, Declared, Event, EventKind,
    Invalid, Problem, Snapshot, Source, SourceName, SourceSpec, SyncOutcome, Timestamp,
};
use crate::mutant::{Mutant, mutant};

#[derive(Clone, Copy, Debug)]
pub struct SyncInput<'a> {
    pub now: Timestamp,
    pub snapshot: &'a Snapshot,
    pub source: &'a SourceName,
    pub commit: &'a CommitId,
    pub catalog: &'a Catalog,
    /// Apps whose declaration may differ from the last sync; `None`: all.
    pub touched: Option<&'a BTreeSet<AppKey>>,
    pub settings: &'a Settings,
}

/// Takes over what the commit declares. What cannot be read is kept as it was;
/// deletions beyond the brake wait for a person, all else is applied.
pub fn plan_sync(input: &SyncInput<'_>) -> Decision {
    let Some(source) = input.snapshot.sources.get(input.source) else {
        return Decision::default();
    };
    let mut run = Run {
        input,
        decision: Decision::default(),
        problems: input.catalog.problems.clone(),
        told: Vec::new(),
    };
    // Looks at every app of the source: only where the number matters.
    let count_declared = || {
        let apps = input.snapshot.apps_of(input.source);
        apps.filter(|key| declared(input.snapshot, key)).count()
    };
    let declared_before = match input.catalog.spec_files {
        0 => count_declared(),
        _ => 0,
    };
    if declared_before > 0 {
        let message = format!(
            "commit {} holds no spec below \"{}\", where {declared_before} apps are declared: \
             nothing was changed. To take them down on purpose run `evenkeel source remove {} --prune`",
            input.commit.short(),
            source.spec.path,
            input.source
        );
        return plan_failed_sync(
            input.now,
            input.snapshot,
            input.source,
            Some(input.commit.clone()),
            SyncOutcome::Lost { message },
        );
    }

    let mut deletions = BTreeMap::new();
    match input.touched {
        Some(keys) => keys.iter().for_each(|k| run.app(k, &mut deletions)),
        None => {
            let keys: BTreeSet<&AppKey> = input
                .snapshot
                .apps_of(input.source)
                .chain(input.catalog.apps.keys())
                .chain(input.catalog.invalid.keys())
                .collect();
            keys.into_iter().for_each(|k| run.app(k, &mut deletions));
        }
    }
    // Held deletions of earlier commits stay on the list while they still are deletions.
    if let Some(held) = &source.held {
        for (key, path) in &held.deletions {
            if declared(input.snapshot, key)
                && !input.catalog.apps.contains_key(key)
                && !input.catalog.invalid.contains_key(key)
            {
                deletions.insert(key.clone(), path.clone());
            }
        }
    }
    let held = run.delete(deletions, count_declared, source);
    run.sources();

    let mut next = source.clone();
    next.last_attempt_at = Some(input.now);
    next.last_seen = Some(input.commit.clone());
    next.last_applied = Some(input.commit.clone());
    next.last_applied_at = Some(input.now);
    next.outcome = SyncOutcome::Ok;
    next.ignored_documents = input.catalog.ignored_documents;
    next.held = held;
    // What the apps' own events tell is not told again for the source.
    let mut untold = run.problems.iter().filter(|p| !run.told.contains(p));
    if run.problems != source.problems
        && let Some(first) = untold.next()
    {
        let message = format!(
            "{} in commit {}, the first: {first}",
            counted(1 + untold.count(), "problem"),
            input.commit.short(),
        );
        run.tell(EventKind::SpecInvalid, None, message);
    }
    next.problems = std::mem::take(&mut run.problems);
    if source.last_applied.as_ref() != Some(input.commit) || source.outcome != SyncOutcome::Ok {
        let changed = run.decision.changes.len();
        run.tell(
            EventKind::SyncOk,
            None,
            format!(
                "commit {} applied: {}, {}",
                input.commit.short(),
                counted(input.catalog.spec_files, "spec file"),
                counted(changed, "change")
            ),
        );
    }
    run.decision.changes.push(Change::PutSource(Box::new(next)));
    run.decision
}

/// Records a sync that could not be made. Declarations stay as they are.
pub fn plan_failed_sync(
    now: Timestamp,
    snapshot: &Snapshot,
    name: &SourceName,
    seen: Option<CommitId>,
    outcome: SyncOutcome,
) -> Decision {
    let mut decision = Decision::default();
    let Some(source) = snapshot.sources.get(name) else {
        return decision;
    };
    let message = match &outcome {
        SyncOutcome::Unreachable { message }
        | SyncOutcome::Lost { message }
        | SyncOutcome::Refused { message } => message.clone(),
        SyncOutcome::Ok | SyncOutcome::Never => String::new(),
    };
    if source.outcome != outcome {
        let mut event = Event::new(
            now,
            Actor::Git(name.clone()),
            EventKind::SyncFailed,
            message,
        );
        event.source = Some(name.clone());
        event.commit = seen.clone();
        decision.events.push(event);
    }
    let mut next = source.clone();
    next.last_attempt_at = Some(now);
    next.last_seen = seen.or(next.last_seen);
    next.outcome = outcome;
    decision.changes.push(Change::PutSource(Box::new(next)));
    decision
}

fn declared(snapshot: &Snapshot, key: &AppKey) -> bool {
    snapshot
        .apps
        .get(key)
        .is_some_and(|app| app.declared.is_some())
}

/// The field of a source that names something on the controller's host. Only
/// operators may: a repository is hostile input.
fn reaches_into_the_host(spec: &SourceSpec) -> Option<(&'static str, &str)> {
    let files = &spec.credentials;
    let named = [
        ("spec.credentials.tokenFile", &files.token_file),
        ("spec.credentials.sshKeyFile", &files.ssh_key_file),
        ("spec.credentials.knownHostsFile", &files.known_hosts_file),
        ("spec.webhookSecretFile", &spec.webhook_secret_file),
    ];
    let forge = spec.forge.as_ref();
    let forge = forge.map(|forge| match (&forge.token_file, &forge.app) {
        (Some(file), _) => ("spec.forge.tokenFile", file.as_str()),
        (None, Some(app)) => (
            "spec.forge.app.privateKeyFile",
            app.private_key_file.as_str(),
        ),
        (None, None) => ("spec.forge", forge.api_url.as_str()),
    });
    let local = spec.url.starts_with('/') || spec.url.starts_with("file:");
    named
        .into_iter()
        .find_map(|(field, file)| Some((field, file.as_deref()?)))
        .or(forge)
        .or(local.then_some(("spec.url", spec.url.as_str())))
}

struct Run<'a> {
    input: &'a SyncInput<'a>,
    decision: Decision,
    problems: Vec<Problem>,
    /// Problems that events of apps have told.
    told: Vec<Problem>,
}

impl Run<'_> {
    fn tell(&mut self, kind: EventKind, app: Option<&AppKey>, message: String) {
        let actor = Actor::Git(self.input.source.clone());
        let mut event = Event::new(self.input.now, actor, kind, message);
        event.source = Some(self.input.source.clone());
        event.commit = Some(self.input.commit.clone());
        event.app = app.cloned();
        self.decision.events.push(event);
    }

    fn app(&mut self, key: &AppKey, deletions: &mut BTreeMap<AppKey, String>) {
        let catalog = self.input.catalog;
        let existing = self.input.snapshot.apps.get(key);
        let foreign = existing.filter(|a| a.source != *self.input.source && a.declared.is_some());
        match (catalog.apps.get(key), catalog.invalid.get(key), existing) {
            (Some(declaration), _, _) => {
                if let Some(other) = foreign {
                    self.refuse_second(declaration, other);
                } else {
                    self.declare(declaration, existing);
                }
            }
            (None, Some((_, problems)), Some(app)) if foreign.is_none() => {
                self.keep_invalid(app, problems.clone());
            }
            (None, None, Some(app)) if foreign.is_none() && app.declared.is_some() => {
                if catalog.unreadable.contains(&app.path) && !mutant(Mutant::UnreadableIsDeletion) {
                    let problems: Vec<Problem> = catalog
                        .problems
                        .iter()
                        .filter(|p| p.file == app.path)
                        .cloned()
                        .collect();
                    self.keep_invalid(app, problems);
                } else {
                    deletions.insert(key.clone(), app.path.clone());
                }
            }
            (None, _, Some(_) | None) => {}
        }
    }

    fn declare(&mut self, declaration: &Declaration, existing: Option<&App>) {
        let input = self.input;
        let before = existing.and_then(|app| app.declared.as_ref());
        let same = before.is_some_and(|d| d.digest == declaration.digest);
        let in_place = existing.is_some_and(|app| {
            app.path == declaration.path && app.source == *input.source && app.invalid.is_none()
        });
        if same && in_place {
            return;
        }
        let declared = match before {
            // Only its place or validity changed: the commit that brought the content stays.
            Some(before) if same => before.clone(),
            Some(_) | None => Declared {
                commit: input.commit.clone(),
                digest: declaration.digest.clone(),
                spec: Arc::clone(&declaration.spec),
                at: input.now,
            },
        };
        self.decision.changes.push(Change::Declare {
            app: declaration.app.clone(),
            source: input.source.clone(),
            path: declaration.path.clone(),
            declared,
        });
        if same {
            return;
        }
        self.end_scale(existing, declaration);
        match before {
            None => self.tell(
                EventKind::AppDeclared,
                Some(&declaration.app),
                format!(
                    "{} is declared in {} since commit {}",
                    declaration.app,
                    declaration.path,
                    input.commit.short()
                ),
            ),
            Some(before) => {
                let fields = diff::diff_specs(&before.spec, &declaration.spec);
                self.tell(
                    EventKind::AppChanged,
                    Some(&declaration.app),
                    format!(
                        "commit {} changes {}: {}",
                        input.commit.short(),
                        declaration.app,
                        diff::summary(&fields)
                    ),
                );
            }
        }
    }

    /// Git's own number counts again once a commit changes it.
    fn end_scale(&mut self, existing: Option<&App>, declaration: &Declaration) {
        let Some(app) = existing else { return };
        let before = app.declared.as_ref().map(|d| d.spec.replicas);
        let now = declaration.spec.replicas;
        let Some(scale) = app.scale.as_ref().filter(|_| before != Some(now)) else {
            return;
        };
        self.decision.changes.push(Change::SetScale {
            app: app.key.clone(),
            scale: None,
        });
        self.tell(
            EventKind::AppScaled,
            Some(&app.key),
            format!(
                "commit {} declares {now} replicas of {}, which ends the override of {} ({})",
                self.input.commit.short(),
                app.key,
                scale.by,
                scale.replicas
            ),
        );
    }

    fn keep_invalid(&mut self, app: &App, problems: Vec<Problem>) {
        self.told.extend(problems.iter().cloned());
        let invalid = Invalid {
            commit: self.input.commit.clone(),
            problems,
        };
        let unchanged = app
            .invalid
            .as_ref()
            .is_some_and(|i| i.problems == invalid.problems);
        if unchanged {
            return;
        }
        let first = invalid
            .problems
            .first()
            .map_or_else(|| "its file cannot be read".to_owned(), Problem::to_string);
        self.tell(
            EventKind::SpecInvalid,
            Some(&app.key),
            format!(
                "{} is invalid in commit {} and stays as it was: {first}",
                app.key,
                self.input.commit.short()
            ),
        );
        self.decision.changes.push(Change::SetInvalid {
            app: app.key.clone(),
            invalid: Some(invalid),
        });
    }

    fn refuse_second(&mut self, declaration: &Declaration, other: &App) {
        self.problems.push(Problem {
            file: declaration.path.clone(),
            line: declaration.line,
            column: 1,
            field: "metadata.name".to_owned(),
            text: declaration.app.to_string(),
            message: format!(
                "app {} is already declared by source {} in {}",
                declaration.app, other.source, other.path
            ),
            hint: Some("rename one of the two, or give one another project".to_owned()),
        });
    }

    /// Undeclares, or returns what the brake holds.
    fn delete(
        &mut self,
        deletions: BTreeMap<AppKey, String>,
        count_declared: impl FnOnce() -> usize,
        source: &Source,
    ) -> Option<Held> {
        if deletions.is_empty() {
            return None;
        }
        let of = count_declared();
        let brake = self.input.settings.deletions;
        let before = source.held.as_ref();
        let braked = brake.holds(deletions.len(), of) && !mutant(Mutant::DeletionBrakeOff);
        // What a person was told waits for them goes on waiting for them, also
        // when a later commit brings the number below the brake.
        let (waiting, now): (BTreeMap<_, _>, BTreeMap<_, _>) = deletions
            .into_iter()
            .partition(|(key, _)| braked || before.is_some_and(|h| h.deletions.contains_key(key)));
        let deletions = waiting;
        if !braked {
            for (key, path) in &now {
                self.decision
                    .changes
                    .push(Change::Undeclare { app: key.clone() });
                self.tell(
                    EventKind::AppUndeclared,
                    Some(key),
                    format!(
                        "commit {} removes {key} (was in {path})",
                        self.input.commit.short()
                    ),
                );
            }
        }
        if deletions.is_empty() {
            return None;
        }
        let why = if braked {
            format!(
                "more than {} % and at least {}",
                brake.percent, brake.at_least
            )
        } else {
            "held since an earlier commit".to_owned()
        };
        let reason = format!(
            "{} of {of} apps would be deleted, {why}: run \
             `evenkeel source approve {}` to delete them, or bring them back in Git",
            deletions.len(),
            self.input.source
        );
        let since = before.map_or(self.input.now, |h| h.since);
        if before.is_none_or(|h| h.deletions != deletions) {
            self.tell(EventKind::SyncHeld, None, reason.clone());
        }
        let commit = match before {
            Some(held) if !braked => held.commit.clone(),
            Some(_) | None => self.input.commit.clone(),
        };
        Some(Held {
            commit,
            since,
            deletions,
            reason,
        })
    }

    /// Sources that this one's repository declares.
    fn sources(&mut self) {
        let input = self.input;
        for (name, (spec, path)) in &input.catalog.sources {
            if let Some((field, text)) = reaches_into_the_host(spec) {
                self.problems.push(Problem {
                    file: path.clone(),
                    line: 0,
                    column: 0,
                    field: field.to_owned(),
                    text: text.to_owned(),
                    message: format!(
                        "source {name} names {text} on the controller's host, and whoever can commit \
                         here could have any file there read or sent away"
                    ),
                    hint: Some(format!(
                        "remove it here, and let an operator run `evenkeel source add {name}` with it"
                    )),
                });
                continue;
            }
            match input.snapshot.sources.get(name) {
                Some(other) if other.declared_by.as_ref() != Some(input.source) => {
                    let whose = other
                        .declared_by
                        .as_ref()
                        .map_or_else(|| "an operator".to_owned(), |s| format!("source {s}"));
                    self.problems.push(Problem {
                        file: path.clone(),
                        line: 0,
                        column: 0,
                        field: "metadata.name".to_owned(),
                        text: name.to_string(),
                        message: format!("source {name} was already added by {whose}"),
                        hint: Some("choose another name".to_owned()),
                    });
                }
                Some(other) if other.spec == *spec => {}
                Some(other) => {
                    let mut next = other.clone();
                    next.spec = spec.clone();
                    self.decision
                        .changes
                        .push(Change::PutSource(Box::new(next)));
                    self.tell(
                        EventKind::SourceChanged,
                        None,
                        format!("source {name} is changed by {path}"),
                    );
                }
                None => {
                    let added = Source::new(spec.clone(), Some(input.source.clone()));
                    self.decision
                        .changes
                        .push(Change::PutSource(Box::new(added)));
                    self.tell(
                        EventKind::SourceAdded,
                        None,
                        format!("source {name} is declared by {path}"),
                    );
                }
            }
        }
    }
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
