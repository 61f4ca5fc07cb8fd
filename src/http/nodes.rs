//! `/nodes`.

use axum::Json;
use axum::extract::State;

use super::extract::NodeParam;
use super::{AppState, Problem};
use crate::api::node::node_view;
use crate::api::{NodeView, Page};

pub async fn list(State(state): State<AppState>) -> Result<Json<Page<NodeView>>, Problem> {
    let nodes = state
        .handle
        .read(|s| s.nodes.values().map(|n| node_view(s, n)).collect())?;
    Ok(Json(Page::whole(nodes)))
}

pub async fn show(
    State(state): State<AppState>,
    NodeParam(name): NodeParam,
) -> Result<Json<NodeView>, Problem> {
    state
        .handle
        .read(|s| s.nodes.get(&name).map(|n| node_view(s, n)))?
        .map(Json)
        .ok_or_else(|| {
            Problem::not_found(format!("there is no node {name}")).with_hint("evenkeel nodes")
        })
}
