//! One pull request: from its refs to what is to be told of it.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::super::leadership::chain;
use super::super::sync::Tree;
use super::super::{Error, Handle};
use super::comment::{self, About};
use super::look::off_thread;
use crate::git::{self, Merged, WantedPull};
use crate::model::{
    Catalog, CommitId, ForgeSpec, Preview, PreviewVerdict, PullRequest, SourceSpec, StatusState,
};

/// For fetching one pull request and merging it on trial.
const FETCH: Duration = Duration::from_secs(60);
/// What the marker and the forge's own additions take of a comment's room, in characters.
const RESERVED: usize = 400;
/// Paths of a conflict that are named.
const CONFLICTS_TOLD: usize = 5;

/// What is to be told.
pub(super) struct Plan {
    /// The commit that the status belongs to.
    pub head: CommitId,
    pub state: StatusState,
    /// `None`: it is not planned.
    pub verdict: Option<PreviewVerdict>,
    pub summary: String,
    pub comment: Option<String>,
    pub preview: Option<Preview>,
    /// Digest of what matters in it: where instances would go does not.
    pub told: String,
}

/// `None`: it is gone, or has a head that the forge does not tell of yet; the next round
/// sees. Errors pass; what the pull request itself gets wrong is a plan that says so.
pub(super) async fn plan(
    handle: &Handle,
    spec: &SourceSpec,
    forge: &ForgeSpec,
    tree: &mut Tree,
    pull: &PullRequest,
    base: &CommitId,
) -> Result<Option<Plan>, Error> {
    if pull.from_fork && !spec.pull_requests.forks {
        let why = format!(
            "not planned: it comes from a fork, and source {} plans its own branches only",
            spec.name
        );
        return Ok(Some(not_planned(pull, why)));
    }
    let refs = pull.refs(forge.kind);
    let Some(head_ref) = refs.head else {
        let why = "not planned: this forge offers the commits of forks in the fork only";
        return Ok(Some(not_planned(pull, why.to_owned())));
    };
    let about = |head| About {
        cluster: handle.cluster(),
        source: spec.name.as_str(),
        branch: &spec.branch,
        head,
        base,
    };
    let wanted = WantedPull {
        number: pull.number,
        head_ref,
        merge_ref: refs.merge,
        base: base.clone(),
    };
    let fetched = match handle.0.mirrors.fetch_pull(spec, &wanted, FETCH).await {
        Ok(Some(fetched)) => fetched,
        Ok(None) => return Ok(None),
        Err(error) => return refuse(error, &about(&pull.head)).map(Some),
    };
    let head = &fetched.head;
    let merged = match fetched.merged {
        Merged::Tree(commit) => commit,
        Merged::Conflict(paths) => {
            let shown: Vec<&str> = paths
                .iter()
                .take(CONFLICTS_TOLD)
                .map(String::as_str)
                .collect();
            let more = match paths.len().saturating_sub(CONFLICTS_TOLD) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let why = format!(
                "it conflicts with {} in {}{more}",
                spec.branch,
                shown.join(", ")
            );
            return Ok(Some(blocked(&why, &about(head))));
        }
    };
    let catalog = match read(handle, spec, tree, &merged).await? {
        Ok(catalog) => catalog,
        Err(error) => return refuse(error, &about(head)).map(Some),
    };
    let _turn = handle.turn().await?;
    let preview = handle
        .preview(spec, Some(head.clone()), Arc::new(catalog))
        .await?;
    let room = forge.kind.comment_limit().saturating_sub(RESERVED);
    Ok(Some(Plan {
        state: match preview.verdict {
            PreviewVerdict::Blocked => StatusState::Failure,
            PreviewVerdict::Unchanged | PreviewVerdict::Changes | PreviewVerdict::Held => {
                StatusState::Success
            }
        },
        head: head.clone(),
        verdict: Some(preview.verdict),
        summary: preview.summary.clone(),
        comment: Some(comment::plan(&preview, &about(head), room)),
        told: digest(&preview),
        preview: Some(preview),
    }))
}

/// The tree's index moves from pull request to pull request at the cost of what differs.
async fn read(
    handle: &Handle,
    spec: &SourceSpec,
    tree: &mut Tree,
    commit: &CommitId,
) -> Result<Result<Catalog, git::Error>, Error> {
    let mut moved = tree.take();
    let (mirrors, spec, commit) = (handle.0.mirrors.clone(), spec.clone(), commit.clone());
    let work = move || {
        let result = moved.bring_to(&mirrors, &spec, &commit);
        let catalog = result.map(|_| moved.index.catalog().clone());
        (moved, catalog)
    };
    let (moved, catalog) = off_thread(work).await?;
    *tree = moved;
    Ok(catalog)
}

/// Whether it is the pull request's own fault.
fn refuse(error: git::Error, about: &About<'_>) -> Result<Plan, Error> {
    match &error {
        git::Error::Hostile { .. } | git::Error::PathMissing { .. } => {
            Ok(blocked(&chain(&error), about))
        }
        git::Error::Unreachable { .. }
        | git::Error::BranchMissing { .. }
        | git::Error::CommitMissing { .. }
        | git::Error::Refused { .. }
        | git::Error::Timeout { .. }
        | git::Error::Local { .. } => Err(Error::Unavailable(Box::new(error))),
    }
}

fn blocked(why: &str, about: &About<'_>) -> Plan {
    Plan {
        head: about.head.clone(),
        state: StatusState::Failure,
        verdict: Some(PreviewVerdict::Blocked),
        summary: why.to_owned(),
        comment: Some(comment::obstacle(why, about)),
        preview: None,
        told: hash(why),
    }
}

/// No verdict either way: whoever requires one waits for a person.
fn not_planned(pull: &PullRequest, why: String) -> Plan {
    Plan {
        head: pull.head.clone(),
        state: StatusState::Pending,
        verdict: None,
        told: hash(&why),
        summary: why,
        comment: None,
        preview: None,
    }
}

fn digest(preview: &Preview) -> String {
    let mut material = preview.clone();
    material.commit = None;
    for app in &mut material.apps {
        app.places.clear();
        app.per_node.clear();
    }
    // Only string keys: it always has a JSON form.
    hash(&serde_json::to_string(&material).unwrap_or_default())
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
