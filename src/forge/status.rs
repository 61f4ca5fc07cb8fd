//! A commit's status as each vendor wants it.

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::failure::Failure;
use super::request::{Request, hash, of_repository};
use crate::model::{CommitId, CommitStatus, ForgeKind, ForgeSpec, StatusState};

/// Characters of the key that tells a commit's statuses apart at bitbucket.org.
const BITBUCKET_KEY: usize = 40;
/// Hexadecimal digits that keep shortened keys apart.
const KEY_DIGEST: usize = 8;

/// A `POST` that sets a commit's status. The error says what in the source's settings cannot work.
pub fn request(
    spec: &ForgeSpec,
    commit: &CommitId,
    context: &str,
    status: &CommitStatus,
) -> Result<Request, Failure> {
    let hash = hash(commit)?;
    let url = match spec.kind {
        ForgeKind::GitHub | ForgeKind::Gitea | ForgeKind::GitLab => {
            of_repository(spec, &["statuses", hash])?
        }
        ForgeKind::BitbucketCloud => of_repository(spec, &["commit", hash, "statuses", "build"])?,
        ForgeKind::BitbucketDataCenter => of_repository(spec, &["commits", hash, "builds"])?,
    };
    let description = spec.kind.description(&status.description);
    let state = state(spec.kind, status.state);
    let target = status.target_url.as_deref();
    let mut body = match spec.kind {
        ForgeKind::GitHub | ForgeKind::Gitea => {
            json!({"state": state, "context": context, "description": description})
        }
        ForgeKind::GitLab => json!({"state": state, "name": context, "description": description}),
        ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter => json!({
            "state": state,
            "key": check_name(spec.kind, context),
            "name": context,
            "description": description,
        }),
    };
    // Its check "required builds" goes by this, and never by the key.
    if spec.kind == ForgeKind::BitbucketDataCenter {
        body["parent"] = body["key"].clone();
    }
    let link = match spec.kind {
        ForgeKind::GitHub | ForgeKind::Gitea | ForgeKind::GitLab => "target_url",
        ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter => "url",
    };
    match (target, spec.kind) {
        (Some(target), _) => body[link] = Value::from(target),
        (None, ForgeKind::GitHub | ForgeKind::Gitea | ForgeKind::GitLab) => {}
        (None, ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter) => {
            return Err(Failure::settings(
                "Bitbucket takes no status without a link: start the controller with --external-url"
                    .to_owned(),
            ));
        }
    }
    let doing = "write commit statuses";
    Ok(Request::send(spec, Method::POST, url, body, doing))
}

/// By which the forge knows the status: the context, or its beginning and a digest where that
/// is too long.
pub fn check_name(kind: ForgeKind, context: &str) -> String {
    let limit = match kind {
        ForgeKind::BitbucketCloud => BITBUCKET_KEY,
        ForgeKind::BitbucketDataCenter
        | ForgeKind::GitHub
        | ForgeKind::GitLab
        | ForgeKind::Gitea => 255,
    };
    if context.chars().count() <= limit {
        return context.to_owned();
    }
    let digest = hex::encode(Sha256::digest(context.as_bytes()));
    let start: String = context.chars().take(limit - KEY_DIGEST - 1).collect();
    format!("{start}-{}", &digest[..KEY_DIGEST])
}

fn state(kind: ForgeKind, state: StatusState) -> &'static str {
    match kind {
        ForgeKind::GitHub | ForgeKind::Gitea => match state {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Failure => "failure",
            StatusState::Superseded => "error",
        },
        ForgeKind::GitLab => match state {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Failure => "failed",
            StatusState::Superseded => "canceled",
        },
        ForgeKind::BitbucketCloud => match state {
            StatusState::Pending => "INPROGRESS",
            StatusState::Success => "SUCCESSFUL",
            StatusState::Failure => "FAILED",
            StatusState::Superseded => "STOPPED",
        },
        ForgeKind::BitbucketDataCenter => match state {
            StatusState::Pending => "INPROGRESS",
            StatusState::Success => "SUCCESSFUL",
            StatusState::Failure => "FAILED",
            StatusState::Superseded => "CANCELLED",
        },
    }
}
