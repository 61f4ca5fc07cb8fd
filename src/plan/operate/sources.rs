//! Sources: added, changed, removed, and what a brake holds.

use super::super::{Decision, Refusal};
use crate::model::{
    Actor, AppKey, Change, Event, EventKind, Snapshot, Source, SourceName, SourceSpec, Timestamp,
};

fn find_source<'a>(snapshot: &'a Snapshot, name: &SourceName) -> Result<&'a Source, Refusal> {
    snapshot.sources.get(name).ok_or_else(|| {
        Refusal::NotFound(format!(
            "there is no source {name}; `evenkeel source list` lists all"
        ))
    })
}

fn source_event(
    now: Timestamp,
    by: &str,
    kind: EventKind,
    source: &SourceName,
    message: String,
) -> Event {
    let mut event = Event::new(now, Actor::User(by.to_owned()), kind, message);
    event.source = Some(source.clone());
    event
}

pub fn plan_add_source(
    now: Timestamp,
    snapshot: &Snapshot,
    spec: SourceSpec,
    by: &str,
) -> Result<Decision, Refusal> {
    if snapshot.sources.contains_key(&spec.name) {
        return Err(Refusal::Conflict(format!(
            "source {0} exists already; change it with `evenkeel source add {0} --replace`",
            spec.name
        )));
    }
    let event = source_event(
        now,
        by,
        EventKind::SourceAdded,
        &spec.name,
        format!(
            "{by} added source {} ({} branch {})",
            spec.name, spec.url, spec.branch
        ),
    );
    Ok(Decision {
        changes: vec![Change::PutSource(Box::new(Source::new(spec, None)))],
        events: vec![event],
    })
}

/// Replaces the settings. Credentials belong to a host: with a new host they must be given anew.
pub fn plan_change_source(
    now: Timestamp,
    snapshot: &Snapshot,
    spec: SourceSpec,
    by: &str,
) -> Result<Decision, Refusal> {
    let source = find_source(snapshot, &spec.name)?;
    if let Some(parent) = &source.declared_by {
        return Err(Refusal::Conflict(format!(
            "source {} is declared by source {parent}: change it in Git",
            spec.name
        )));
    }
    let event = source_event(
        now,
        by,
        EventKind::SourceChanged,
        &spec.name,
        format!("{by} changed source {}", spec.name),
    );
    let mut next = source.clone();
    next.spec = spec;
    Ok(Decision {
        changes: vec![Change::PutSource(Box::new(next))],
        events: vec![event],
    })
}

/// What becomes of a removed source's apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Refuse as long as there are any.
    Refuse,
    /// Take them down first; the source goes with the last one.
    TakeDown,
}

pub fn plan_remove_source(
    now: Timestamp,
    snapshot: &Snapshot,
    name: &SourceName,
    prune: Prune,
    by: &str,
) -> Result<Decision, Refusal> {
    let source = find_source(snapshot, name)?;
    let apps: Vec<&AppKey> = snapshot.apps_of(name).collect();
    if apps.is_empty() {
        return Ok(Decision {
            changes: vec![Change::RemoveSource(name.clone())],
            events: vec![source_event(
                now,
                by,
                EventKind::SourceRemoved,
                name,
                format!("{by} removed source {name}"),
            )],
        });
    }
    match prune {
        Prune::Refuse => Err(Refusal::Conflict(format!(
            "source {name} still declares {} app(s), {} first; add --prune to take them down too",
            apps.len(),
            apps[0]
        ))),
        Prune::TakeDown => {
            let mut decision = Decision::default();
            let mut next = source.clone();
            next.suspended = true;
            next.held = None;
            decision.changes.push(Change::PutSource(Box::new(next)));
            for key in apps {
                decision
                    .changes
                    .push(Change::Undeclare { app: key.clone() });
                let mut event = source_event(
                    now,
                    by,
                    EventKind::AppUndeclared,
                    name,
                    format!("{by} removes source {name} with {key}"),
                );
                event.app = Some(key.clone());
                decision.events.push(event);
            }
            Ok(decision)
        }
    }
}

/// Lets through the deletions that a brake holds.
pub fn plan_approve_held(
    now: Timestamp,
    snapshot: &Snapshot,
    name: &SourceName,
    by: &str,
) -> Result<Decision, Refusal> {
    let source = find_source(snapshot, name)?;
    let Some(held) = &source.held else {
        return Err(Refusal::Conflict(format!(
            "no deletions of source {name} are held"
        )));
    };
    let mut decision = Decision::default();
    for key in held.deletions.keys() {
        if snapshot.apps.get(key).is_some_and(|a| a.declared.is_some()) {
            decision
                .changes
                .push(Change::Undeclare { app: key.clone() });
            let mut event = source_event(
                now,
                by,
                EventKind::AppUndeclared,
                name,
                format!(
                    "{by} approved the deletion of {key} by commit {}",
                    held.commit.short()
                ),
            );
            event.app = Some(key.clone());
            decision.events.push(event);
        }
    }
    let mut next = source.clone();
    next.held = None;
    decision.changes.push(Change::PutSource(Box::new(next)));
    decision.events.push(source_event(
        now,
        by,
        EventKind::SyncReleased,
        name,
        format!("{by} approved {} held deletions", held.deletions.len()),
    ));
    Ok(decision)
}
