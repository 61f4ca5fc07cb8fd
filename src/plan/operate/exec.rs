//! `exec`: a command inside an instance. Which one, and what is written down of it.

use super::{Decision, Refusal, app_event, because, find};
use crate::model::instance::InstancePhase;
use crate::model::{App, AppKey, EventKind, Instance, InstanceId, NodeName, Snapshot, Timestamp};

/// Longest command that is written down, in characters.
const TOLD: usize = 500;

/// The instance that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecTarget {
    pub instance: InstanceId,
    pub slot: u32,
    pub node: NodeName,
}

/// Chooses the instance, and writes down who runs what in it before it runs.
pub fn plan_exec(
    now: Timestamp,
    snapshot: &Snapshot,
    key: &AppKey,
    by: &str,
    command: &[String],
    instance: Option<&str>,
    why: Option<&str>,
) -> Result<(Decision, ExecTarget), Refusal> {
    let app = find(snapshot, key)?;
    let chosen = match instance {
        Some(id) => named(app, id)?,
        None => best(app)?,
    };
    let told = told(command);
    let message = format!(
        "{by} runs `{told}` in slot {} ({}) on {}{}",
        chosen.slot,
        chosen.id.short(),
        chosen.node,
        because(why)
    );
    let mut event = app_event(now, by, EventKind::InstanceExec, app, message);
    event.instance = Some(chosen.id);
    event.node = Some(chosen.node.clone());
    let decision = Decision {
        changes: Vec::new(),
        events: vec![event],
    };
    let target = ExecTarget {
        instance: chosen.id,
        slot: chosen.slot,
        node: chosen.node.clone(),
    };
    Ok((decision, target))
}

fn told(command: &[String]) -> String {
    let whole = command.join(" ");
    if whole.chars().count() <= TOLD {
        return whole;
    }
    let mut cut: String = whole.chars().take(TOLD - 1).collect();
    cut.push('…');
    cut
}

fn phase(instance: &Instance) -> InstancePhase {
    let status = instance.status.as_ref();
    status.map_or(InstancePhase::Pending, |s| s.phase)
}

/// One that serves, else one that runs; of several the lowest slot.
fn best(app: &App) -> Result<&Instance, Refusal> {
    let key = &app.key;
    let all = app.instances.values();
    let running = all.filter(|i| phase(i) == InstancePhase::Running);
    running
        .min_by_key(|i| (!i.wants_run(), !i.is_ready(), i.slot, i.id))
        .ok_or_else(|| {
            Refusal::Conflict(format!(
                "no instance of {key} runs now; `evenkeel why {key}` tells what it waits for"
            ))
        })
}

fn named<'a>(app: &'a App, id: &str) -> Result<&'a Instance, Refusal> {
    let key = &app.key;
    let wanted = id.trim().to_ascii_lowercase();
    let is_meant = |i: &Instance| {
        let (id, simple) = (i.id.to_string(), i.id.0.simple().to_string());
        id.starts_with(&wanted) || simple.starts_with(&wanted)
    };
    let held = app.instances.values().filter(|i| !i.is_gone());
    let mut found = held.filter(|i| is_meant(i));
    match (found.next(), found.next()) {
        (Some(one), None) if phase(one) == InstancePhase::Running => Ok(one),
        (Some(one), None) => Err(Refusal::Conflict(format!(
            "instance {} of {key} does not run now; `evenkeel status {key}` shows all",
            one.id.short()
        ))),
        (None, _) => Err(Refusal::NotFound(format!(
            "{key} has no instance {wanted}; `evenkeel status {key}` shows all"
        ))),
        (Some(_), Some(_)) => Err(Refusal::Invalid(format!(
            "several instances of {key} start with {wanted}; give more of the id"
        ))),
    }
}
