//! `POST /projects/{project}/apps/{app}/…`: what operators ask for.

use axum::Json;
use axum::extract::State;

use super::apps::document;
use super::auth::Caller;
use super::extract::{App, Json as Body, OptionalJson};
use super::if_match::{self, IfMatch};
use super::{AppState, Problem};
use crate::api::{AppStatus, EmptyInput, ReasonInput, RollbackInput, ScaleInput, SuspendInput};
use crate::controller::Subject;
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
    if_match: IfMatch,
    decide: impl FnOnce(&Snapshot, Timestamp, &mut IdSource) -> Result<Decision, Refusal> + Send,
) -> Result<Json<AppStatus>, Problem> {
    let subject = Subject::App(key.clone());
    let as_of = if_match.of(subject.clone());
    let cause = format!("operator: {verb} {key}");
    if let Err(error) = state.handle.transact_as_of(&cause, as_of, decide).await {
        return Err(if_match::refused(&state, subject, error).await);
    }
    document(&state, &key).map(Json)
}

pub async fn rollback(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    OptionalJson(input): OptionalJson<RollbackInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    act(state, key.clone(), "rollback", if_match, |s, now, _| {
        let (why, to) = (reason.as_deref(), input.to.as_deref());
        operate::plan_rollback(now, s, &key, &caller.name, why, to)
    })
    .await
}

pub async fn release(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<Json<AppStatus>, Problem> {
    act(state, key.clone(), "release", if_match, |s, now, _| {
        operate::plan_release(now, s, &key, &caller.name)
    })
    .await
}

pub async fn suspend(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    OptionalJson(input): OptionalJson<SuspendInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    let span = checked_span(input.duration.as_deref())?;
    act(state, key.clone(), "suspend", if_match, |s, now, _| {
        let until = span.map(|span| now + span);
        operate::plan_suspend(now, s, &key, &caller.name, reason.as_deref(), until)
    })
    .await
}

pub async fn resume(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<Json<AppStatus>, Problem> {
    act(state, key.clone(), "resume", if_match, |s, now, _| {
        operate::plan_resume(now, s, &key, &caller.name)
    })
    .await
}

pub async fn restart(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    let settings = state.handle.options().settings;
    act(state, key.clone(), "restart", if_match, |s, now, ids| {
        let why = reason.as_deref();
        operate::plan_restart(now, s, &key, &caller.name, why, &settings, ids)
    })
    .await
}

pub async fn scale(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    Body(input): Body<ScaleInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    let span = checked_span(input.duration.as_deref())?;
    act(state, key.clone(), "scale", if_match, |s, now, _| {
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
    if_match: IfMatch,
) -> Result<Json<AppStatus>, Problem> {
    act(
        state,
        key.clone(),
        "scale --reset",
        if_match,
        |s, now, _| operate::plan_reset_scale(now, s, &key, &caller.name),
    )
    .await
}
