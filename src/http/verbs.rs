//! `POST /projects/{project}/apps/{app}/…`: what operators ask for.

use axum::Json;

use super::Problem;
use super::act::{AtApp, checked_reason};
use super::extract::{Json as Body, OptionalJson};
use crate::api::{AppStatus, EmptyInput, ReasonInput, RollbackInput, ScaleInput, SuspendInput};
use crate::model::quantity::parse_duration;
use crate::plan::operate;

type Answer = Result<Json<AppStatus>, Problem>;
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

pub async fn rollback(at: AtApp, OptionalJson(input): OptionalJson<RollbackInput>) -> Answer {
    let why = checked_reason(input.reason)?;
    at.act("rollback", |a, _| {
        let (why, to) = (why.as_deref(), input.to.as_deref());
        operate::plan_rollback(a.now, a.snapshot, a.app, a.by, why, to)
    })
    .await
}

pub async fn release(at: AtApp, OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>) -> Answer {
    at.act("release", |a, _| {
        operate::plan_release(a.now, a.snapshot, a.app, a.by)
    })
    .await
}

pub async fn suspend(at: AtApp, OptionalJson(input): OptionalJson<SuspendInput>) -> Answer {
    let why = checked_reason(input.reason)?;
    let span = checked_span(input.duration.as_deref())?;
    at.act("suspend", |a, _| {
        let until = span.map(|span| a.now + span);
        operate::plan_suspend(a.now, a.snapshot, a.app, a.by, why.as_deref(), until)
    })
    .await
}

pub async fn resume(at: AtApp, OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>) -> Answer {
    at.act("resume", |a, _| {
        operate::plan_resume(a.now, a.snapshot, a.app, a.by)
    })
    .await
}

pub async fn restart(at: AtApp, OptionalJson(input): OptionalJson<ReasonInput>) -> Answer {
    let why = checked_reason(input.reason)?;
    let settings = at.state.handle.options().settings;
    at.act("restart", |a, ids| {
        let why = why.as_deref();
        operate::plan_restart(a.now, a.snapshot, a.app, a.by, why, &settings, ids)
    })
    .await
}

pub async fn scale(at: AtApp, Body(input): Body<ScaleInput>) -> Answer {
    let why = checked_reason(input.reason)?;
    let span = checked_span(input.duration.as_deref())?;
    at.act("scale", |a, _| {
        let (why, until) = (why.as_deref(), span.map(|span| a.now + span));
        operate::plan_scale(a.now, a.snapshot, a.app, a.by, input.replicas, why, until)
    })
    .await
}

/// Back to the declared number.
pub async fn unscale(at: AtApp) -> Answer {
    at.act("scale --reset", |a, _| {
        operate::plan_reset_scale(a.now, a.snapshot, a.app, a.by)
    })
    .await
}

/// Holds the active rollout.
pub async fn pause(at: AtApp, OptionalJson(input): OptionalJson<ReasonInput>) -> Answer {
    let why = checked_reason(input.reason)?;
    at.act("rollout pause", |a, _| {
        operate::plan_pause(a.now, a.snapshot, a.app, a.by, why.as_deref())
    })
    .await
}

/// Lets a paused rollout go on.
pub async fn go_on(at: AtApp, OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>) -> Answer {
    at.act("rollout resume", |a, _| {
        operate::plan_resume_rollout(a.now, a.snapshot, a.app, a.by)
    })
    .await
}

pub async fn abort(at: AtApp, OptionalJson(input): OptionalJson<ReasonInput>) -> Answer {
    let why = checked_reason(input.reason)?;
    at.act("rollout abort", |a, _| {
        operate::plan_abort(a.now, a.snapshot, a.app, a.by, why.as_deref())
    })
    .await
}
