//! `/nodes`.

use axum::Json;
use axum::extract::State;

use super::auth::Caller;
use super::extract::NodeParam;
use super::{AppState, Problem};
use crate::api::node::node_view;
use crate::api::{NodeView, Page};

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

pub async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<NodeView>>, Problem> {
    let nodes: Vec<NodeView> = state
        .handle
        .read(|s| s.nodes.values().map(|n| node_view(s, n)).collect())?;
    let nodes = nodes.into_iter().map(|n| shown(&caller, heard(&state, n)));
    Ok(Json(Page::whole(nodes.collect())))
}

pub async fn show(
    State(state): State<AppState>,
    caller: Caller,
    NodeParam(name): NodeParam,
) -> Result<Json<NodeView>, Problem> {
    state
        .handle
        .read(|s| s.nodes.get(&name).map(|n| node_view(s, n)))?
        .map(|n| Json(shown(&caller, heard(&state, n))))
        .ok_or_else(|| {
            Problem::not_found(format!("there is no node {name}")).with_hint("evenkeel nodes")
        })
}
