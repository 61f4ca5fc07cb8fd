//! `POST /projects/{project}/apps/{app}/…`: what operators ask for.

use axum::Json;
use axum::extract::State;

use super::apps::with_app;
use super::auth::Caller;
use super::extract::{App, Json as Body, OptionalJson};
use super::{AppState, Problem};
use crate::api::{
    AppStatus, EmptyInput, ReasonInput, RollbackInput, ScaleInput, SuspendInput, app_status,
};
use crate::model::quantity::parse_duration;
use crate::model::{AppKey, Snapshot, Timestamp};
use crate::plan::{Decision, IdSource, Refusal, operate};

/// Longest reason that is kept, in bytes.
const MAX_REASON_BYTES: usize = 1000;

pub(super) fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    let reason = reason.map(|r| r.trim().to_owned());
    match reason {
        Some(r) if r.len() > MAX_REASON_BYTES => Err(Problem::invalid(format!(
            "the reason has {} bytes; at most {MAX_REASON_BYTES} are kept",
            r.len()
        ))),
        other => Ok(other.filter(|r| !r.is_empty())),
    }
}

type Span = Option<std::time::Duration>;

fn checked_span(text: Option<&str>) -> Result<Span, Problem> {
    let span = text
        .map(parse_duration)
        .transpose()
        .map_err(|e| Problem::invalid(format!("for: {e}")))?;
    if span.is_some_and(|s| s.is_zero()) {
        return Err(Problem::invalid("for: it would end at once"));
    }
    Ok(span)
}

pub(super) async fn act(
    state: AppState,
    key: AppKey,
    verb: &str,
    decide: impl FnOnce(&Snapshot, Timestamp, &mut IdSource) -> Result<Decision, Refusal> + Send,
) -> Result<Json<AppStatus>, Problem> {
    state
        .handle
        .transact(&format!("operator: {verb} {key}"), decide)
        .await?;
    with_app(&state, &key, app_status::app_status).map(Json)
}

pub async fn rollback(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(input): OptionalJson<RollbackInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    act(state, key.clone(), "rollback", |s, now, _| {
        let (why, to) = (reason.as_deref(), input.to.as_deref());
        operate::plan_rollback(now, s, &key, &caller.name, why, to)
    })
    .await
}

pub async fn release(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<Json<AppStatus>, Problem> {
    act(state, key.clone(), "release", |s, now, _| {
        operate::plan_release(now, s, &key, &caller.name)
    })
    .await
}

pub async fn suspend(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(input): OptionalJson<SuspendInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    let span = checked_span(input.duration.as_deref())?;
    act(state, key.clone(), "suspend", |s, now, _| {
        let until = span.map(|span| now + span);
        operate::plan_suspend(now, s, &key, &caller.name, reason.as_deref(), until)
    })
    .await
}

pub async fn resume(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<Json<AppStatus>, Problem> {
    act(state, key.clone(), "resume", |s, now, _| {
        operate::plan_resume(now, s, &key, &caller.name)
    })
    .await
}

pub async fn restart(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    let settings = state.handle.options().settings;
    act(state, key.clone(), "restart", |s, now, ids| {
        let why = reason.as_deref();
        operate::plan_restart(now, s, &key, &caller.name, why, &settings, ids)
    })
    .await
}

pub async fn scale(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    Body(input): Body<ScaleInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    let span = checked_span(input.duration.as_deref())?;
    act(state, key.clone(), "scale", |s, now, _| {
        let until = span.map(|span| now + span);
        let (by, why) = (&caller.name, reason.as_deref());
        operate::plan_scale(now, s, &key, by, input.replicas, why, until)
    })
    .await
}

/// Back to the declared number.
pub async fn unscale(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
) -> Result<Json<AppStatus>, Problem> {
    act(state, key.clone(), "scale --reset", |s, now, _| {
        operate::plan_reset_scale(now, s, &key, &caller.name)
    })
    .await
}
