//! `/healthz`, `/readyz`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::AppState;
use crate::controller::Role;

/// The process answers.
pub async fn live() -> &'static str {
    "ok\n"
}

#[derive(Serialize, JsonSchema)]
pub struct Ready {
    ready: bool,
    /// leader or follower
    role: &'static str,
    /// URL of the leader.
    leader: Option<String>,
    /// The last thing asked of the database was answered.
    database: bool,
    /// The cluster's state is in memory.
    loaded: bool,
    generation: i64,
    version: &'static str,
}

/// The cluster's state is known here and the database answers.
pub async fn ready(State(state): State<AppState>) -> Response {
    let status = state.handle.status();
    let code = if status.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Json(Ready {
        ready: status.is_ready(),
        role: match status.role {
            Role::Leader => "leader",
            Role::Follower => "follower",
        },
        leader: status.leader,
        database: status.database,
        loaded: status.loaded,
        generation: status.generation.0,
        version: env!("CARGO_PKG_VERSION"),
    });
    (code, body).into_response()
}
