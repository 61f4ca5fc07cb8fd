//! What is sent, per vendor; the token excepted.

use reqwest::Url;
use serde_json::{Value, json};

use crate::model::{CommitId, CommitStatus, ForgeKind, ForgeSpec, StatusState};

/// A `POST` that sets a commit's status.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub url: Url,
    /// Beside the token's.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The header that carries the token, and what stands in front of it.
    pub authorization: (&'static str, &'static str),
    pub body: Value,
}

/// The error says what in the source's settings cannot work.
pub fn request(
    spec: &ForgeSpec,
    commit: &CommitId,
    context: &str,
    status: &CommitStatus,
) -> Result<Request, String> {
    spec.check()
        .map_err(|(field, why)| format!("forge.{field}: {why}"))?;
    let hash = &commit.0;
    if !matches!(hash.len(), 40 | 64) || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(format!("\"{hash}\" is not the hash of a commit"));
    }
    let mut url = Url::parse(&spec.api_url).map_err(|e| format!("forge.apiUrl: {e}"))?;
    let at_root = |end: &str| !spec.api_url.trim_end_matches('/').ends_with(end);
    let mut segments: Vec<&str> = Vec::new();
    match spec.kind {
        ForgeKind::GitHub => {}
        ForgeKind::GitLab if at_root("/api/v4") => segments.extend(["api", "v4"]),
        ForgeKind::Gitea if at_root("/api/v1") => segments.extend(["api", "v1"]),
        ForgeKind::GitLab | ForgeKind::Gitea => {}
    }
    match spec.kind {
        ForgeKind::GitHub | ForgeKind::Gitea => {
            segments.push("repos");
            segments.extend(spec.repository.split('/'));
        }
        // One segment: its slashes are escaped.
        ForgeKind::GitLab => segments.extend(["projects", &spec.repository]),
    }
    segments.extend(["statuses", hash]);
    url.path_segments_mut()
        .map_err(|()| "forge.apiUrl: it cannot have a path".to_owned())?
        .pop_if_empty()
        .extend(segments);
    let description = spec.kind.description(&status.description);
    let state = state(spec.kind, status.state);
    Ok(match spec.kind {
        ForgeKind::GitHub => Request {
            url,
            headers: vec![
                ("accept", "application/vnd.github+json"),
                ("x-github-api-version", "2022-11-28"),
            ],
            authorization: ("authorization", "Bearer "),
            body: json!({"state": state, "context": context, "description": description}),
        },
        ForgeKind::Gitea => Request {
            url,
            headers: vec![("accept", "application/json")],
            authorization: ("authorization", "token "),
            body: json!({"state": state, "context": context, "description": description}),
        },
        ForgeKind::GitLab => Request {
            url,
            headers: vec![("accept", "application/json")],
            authorization: ("private-token", ""),
            body: json!({"state": state, "name": context, "description": description}),
        },
    })
}

fn state(kind: ForgeKind, state: StatusState) -> &'static str {
    match (kind, state) {
        (ForgeKind::GitHub | ForgeKind::Gitea | ForgeKind::GitLab, StatusState::Pending) => {
            "pending"
        }
        (ForgeKind::GitHub | ForgeKind::Gitea | ForgeKind::GitLab, StatusState::Success) => {
            "success"
        }
        (ForgeKind::GitHub | ForgeKind::Gitea, StatusState::Failure) => "failure",
        (ForgeKind::GitLab, StatusState::Failure) => "failed",
        (ForgeKind::GitHub | ForgeKind::Gitea, StatusState::Superseded) => "error",
        (ForgeKind::GitLab, StatusState::Superseded) => "canceled",
    }
}
