//! `/nodes`.

use std::ops::Bound;

use axum::Json;
use axum::extract::State;

use super::act::{AtNode, act, checked_reason};
use super::auth::Caller;
use super::etag::Document;
use super::extract::{NodeParam, OptionalJson, PageParams, Params};
use super::wait::WaitParams;
use super::{AppState, Problem};
use crate::api::node::{Remaining, node_view};
use crate::api::{NodeView, Page, ReasonInput};
use crate::clock;
use crate::controller::{Subject, Versions};
use crate::model::{Node, NodeName, Scheduling, Snapshot};
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

type Answer = Result<Json<NodeView>, Problem>;

async fn schedule(at: AtNode, scheduling: Scheduling, input: ReasonInput) -> Answer {
    let why = checked_reason(input.reason)?;
    let word = match scheduling {
        Scheduling::Active => "uncordon",
        Scheduling::Cordoned => "cordon",
        Scheduling::Draining => "drain",
    };
    let subject = Subject::Node(at.node.clone());
    act(&at.state, subject, word, at.if_match, |s, now, _| {
        let (by, why) = (&at.caller.name, why.as_deref());
        operate::plan_scheduling(now, s, &at.node, scheduling, by, why)
    })
    .await?;
    one(&at.state, &at.caller, &at.node).map(Json)
}

pub async fn cordon(at: AtNode, OptionalJson(input): OptionalJson<ReasonInput>) -> Answer {
    schedule(at, Scheduling::Cordoned, input).await
}

pub async fn uncordon(at: AtNode, OptionalJson(input): OptionalJson<ReasonInput>) -> Answer {
    schedule(at, Scheduling::Active, input).await
}

pub async fn drain(at: AtNode, OptionalJson(input): OptionalJson<ReasonInput>) -> Answer {
    schedule(at, Scheduling::Draining, input).await
}

pub async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<NodeView>>, Problem> {
    let after = params.after::<NodeName>()?;
    let page = state.handle.look(|s, versions| {
        let nodes = s.nodes.range((after, Bound::Unbounded));
        let views = nodes.map(|(_, node)| view(s, versions, node));
        Page::cut(views, params.limit(), |node| node.name.to_string())
    })?;
    page.try_map(|node| complete(&state, &caller, node))
        .map(Json)
}

fn view(snapshot: &Snapshot, versions: &Versions, node: &Node) -> NodeView {
    let mut view = node_view(snapshot, node);
    view.version = versions.node(&node.name);
    view
}

/// Adds what is not written down, and leaves out what is not for the caller.
fn complete(state: &AppState, caller: &Caller, node: NodeView) -> Result<NodeView, Problem> {
    let mut node = shown(caller, heard(state, node));
    node.remaining = remaining(state, caller, &node)?;
    Ok(node)
}

fn one(state: &AppState, caller: &Caller, name: &NodeName) -> Result<NodeView, Problem> {
    let node = state
        .handle
        .look(|s, versions| s.nodes.get(name).map(|n| view(s, versions, n)))?
        .ok_or_else(|| {
            Problem::not_found(format!("there is no node {name}")).with_hint("evenkeel nodes")
        })?;
    complete(state, caller, node)
}

pub async fn show(
    State(state): State<AppState>,
    caller: Caller,
    NodeParam(name): NodeParam,
    Params(wait): Params<WaitParams>,
) -> Result<Document<NodeView>, Problem> {
    let version = |s: &Snapshot, v: &Versions| s.nodes.contains_key(&name).then(|| v.node(&name));
    wait.until(&state, &caller, version).await?;
    let node = one(&state, &caller, &name)?;
    Ok(Document(node.version, node))
}
