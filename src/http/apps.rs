//! `/apps` and `/projects/{project}/apps/{app}`: what is, and why.

use std::fmt;
use std::ops::{Bound, RangeBounds as _};
use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::auth::Caller;
use super::etag::Document;
use super::extract::{App as AppParam, PageParams, Params};
use super::wait::WaitParams;
use super::{AppState, Problem};
use crate::api::list::bounded;
use crate::api::verb::{Funnel, Waiting, why as why_of};
use crate::api::{
    AppDiff, AppStatus, InstanceView, Page, ReleaseView, RolloutView, Why, app_status, release,
};
use crate::controller::Versions;
use crate::model::{App, AppKey, InstanceId, RolloutId, Snapshot};
use crate::plan::preview;

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
    let page = state.handle.look(|s, versions| {
        let matching = s
            .apps
            .range((start, Bound::Unbounded))
            .map(|(_, app)| app)
            .filter(|app| caller.sees(&app.key.project))
            .filter(|app| is(&params.project, app.key.project.as_str()))
            .filter(|app| is(&params.name, app.key.name.as_str()))
            .filter(|app| is(&params.source, app.source.as_str()))
            .map(|app| of(s, versions, app));
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
    caller: Caller,
    AppParam(key): AppParam,
    Params(wait): Params<WaitParams>,
) -> Result<Document<AppStatus>, Problem> {
    let version = |s: &Snapshot, v: &Versions| s.apps.contains_key(&key).then(|| v.app(&key));
    wait.until(&state, &caller, version).await?;
    let status = document(&state, &key)?;
    Ok(Document(status.version, status))
}

fn of(snapshot: &Snapshot, versions: &Versions, app: &App) -> AppStatus {
    let mut status = app_status::app_status(snapshot, app);
    status.version = versions.app(&app.key);
    status
}

/// The app's status document, or a kind word that there is none.
pub(super) fn document(state: &AppState, key: &AppKey) -> Result<AppStatus, Problem> {
    state.handle.look(|s, versions| match s.apps.get(key) {
        Some(app) => Ok(of(s, versions, app)),
        None => Err(no_app(s, key)),
    })?
}

pub async fn releases(
    State(state): State<AppState>,
    AppParam(key): AppParam,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<ReleaseView>>, Problem> {
    let after = params.after::<u64>()?;
    let before = |r: &ReleaseView| match after {
        Bound::Excluded(number) => r.number < number,
        Bound::Included(_) | Bound::Unbounded => true,
    };
    let releases = with_app(&state, &key, |_, app| release::releases(app))?;
    let rest = releases.into_iter().filter(before);
    let number = |r: &ReleaseView| r.number.to_string();
    Ok(Json(Page::cut(rest, params.limit(), number)))
}

/// Where an instance stands in the list; outlives the instance.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place(u32, i64, InstanceId);

impl Place {
    fn of(view: &InstanceView) -> Place {
        Place(view.slot, view.created_at.0, view.id)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Place {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Place, &'static str> {
        let place = || {
            let (slot, rest) = text.split_once('.')?;
            let (at, id) = rest.split_once('.')?;
            let id = InstanceId(id.parse().ok()?);
            Some(Place(slot.parse().ok()?, at.parse().ok()?, id))
        };
        place().ok_or("it is not what a page told as next")
    }
}

pub async fn instances(
    State(state): State<AppState>,
    AppParam(key): AppParam,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<InstanceView>>, Problem> {
    let after = params.after::<Place>()?;
    let range = (after, Bound::Unbounded);
    let instances = with_app(&state, &key, app_status::instances)?;
    let rest = instances.into_iter();
    let rest = rest.filter(|view| range.contains(&Place::of(view)));
    let place = |view: &InstanceView| Place::of(view).to_string();
    Ok(Json(Page::cut(rest, params.limit(), place)))
}

/// Newest first.
pub async fn rollouts(
    State(state): State<AppState>,
    AppParam(key): AppParam,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<RolloutView>>, Problem> {
    with_app(&state, &key, |_, _| ())?;
    let after = match params.after::<Uuid>()? {
        Bound::Excluded(id) => Some(RolloutId(id)),
        Bound::Included(_) | Bound::Unbounded => None,
    };
    let store = state.store()?;
    let rollouts = store.rollouts_after(&key, after, params.one_more()).await?;
    let page = with_app(&state, &key, |s, app| {
        let views = rollouts.iter().map(|r| app_status::rollout_view(s, app, r));
        Page::cut(views, params.limit(), |r| r.id.to_string())
    })?;
    Ok(Json(page))
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

/// From what runs to what Git declares.
pub async fn diff(
    State(state): State<AppState>,
    AppParam(key): AppParam,
) -> Result<Json<AppDiff>, Problem> {
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
