//! `…/rollout/{pause,resume,abort}` and `…/diff`.

use axum::Json;
use axum::extract::State;

use super::apps::with_app;
use super::auth::Caller;
use super::extract::{App, OptionalJson};
use super::if_match::IfMatch;
use super::verbs::{act, checked_reason};
use super::{AppState, Problem};
use crate::api::{AppDiff, AppStatus, EmptyInput, ReasonInput, app_status};
use crate::plan::{operate, preview};

pub async fn pause(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    act(
        state,
        key.clone(),
        "rollout pause",
        if_match,
        |s, now, _| operate::plan_pause(now, s, &key, &caller.name, reason.as_deref()),
    )
    .await
}

pub async fn resume(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<Json<AppStatus>, Problem> {
    act(
        state,
        key.clone(),
        "rollout resume",
        if_match,
        |s, now, _| operate::plan_resume_rollout(now, s, &key, &caller.name),
    )
    .await
}

pub async fn abort(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    if_match: IfMatch,
    OptionalJson(input): OptionalJson<ReasonInput>,
) -> Result<Json<AppStatus>, Problem> {
    let reason = checked_reason(input.reason)?;
    act(
        state,
        key.clone(),
        "rollout abort",
        if_match,
        |s, now, _| operate::plan_abort(now, s, &key, &caller.name, reason.as_deref()),
    )
    .await
}

/// From what runs to what Git declares.
pub async fn diff(State(state): State<AppState>, App(key): App) -> Result<Json<AppDiff>, Problem> {
    with_app(&state, &key, |snapshot, app| {
        let status = app_status::app_status(snapshot, app);
        let running = app_status::running_release(app);
        let fields = match &app.declared {
            Some(declared) => preview::compare(running.map(|r| &*r.spec), &declared.spec),
            None => Vec::new(),
        };
        Json(AppDiff {
            project: status.project,
            name: status.name,
            declared: status.git,
            running: status.running,
            fields,
            messages: status.messages,
        })
    })
}
