//! `/sources`.

use std::ops::Bound;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::act::act;
use super::auth::Caller;
use super::commit::seen_view;
use super::etag::Document;
use super::extract::{Json as Body, OptionalJson, PageParams, Params, SourceParam};
use super::if_match::IfMatch;
use super::wait::WaitParams;
use super::{AppState, Problem, hooks};
use crate::api::source::{ForgeChecks, ForgeState, ForgeTrouble, SyncView, source_status};
use crate::api::{CommitView, EmptyInput, Page, SourceInput, SourceStatus};
use crate::controller::{Subject, Versions};
use crate::forge::check_name;
use crate::model::{Snapshot, SourceName};
use crate::plan::operate::{self, Prune};
use crate::plan::statuses;

/// Adds what the source's task does right now. Outside of `read`: both may lock.
fn with_sync(state: &AppState, mut status: SourceStatus) -> SourceStatus {
    let live = state.handle.sync_status(&status.name);
    // A poll that changes nothing is not written down: only the task knows it.
    let polled = live.as_ref().and_then(|s| s.last_attempt_at);
    status.last_attempt_at = status.last_attempt_at.max(polled);
    let base = state.handle.options().reached_at();
    status.webhook.url = format!("{base}{}", status.webhook.path);
    status.forge_state = state
        .handle
        .forge_report(&status.name)
        .map(|report| ForgeState {
            last_told_at: report.last_told_at,
            trouble: report.trouble.map(|trouble| ForgeTrouble {
                kind: trouble.kind.as_str().to_owned(),
                reason: trouble.reason,
                since: trouble.since,
            }),
        });
    status.checks = status.forge.as_ref().map(|forge| {
        let (cluster, name) = (state.handle.cluster(), &status.name);
        let shown = |context: String| check_name(forge.kind, &context);
        ForgeChecks {
            commit: shown(statuses::context(cluster, name)),
            plan: status
                .pull_requests
                .plan
                .then(|| shown(statuses::plan_context(cluster, name))),
        }
    });
    status.sync = live.map(|s| SyncView {
        running: s.running,
        last_attempt_at: s.last_attempt_at,
        next_attempt_at: s.next_attempt_at,
        outcome: s.outcome,
        attempts: s.attempts,
        warnings: s.warnings,
    });
    status
}

fn one(state: &AppState, caller: &Caller, name: &SourceName) -> Result<SourceStatus, Problem> {
    let status = state
        .handle
        .look(|s, versions| {
            let source = s.sources.get(name)?;
            let seen = caller.sees(&source.spec.project);
            seen.then(|| {
                let mut status = source_status(s, source);
                status.version = versions.source(name);
                status.webhook.vendor = hooks::vendor_of(source);
                status
            })
        })?
        .ok_or_else(|| {
            Problem::not_found(format!("there is no source {name}"))
                .with_hint("evenkeel source list")
        })?;
    Ok(with_sync(state, status))
}

pub async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<SourceStatus>>, Problem> {
    let after = params.after::<SourceName>()?;
    let page = state.handle.look(|s, versions| {
        let seen = s.sources.range((after, Bound::Unbounded));
        let seen = seen.filter(|(_, x)| caller.sees(&x.spec.project));
        let views = seen.map(|(name, x)| {
            let mut status = source_status(s, x);
            status.version = versions.source(name);
            status
        });
        Page::cut(views, params.limit(), |status| status.name.to_string())
    })?;
    Ok(Json(page.map(|status| with_sync(&state, status))))
}

pub async fn show(
    State(state): State<AppState>,
    caller: Caller,
    SourceParam(name): SourceParam,
    Params(wait): Params<WaitParams>,
) -> Result<Document<SourceStatus>, Problem> {
    let version = |s: &Snapshot, v: &Versions| {
        let source = s.sources.get(&name)?;
        caller.sees(&source.spec.project).then(|| v.source(&name))
    };
    wait.until(&state, &caller, version).await?;
    let mut status = one(&state, &caller, &name)?;
    status.webhook.setup = hooks::setup();
    status.webhook.deliveries = match (state.handle.deliveries(&name), &state.store) {
        (Some(log), _) => Some(log),
        // A follower tells what the leader has saved.
        (None, Some(store)) => store.deliveries_of(&name).await.ok(),
        (None, None) => None,
    };
    Ok(Document(status.version, status))
}

