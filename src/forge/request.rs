//! What is sent, the credentials excepted, and where each vendor's API begins.

use reqwest::{Method, Url};
use serde_json::Value;

use super::failure::Failure;
use crate::model::{CommitId, ForgeKind, ForgeSpec};

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// Beside those of the credentials.
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: Option<Value>,
    /// What a token must be allowed for it: `write commit statuses`.
    pub doing: &'static str,
    pub read: Read,
}

/// How much of the answer is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The status line says it all.
    Verdict,
    /// Half of it is none of it.
    Whole,
}

impl Request {
    pub fn get(spec: &ForgeSpec, url: Url, doing: &'static str) -> Request {
        Request {
            method: Method::GET,
            url,
            headers: headers(spec.kind),
            body: None,
            doing,
            read: Read::Whole,
        }
    }

    /// `POST`, `PUT` or `PATCH`.
    pub fn send(
        spec: &ForgeSpec,
        method: Method,
        url: Url,
        body: Value,
        doing: &'static str,
    ) -> Request {
        Request {
            method,
            url,
            headers: headers(spec.kind),
            body: Some(body),
            doing,
            read: Read::Verdict,
        }
    }

    pub fn query(mut self, pairs: &[(&str, &str)]) -> Request {
        self.url.query_pairs_mut().extend_pairs(pairs);
        self
    }
}

fn headers(kind: ForgeKind) -> Vec<(&'static str, &'static str)> {
    match kind {
        ForgeKind::GitHub => vec![
            ("accept", "application/vnd.github+json"),
            ("x-github-api-version", "2022-11-28"),
        ],
        ForgeKind::GitLab | ForgeKind::Gitea | ForgeKind::BitbucketCloud => {
            vec![("accept", "application/json")]
        }
        // Without it, requests that change something are taken for a browser's and refused.
        ForgeKind::BitbucketDataCenter => vec![
            ("accept", "application/json"),
            ("x-atlassian-token", "no-check"),
        ],
    }
}

/// Root of the API. The address may be given with or without the vendor's own path.
pub fn root(spec: &ForgeSpec) -> Result<Url, Failure> {
    spec.check()
        .map_err(|(field, why)| Failure::settings(format!("forge.{field}: {why}")))?;
    let url =
        Url::parse(&spec.api_url).map_err(|e| Failure::settings(format!("forge.apiUrl: {e}")))?;
    let path = url.path().trim_end_matches('/').to_owned();
    let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    let more: &[&str] = match spec.kind {
        // An Enterprise server; github.com and its kin have a host for the API alone.
        ForgeKind::GitHub
            if path.is_empty() && !url.host_str().is_some_and(|h| h.starts_with("api.")) =>
        {
            &["api", "v3"]
        }
        ForgeKind::GitLab if !ends(&["/api/v4"]) => &["api", "v4"],
        ForgeKind::Gitea if !ends(&["/api/v1"]) => &["api", "v1"],
        ForgeKind::BitbucketCloud if !ends(&["/2.0"]) => &["2.0"],
        ForgeKind::BitbucketDataCenter if !ends(&["/rest/api/1.0", "/rest/api/latest"]) => {
            &["rest", "api", "1.0"]
        }
        ForgeKind::GitHub
        | ForgeKind::GitLab
        | ForgeKind::Gitea
        | ForgeKind::BitbucketCloud
        | ForgeKind::BitbucketDataCenter => &[],
    };
    below(&url, more)
}

/// What the API has below the source's repository.
pub fn of_repository(spec: &ForgeSpec, more: &[&str]) -> Result<Url, Failure> {
    let (owner, name) = spec.repository.split_once('/').unwrap_or_default();
    let mut path = match spec.kind {
        ForgeKind::GitHub | ForgeKind::Gitea => vec!["repos", owner, name],
        // One segment: its slashes are escaped.
        ForgeKind::GitLab => vec!["projects", &spec.repository],
        ForgeKind::BitbucketCloud => vec!["repositories", owner, name],
        ForgeKind::BitbucketDataCenter => vec!["projects", owner, "repos", name],
    };
    path.extend(more);
    below(&root(spec)?, &path)
}

pub fn below(url: &Url, more: &[&str]) -> Result<Url, Failure> {
    let mut url = url.clone();
    url.path_segments_mut()
        .map_err(|()| Failure::settings("forge.apiUrl: it cannot have a path".to_owned()))?
        .pop_if_empty()
        .extend(more);
    Ok(url)
}

/// The hash as it may stand in an address.
pub fn hash(commit: &CommitId) -> Result<&str, Failure> {
    let hash = commit.0.as_str();
    match is_hash(hash) {
        true => Ok(hash),
        false => Err(Failure::settings(format!(
            "\"{hash}\" is not the hash of a commit"
        ))),
    }
}

pub fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.chars().all(|c| c.is_ascii_hexdigit())
}
