//! `/plan`: what a tree would do.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds as _};
use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::auth::Caller;
use super::extract::{Json as Body, PageParams, Params, SourceParam};
use super::{AppState, Problem};
use crate::api::plan::{MAX_FILES, PlanFile, PlanInput, PullView};
use crate::api::{Page, SourceInput};
use crate::controller::Unreadable;
use crate::model::{CommitId, Preview, SourceSpec};

/// Below the deadline of a request, so that who asks is told what happened.
const PATIENCE: Duration = Duration::from_secs(25);

/// Changes nothing. Values that may be secret are hidden, so viewers may ask too.
pub async fn plan(
    State(state): State<AppState>,
    caller: Caller,
    Body(input): Body<PlanInput>,
) -> Result<Json<Preview>, Problem> {
    let known = state.handle.read(|s| {
        let source = s.sources.get(&input.source);
        source.map(|source| source.spec.clone())
    })?;
    let is_known = known.is_some();
    let spec = match known {
        Some(spec) => spec,
        None => unknown(&input)?,
    };
    if !caller.sees(&spec.project) {
        return Err(if is_known {
            Problem::not_found(format!("there is no source {}", spec.name))
                .with_hint("evenkeel source list")
        } else {
            Problem::forbidden(format!(
                "project {} is not one of the token's",
                spec.project
            ))
        });
    }
    let preview = tokio::time::timeout(PATIENCE, ask(&state, &spec, input, is_known));
    let preview = preview.await.map_err(|_| Problem::too_slow())??;
    Ok(Json(only_seen(&caller, preview)))
}

/// The open pull requests of a source, as they were last planned; by number.
pub async fn pulls(
    State(state): State<AppState>,
    caller: Caller,
    SourceParam(name): SourceParam,
    Params(params): Params<PageParams>,
) -> Result<Json<Page<PullView>>, Problem> {
    let range = (params.after::<u64>()?, Bound::Unbounded);
    let project = state.handle.read(|s| {
        let source = s.sources.get(&name)?;
        Some(source.spec.project.clone())
    })?;
    if !project.is_some_and(|project| caller.sees(&project)) {
        return Err(Problem::not_found(format!("there is no source {name}"))
            .with_hint("evenkeel source list"));
    }
    let pulls = state.store()?.pulls(&name).await?;
    let rest = pulls.into_iter().filter(|p| range.contains(&p.number));
    let views = rest.map(|pull| PullView {
        number: pull.number,
        title: pull.title,
        url: pull.url,
        head: pull.head,
        base: pull.base,
        verdict: pull.verdict,
        summary: pull.summary,
        planned_at: pull.planned_at,
        // One of an earlier version of this program may read otherwise: it is made anew soon.
        plan: pull
            .plan
            .and_then(|plan| serde_json::from_value(plan).ok())
            .map(|plan| only_seen(&caller, plan)),
    });
    let number = |pull: &PullView| pull.number.to_string();
    Ok(Json(Page::cut(views, params.limit(), number)))
}

/// A tree may declare apps of any project.
fn only_seen(caller: &Caller, mut preview: Preview) -> Preview {
    let all = preview.apps.len();
    preview.apps.retain(|app| caller.sees(&app.app.project));
    if preview.apps.len() < all {
        let left_out = all - preview.apps.len();
        let note = format!("{left_out} apps of projects that this token does not see are left out");
        preview.notes.push(note);
    }
    preview
}

async fn ask(
    state: &AppState,
    spec: &SourceSpec,
    input: PlanInput,
    is_known: bool,
) -> Result<Preview, Problem> {
    match (input.files, input.commit) {
        (Some(files), None) => {
            let files = by_path(files)?;
            Ok(state.handle.preview_files(spec, files).await?)
        }
        (None, Some(commit)) if is_known => {
            check(&commit)?;
            let found = state.handle.preview_commit(spec, &commit).await?;
            found.map_err(|why| refused(spec, &commit, why))
        }
        (None, Some(_)) => Err(
            Problem::not_found(format!("there is no source {}", spec.name))
                .with_hint("evenkeel source list"),
        ),
        (Some(_), Some(_)) | (None, None) => Err(Problem::invalid(
            "give either files or a commit of the source that was fetched",
        )),
    }
}

/// A source that nobody added yet.
fn unknown(input: &PlanInput) -> Result<SourceSpec, Problem> {
    // The address is never used: nothing is fetched.
    let mut source = SourceInput::new(input.source.clone(), "/");
    if let Some(project) = &input.project {
        source.project.clone_from(project);
    }
    source.into_spec().map_err(Problem::invalid)
}

fn by_path(files: Vec<PlanFile>) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
    if files.len() > MAX_FILES {
        return Err(Problem::invalid(format!(
            "{} files are too many: at most {MAX_FILES} are taken; send specs and what they name \
             in files, nothing else",
            files.len()
        )));
    }
    let mut by_path = BTreeMap::new();
    for file in files {
        let path = file.path.clone();
        let odd = |part: &str| matches!(part, "" | "." | "..");
        if path.len() > 4000 || path.chars().any(char::is_control) || path.split('/').any(odd) {
            return Err(Problem::invalid(format!(
                "{path:?} is not a path below the repository's root"
            )));
        }
        let bytes = file.bytes().map_err(Problem::invalid)?;
        if by_path.insert(path.clone(), bytes).is_some() {
            return Err(Problem::invalid(format!("{path} is there twice")));
        }
    }
    Ok(by_path)
}

fn check(commit: &CommitId) -> Result<(), Problem> {
    let hex = commit.0.bytes().all(|b| b.is_ascii_hexdigit());
    if hex && matches!(commit.0.len(), 40 | 64) {
        return Ok(());
    }
    Err(Problem::invalid(
        "commit: the whole id of a commit is needed (40 hex digits); see git rev-parse HEAD",
    ))
}

fn refused(spec: &SourceSpec, commit: &CommitId, why: Unreadable) -> Problem {
    match why {
        Unreadable::NotFetched => Problem::not_found(format!(
            "commit {} of source {} is not here: only what was fetched can be planned",
            commit.short(),
            spec.name
        ))
        .with_hint(format!(
            "push it to {}, or plan its files: evenkeel plan DIR --source {}",
            spec.branch, spec.name
        )),
        Unreadable::Refused(why) => Problem::conflict(why),
    }
}