fn subject(name: &SourceName) -> Subject {
    Subject::Source(name.clone())
}

pub async fn add(
    State(state): State<AppState>,
    caller: Caller,
    Body(input): Body<SourceInput>,
) -> Result<(StatusCode, Json<SourceStatus>), Problem> {
    let spec = input.into_spec().map_err(Problem::invalid)?;
    let name = spec.name.clone();
    let any = IfMatch::ANY;
    act(&state, subject(&name), "add source", any, |s, now, _| {
        operate::plan_add_source(now, s, spec, &caller.name)
    })
    .await?;
    Ok((StatusCode::CREATED, Json(one(&state, &caller, &name)?)))
}

/// Adds the source, or replaces its settings.
pub async fn put(
    State(state): State<AppState>,
    caller: Caller,
    SourceParam(name): SourceParam,
    if_match: IfMatch,
    Body(input): Body<SourceInput>,
) -> Result<Json<SourceStatus>, Problem> {
    if input.name != name {
        return Err(Problem::invalid(format!(
            "the path names source {name}, the body {}; a source cannot be renamed",
            input.name
        )));
    }
    let spec = input.into_spec().map_err(Problem::invalid)?;
    act(
        &state,
        subject(&name),
        "put source",
        if_match,
        |s, now, _| {
            if s.sources.contains_key(&spec.name) {
                operate::plan_change_source(now, s, spec, &caller.name)
            } else {
                operate::plan_add_source(now, s, spec, &caller.name)
            }
        },
    )
    .await?;
    one(&state, &caller, &name).map(Json)
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveParams {
    /// Take its apps down too.
    #[serde(default)]
    prune: bool,
}

pub async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    SourceParam(name): SourceParam,
    if_match: IfMatch,
    Params(params): Params<RemoveParams>,
) -> Result<StatusCode, Problem> {
    let prune = if params.prune {
        Prune::TakeDown
    } else {
        Prune::Refuse
    };
    act(
        &state,
        subject(&name),
        "remove source",
        if_match,
        |s, now, _| operate::plan_remove_source(now, s, &name, prune, &caller.name),
    )
    .await?;
    let gone = state.handle.read(|s| !s.sources.contains_key(&name))?;
    Ok(if gone {
        StatusCode::NO_CONTENT
    } else {
        // Its apps are being taken down; asked again, it answers 204 once it is gone.
        StatusCode::ACCEPTED
    })
}

/// Asks for a sync at once; does not wait for it.
pub async fn sync(
    State(state): State<AppState>,
    caller: Caller,
    SourceParam(name): SourceParam,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<(StatusCode, Json<SourceStatus>), Problem> {
    let status = one(&state, &caller, &name)?;
    state.handle.trigger_sync(&name)?;
    Ok((StatusCode::ACCEPTED, Json(status)))
}

/// Newest seen first.
pub async fn commits(
    State(state): State<AppState>,
    caller: Caller,
    SourceParam(name): SourceParam,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<CommitView>>, Problem> {
    one(&state, &caller, &name)?;
    let after = params.after_text();
    let commits = state
        .store()?
        .commits_after(&name, after, params.one_more())
        .await?;
    let views = commits.into_iter().map(seen_view);
    Ok(Json(Page::cut(views, params.limit(), |c| c.id.0.clone())))
}

/// Lets the deletions through that a brake holds.
pub async fn approve(
    State(state): State<AppState>,
    caller: Caller,
    SourceParam(name): SourceParam,
    if_match: IfMatch,
    OptionalJson(EmptyInput {}): OptionalJson<EmptyInput>,
) -> Result<Json<SourceStatus>, Problem> {
    act(&state, subject(&name), "approve", if_match, |s, now, _| {
        operate::plan_approve_held(now, s, &name, &caller.name)
    })
    .await?;
    one(&state, &caller, &name).map(Json)
}
