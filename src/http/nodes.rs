//! `/nodes`.

use axum::Json;
use axum::extract::State;

use super::auth::Caller;
use super::extract::{NodeParam, OptionalJson};
use super::verbs::checked_reason;
use super::{AppState, Problem};
use crate::api::node::{Remaining, node_view};
use crate::api::{NodeView, Page, ReasonInput};
use crate::clock;
use crate::model::{NodeName, Scheduling};
use crate::plan::operate;

/// Replaces what was written down by what this controller knows: a report that changes nothing
/// is not written down. Outside of `read`: both may lock.
pub(super) fn heard(state: &AppState, mut node: NodeView) -> NodeView {
    let live = state.handle.last_heard(&node.name);
    node.last_heard = live.map_or(node.last_heard, |at| at.max(node.last_heard));
    node
}

/// Images tell what other projects run.
fn shown(caller: &Caller, mut node: NodeView) -> NodeView {
    if !caller.projects.is_all() {
        node.images.clear();
    }
    node
}

/// What is left on a node that is being drained, as far as the caller sees it.
fn remaining(
    state: &AppState,
    caller: &Caller,
    node: &NodeView,
) -> Result<Vec<Remaining>, Problem> {
    if node.scheduling != Scheduling::Draining {
        return Ok(Vec::new());
    }
    let settings = state.handle.options().settings;
    let left = state
        .handle
        .read(|s| operate::left_on(clock::now(), s, &settings, &node.name))?;
    let seen = left.into_iter().filter(|l| caller.sees(&l.app.project));
    let view = |l: operate::Left| Remaining {
        app: l.app,
        slot: l.slot,
        instance: l.instance,
        stays: l.stays,
    };
    Ok(seen.map(view).collect())
}

async fn schedule(
    state: AppState,
    caller: Caller,
    name: NodeName,
    scheduling: Scheduling,
    reason: Option<String>,
) -> Result<Json<NodeView>, Problem> {
    let reason = checked_reason(reason)?;
    let word = match scheduling {
        Scheduling::Active => "uncordon",
        Scheduling::Cordoned => "cordon",
        Scheduling::Draining => "drain",
    };
    let cause = format!("operator: {word} {name}");
    state
        .handle
        .transact(&cause, |s, now, _| {
            let (by, why) = (&caller.name, reason.as_deref());
            operate::plan_scheduling(now, s, &name, scheduling, by, why)
        })
        .await?;
    show(State(state), caller, NodeParam(name)).await
}

pub async fn cordon(
    State(state): State<AppState>,
    caller: Caller,
    NodeParam(name): NodeParam,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<NodeView>, Problem> {
    schedule(state, caller, name, Scheduling::Cordoned, input.reason).await
}

pub async fn uncordon(
    State(state): State<AppState>,
    caller: Caller,
    NodeParam(name): NodeParam,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<NodeView>, Problem> {
    schedule(state, caller, name, Scheduling::Active, input.reason).await
}

pub async fn drain(
    State(state): State<AppState>,
    caller: Caller,
    NodeParam(name): NodeParam,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<NodeView>, Problem> {
    schedule(state, caller, name, Scheduling::Draining, input.reason).await
}

pub async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<NodeView>>, Problem> {
    let nodes: Vec<NodeView> = state
        .handle
        .read(|s| s.nodes.values().map(|n| node_view(s, n)).collect())?;
    let nodes = nodes.into_iter().map(|n| {
        let mut node = shown(&caller, heard(&state, n));
        node.remaining = remaining(&state, &caller, &node)?;
        Ok::<_, Problem>(node)
    });
    Ok(Json(Page::whole(nodes.collect::<Result<_, _>>()?)))
}

pub async fn show(
    State(state): State<AppState>,
    caller: Caller,
    NodeParam(name): NodeParam,
) -> Result<Json<NodeView>, Problem> {
    let node = state
        .handle
        .read(|s| s.nodes.get(&name).map(|n| node_view(s, n)))?
        .ok_or_else(|| {
            Problem::not_found(format!("there is no node {name}")).with_hint("evenkeel nodes")
        })?;
    let mut node = shown(&caller, heard(&state, node));
    node.remaining = remaining(&state, &caller, &node)?;
    Ok(Json(node))
}
