//! Bitbucket Data Center's shapes. A push tells several refs at once.

use serde::Deserialize;

use super::super::{Event, Malformed, PullRequestAction, PullRequestEvent, text};
use super::{Moved, ignored, json, moved, or_nothing};

#[derive(Deserialize)]
struct RefsChanged {
    changes: Option<Vec<Change>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    r#ref: Option<Ref>,
    ref_id: Option<String>,
    to_hash: Option<String>,
    r#type: Option<String>,
}

#[derive(Deserialize)]
struct Ref {
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullRequest {
    pull_request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    id: Option<u64>,
    title: Option<String>,
    from_ref: Option<Side>,
    to_ref: Option<Side>,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    id: Option<String>,
    latest_commit: Option<String>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    id: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    merge_commit: Option<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    id: Option<String>,
}

pub fn events(event: &str, body: &[u8]) -> Result<Vec<Event>, Malformed> {
    let action = match event {
        "diagnostics:ping" => return Ok(vec![Event::Ping]),
        "repo:refs_changed" => {
            let changed: RefsChanged = json(body)?;
            let changes = text::needed(changed.changes, "changes")?;
            let events: Result<Vec<Event>, Malformed> = changes.into_iter().map(change).collect();
            return Ok(or_nothing(event, events?));
        }
        "pr:opened" => PullRequestAction::Opened,
        "pr:from_ref_updated" => PullRequestAction::Updated,
        "pr:modified" => PullRequestAction::Edited,
        "pr:reopened" => PullRequestAction::Reopened,
        "pr:merged" => PullRequestAction::Closed { merged: true },
        "pr:declined" | "pr:deleted" => PullRequestAction::Closed { merged: false },
        other => return Ok(vec![ignored(other)]),
    };
    let request: PullRequest = json(body)?;
    pull_request(text::needed(request.pull_request, "pullRequest")?, action).map(|e| vec![e])
}

fn change(change: Change) -> Result<Event, Malformed> {
    let full = change.r#ref.and_then(|r| r.id).or(change.ref_id);
    let full = text::needed(full, "ref.id")?;
    let to = text::commit(&text::needed(change.to_hash, "toHash")?)?;
    let kind = match (change.r#type.as_deref(), &to) {
        (Some("DELETE"), _) | (_, None) => Moved::Deleted,
        (Some("ADD"), Some(_)) => Moved::Created,
        (Some(_) | None, Some(_)) => Moved::Updated,
    };
    // Of an annotated tag it is the tag's own object, and it does not say so.
    let after = to.filter(|_| !full.starts_with("refs/tags/"));
    moved(&full, kind, after)
}

fn pull_request(request: Request, action: PullRequestAction) -> Result<Event, Malformed> {
    let from = text::needed(request.from_ref, "fromRef")?;
    let to = text::needed(request.to_ref, "toRef")?;
    let of = |side: &Side| side.repository.as_ref().and_then(|r| r.id);
    let from_fork = of(&from).is_none() || of(&from) != of(&to);
    let branch = |id: Option<String>, what: &str| {
        let id = text::needed(id, what)?;
        text::name(id.strip_prefix("refs/heads/").unwrap_or(&id))
    };
    let head = text::needed(from.latest_commit, "fromRef.latestCommit")?;
    let merge = request.properties.and_then(|p| p.merge_commit?.id);
    Ok(Event::PullRequest(PullRequestEvent {
        number: text::needed(request.id, "id")?,
        action,
        base: branch(to.id, "toRef.id")?,
        head_ref: branch(from.id, "fromRef.id")?,
        head: text::needed(text::commit(&head)?, "fromRef.latestCommit")?,
        merge: text::optional_commit(merge.as_deref())?,
        from_fork,
        title: text::title(&request.title.unwrap_or_default()),
    }))
}
