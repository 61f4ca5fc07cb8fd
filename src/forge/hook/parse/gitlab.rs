//! GitLab's shapes. The body names its kind itself, also in system hooks.

use serde::Deserialize;

use super::super::{Event, Malformed, PullRequestAction, PullRequestEvent, text};
use super::{Moved, ignored, json, moved};

#[derive(Deserialize)]
struct Kind {
    object_kind: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    r#ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    /// Of a tag the commit; `after` may be the tag's own object.
    checkout_sha: Option<String>,
}

#[derive(Deserialize)]
struct MergeRequest {
    object_attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    iid: Option<u64>,
    title: Option<String>,
    action: Option<String>,
    /// Head before a push; there only when there was one.
    oldrev: Option<String>,
    source_branch: Option<String>,
    target_branch: Option<String>,
    source_project_id: Option<i64>,
    target_project_id: Option<i64>,
    last_commit: Option<Commit>,
    merge_commit_sha: Option<String>,
}

#[derive(Deserialize)]
struct Commit {
    id: Option<String>,
}

pub fn event(event: &str, body: &[u8]) -> Result<Event, Malformed> {
    let hooks = [
        "Push Hook",
        "Tag Push Hook",
        "Merge Request Hook",
        "System Hook",
    ];
    if !hooks.contains(&event) {
        return Ok(ignored(event));
    }
    let kind: Kind = json(body)?;
    match kind.object_kind.as_deref() {
        Some("push" | "tag_push") => push(json(body)?),
        Some("merge_request") => merge_request(json(body)?),
        Some(other) => Ok(ignored(&text::word(other))),
        // Most system hooks speak of users and projects.
        None if event == "System Hook" => Ok(ignored(event)),
        None => Err(Malformed("it has no object_kind".to_owned())),
    }
}

fn push(push: Push) -> Result<Event, Malformed> {
    let full = text::needed(push.r#ref, "ref")?;
    let before = text::optional_commit(push.before.as_deref())?;
    let after = text::commit(&text::needed(push.after, "after")?)?;
    let kind = match (&before, &after) {
        (_, None) => Moved::Deleted,
        (None, Some(_)) => Moved::Created,
        (Some(_), Some(_)) => Moved::Updated,
    };
    let after = match full.starts_with("refs/tags/") {
        true => text::optional_commit(push.checkout_sha.as_deref())?,
        false => after,
    };
    moved(&full, kind, after)
}

fn merge_request(event: MergeRequest) -> Result<Event, Malformed> {
    let request = text::needed(event.object_attributes, "object_attributes")?;
    let action = match request.action.as_deref() {
        Some("open") => PullRequestAction::Opened,
        Some("update") if request.oldrev.is_some() => PullRequestAction::Updated,
        Some("update") => PullRequestAction::Edited,
        Some("reopen") => PullRequestAction::Reopened,
        Some("close") => PullRequestAction::Closed { merged: false },
        Some("merge") => PullRequestAction::Closed { merged: true },
        Some(_) | None => PullRequestAction::Other,
    };
    let head = text::needed(request.last_commit.and_then(|c| c.id), "last_commit.id")?;
    let source = text::needed(request.source_branch, "source_branch")?;
    let target = text::needed(request.target_branch, "target_branch")?;
    Ok(Event::PullRequest(PullRequestEvent {
        number: text::needed(request.iid, "iid")?,
        action,
        base: text::name(&target)?,
        head_ref: text::name(&source)?,
        head: text::needed(text::commit(&head)?, "last_commit.id")?,
        merge: text::optional_commit(request.merge_commit_sha.as_deref())?,
        // The source's project is null once a fork was deleted.
        from_fork: request.source_project_id.is_none()
            || request.source_project_id != request.target_project_id,
        title: text::title(&request.title.unwrap_or_default()),
    }))
}
