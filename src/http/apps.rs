//! `/apps` and `/projects/{project}/apps/{app}`: what is, and why.

use std::ops::Bound;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::Caller;
use super::extract::{App as AppParam, Params};
use super::{AppState, Problem};
use crate::api::list::bounded;
use crate::api::verb::{Funnel, Waiting, why as why_of};
use crate::api::{
    AppStatus, InstanceView, Page, ReleaseView, RolloutView, Why, app_status, release,
};
use crate::model::{App, AppKey, Snapshot};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    project: Option<String>,
    name: Option<String>,
    source: Option<String>,
    /// `project/app`.
    after: Option<String>,
    limit: Option<usize>,
}

pub async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<AppStatus>>, Problem> {
    let after: Option<AppKey> = params
        .after
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e| Problem::bad_request(format!("after: {e}")))?;
    let limit = bounded(params.limit);
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let page = state.handle.read(|s| {
        let matching = s
            .apps
            .range((start, Bound::Unbounded))
            .map(|(_, app)| app)
            .filter(|app| caller.sees(&app.key.project))
            .filter(|app| is(&params.project, app.key.project.as_str()))
            .filter(|app| is(&params.name, app.key.name.as_str()))
            .filter(|app| is(&params.source, app.source.as_str()))
            .map(|app| app_status::app_status(s, app));
        Page::cut(matching, limit, |a| format!("{}/{}", a.project, a.name))
    })?;
    Ok(Json(page))
}

fn is(wanted: &Option<String>, value: &str) -> bool {
    wanted.as_deref().is_none_or(|w| w == value)
}

/// Looks at one app, or says kindly that there is none.
pub(super) fn with_app<T>(
    state: &AppState,
    key: &AppKey,
    look: impl FnOnce(&Snapshot, &App) -> T,
) -> Result<T, Problem> {
    state.handle.read(|s| match s.apps.get(key) {
        Some(app) => Ok(look(s, app)),
        None => Err(no_app(s, key)),
    })?
}

fn no_app(snapshot: &Snapshot, key: &AppKey) -> Problem {
    let near = snapshot
        .apps
        .keys()
        .find(|k| k.name == key.name)
        .or_else(|| {
            snapshot
                .apps
                .keys()
                .filter(|k| k.project == key.project)
                .map(|k| (strsim::osa_distance(k.name.as_str(), key.name.as_str()), k))
                .filter(|(distance, k)| *distance <= 1 + k.name.as_str().len() / 6)
                .min_by_key(|(distance, _)| *distance)
                .map(|(_, k)| k)
        });
    let problem = Problem::not_found(format!("there is no app {key}"));
    match near {
        Some(near) => problem.with_hint(format!("evenkeel status {near}")),
        None => problem.with_hint("evenkeel status"),
    }
}

pub async fn show(
    State(state): State<AppState>,
    AppParam(key): AppParam,
) -> Result<Json<AppStatus>, Problem> {
    with_app(&state, &key, app_status::app_status).map(Json)
}

pub async fn releases(
    State(state): State<AppState>,
    AppParam(key): AppParam,
) -> Result<Json<Page<ReleaseView>>, Problem> {
    let releases = with_app(&state, &key, |_, app| release::releases(app))?;
    Ok(Json(Page::whole(releases)))
}

pub async fn instances(
    State(state): State<AppState>,
    AppParam(key): AppParam,
) -> Result<Json<Page<InstanceView>>, Problem> {
    let instances = with_app(&state, &key, app_status::instances)?;
    Ok(Json(Page::whole(instances)))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutParams {
    limit: Option<usize>,
}

/// Newest first.
pub async fn rollouts(
    State(state): State<AppState>,
    AppParam(key): AppParam,
    Params(params): Params<RolloutParams>,
) -> Result<Json<Page<RolloutView>>, Problem> {
    with_app(&state, &key, |_, _| ())?;
    let limit = u32::try_from(bounded(params.limit)).unwrap_or(u32::MAX);
    let rollouts = state.store()?.rollouts(&key, limit).await?;
    let views = with_app(&state, &key, |s, app| {
        rollouts
            .iter()
            .map(|r| app_status::rollout_view(s, app, r))
            .collect()
    })?;
    Ok(Json(Page::whole(views)))
}

pub async fn why(
    State(state): State<AppState>,
    AppParam(key): AppParam,
) -> Result<Json<Why>, Problem> {
    let status = with_app(&state, &key, app_status::app_status)?;
    let report = state.handle.app_report(&key);
    let waiting = report.iter().flat_map(|r| &r.waiting).map(|w| Waiting {
        what: w.what.clone(),
        until: w.until,
    });
    let funnel = report
        .as_ref()
        .and_then(|r| r.funnel.as_ref())
        .map(|f| Funnel {
            considered: f.considered,
            excluded: f.excluded.clone(),
        });
    Ok(Json(why_of(&status, waiting.collect(), funnel)))
}
