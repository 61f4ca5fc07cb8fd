//! What may be put on a node, and what a drained one still holds.

use super::super::drain::why_it_stays;
use super::super::{Decision, Refusal, Settings};
use super::because;
use crate::model::{
    Actor, AppKey, Change, Event, EventKind, InstanceId, NodeName, Scheduling, SchedulingNote,
    Snapshot, Timestamp,
};

/// Cordons, drains, or opens a node again.
pub fn plan_scheduling(
    now: Timestamp,
    snapshot: &Snapshot,
    name: &NodeName,
    scheduling: Scheduling,
    by: &str,
    why: Option<&str>,
) -> Result<Decision, Refusal> {
    let node = snapshot.nodes.get(name).ok_or_else(|| {
        Refusal::NotFound(format!(
            "there is no node {name}; `evenkeel nodes` lists all"
        ))
    })?;
    let (verb, state) = match scheduling {
        Scheduling::Active => ("opened", "open"),
        Scheduling::Cordoned => ("cordoned", "cordoned"),
        Scheduling::Draining => ("drains", "draining"),
    };
    if node.scheduling == scheduling {
        let who = node.scheduling_note.as_ref().map_or_else(String::new, |n| {
            format!(", by {} at {}{}", n.by, n.at, because(n.reason.as_deref()))
        });
        return Err(Refusal::Conflict(format!(
            "node {name} is {state} already{who}"
        )));
    }
    if let (Scheduling::Draining, Scheduling::Cordoned, Some(n)) =
        (node.scheduling, scheduling, &node.scheduling_note)
        && n.by != by
    {
        return Err(Refusal::Conflict(format!(
            "{} drains node {name} since {}{}; `evenkeel uncordon {name}` ends that first",
            n.by,
            n.at,
            because(n.reason.as_deref())
        )));
    }
    let mut event = Event::new(
        now,
        Actor::User(by.to_owned()),
        EventKind::NodeScheduling,
        match scheduling {
            Scheduling::Active => format!(
                "{by} {verb} node {name}: instances may be put there again{}",
                because(why)
            ),
            Scheduling::Cordoned => format!(
                "{by} {verb} node {name}: nothing more is put there, what is there stays{}",
                because(why)
            ),
            Scheduling::Draining => format!(
                "{by} {verb} node {name}: its instances go elsewhere{}",
                because(why)
            ),
        },
    );
    event.node = Some(name.clone());
    Ok(Decision {
        changes: vec![Change::SetScheduling {
            node: name.clone(),
            scheduling,
            note: Some(SchedulingNote {
                by: by.to_owned(),
                at: now,
                reason: why.map(str::to_owned),
            }),
        }],
        events: vec![event],
    })
}

/// An instance that is still on a node that is being drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub app: AppKey,
    pub slot: u32,
    pub instance: InstanceId,
    /// `None`: it is under way.
    pub stays: Option<String>,
}

/// What `name` still holds, and of each why it cannot go.
pub fn left_on(
    now: Timestamp,
    snapshot: &Snapshot,
    settings: &Settings,
    name: &NodeName,
) -> Vec<Left> {
    let usage = snapshot.usage(name);
    let on_node = usage.into_iter().flat_map(|u| &u.instances);
    on_node
        .filter_map(|(id, key)| {
            let app = snapshot.apps.get(key)?;
            let instance = app.instances.get(id)?;
            Some(Left {
                app: key.clone(),
                slot: instance.slot,
                instance: *id,
                stays: why_it_stays(now, snapshot, settings, app, instance),
            })
        })
        .collect()
}
