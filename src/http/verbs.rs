//! `POST /projects/{project}/apps/{app}/…`: what operators ask for.

use axum::Json;
use axum::extract::State;

use super::apps::with_app;
use super::auth::Caller;
use super::extract::{App, OptionalJson};
use super::{AppState, Problem};
use crate::api::{AppStatus, EmptyInput, ReasonInput, app_status};
use crate::model::{AppKey, Snapshot, Timestamp};
use crate::plan::{Decision, Refusal, operate};

/// Longest reason that is kept, in bytes.
const MAX_REASON_BYTES: usize = 1000;

fn checked_reason(input: ReasonInput) -> Result<Option<String>, Problem> {
    let reason = input.reason.map(|r| r.trim().to_owned());
    match reason {
        Some(r) if r.len() > MAX_REASON_BYTES => Err(Problem::invalid(format!(
            "the reason has {} bytes; at most {MAX_REASON_BYTES} are kept",
            r.len()
        ))),
        other => Ok(other.filter(|r| !r.is_empty())),
    }
}

async fn act(
    state: AppState,
    key: AppKey,
    verb: &str,
    decide: impl FnOnce(&Snapshot, Timestamp) -> Result<Decision, Refusal> + Send,
) -> Result<Json<AppStatus>, Problem> {
    state
        .handle
        .transact(&format!("operator: {verb} {key}"), |s, now, _| {
            decide(s, now)
        })
        .await?;
    with_app(&state, &key, app_status::app_status).map(Json)
}

pub async fn rollback(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input)?;
    act(state, key.clone(), "rollback", |s, now| {
        operate::plan_rollback(now, s, &key, &caller.name, reason.as_deref(), None)
    })
    .await
}

pub async fn release(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<Json<AppStatus>, Problem> {
    act(state, key.clone(), "release", |s, now| {
        operate::plan_release(now, s, &key, &caller.name)
    })
    .await
}

pub async fn suspend(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input)?;
    act(state, key.clone(), "suspend", |s, now| {
        operate::plan_suspend(now, s, &key, &caller.name, reason.as_deref(), None)
    })
    .await
}

pub async fn resume(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<Json<AppStatus>, Problem> {
    act(state, key.clone(), "resume", |s, now| {
        operate::plan_resume(now, s, &key, &caller.name)
    })
    .await
}
