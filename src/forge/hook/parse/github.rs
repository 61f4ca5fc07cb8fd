//! GitHub's shapes, which Gitea and Forgejo took over with a word or two changed.
//!
//! One action sends several events: a new branch `create` and `push` in either order, a
//! deleted tag `push` and `delete`.

use serde::Deserialize;

use super::super::{Event, Malformed, PullRequestAction, PullRequestEvent, text};
use super::{Moved, ignored, json, moved};

#[derive(Deserialize)]
struct Push {
    r#ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    #[serde(default)]
    deleted: Option<bool>,
    /// Of a tag, `after` may be the tag's own object; this is its commit.
    head_commit: Option<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    id: Option<String>,
}

/// `create` and `delete`: their `ref` is the short name.
#[derive(Deserialize)]
struct Named {
    r#ref: Option<String>,
    ref_type: Option<String>,
    /// Gitea's alone.
    sha: Option<String>,
}

#[derive(Deserialize)]
struct PullRequest {
    action: Option<String>,
    number: Option<u64>,
    pull_request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    number: Option<u64>,
    title: Option<String>,
    merged: Option<bool>,
    merge_commit_sha: Option<String>,
    head: Option<Side>,
    base: Option<Side>,
}

#[derive(Deserialize)]
struct Side {
    r#ref: Option<String>,
    sha: Option<String>,
    /// `null` once a fork was deleted.
    repo: Option<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    id: Option<i64>,
}

pub fn event(event: &str, body: &[u8]) -> Result<Event, Malformed> {
    match event {
        "ping" => Ok(Event::Ping),
        "push" => push(json(body)?),
        "create" => named(json(body)?, Moved::Created),
        "delete" => named(json(body)?, Moved::Deleted),
        // Gitea tells new commits, labels and the like by a word of their own.
        "pull_request" | "pull_request_sync" => pull_request(json(body)?),
        other => Ok(ignored(other)),
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
    if push.deleted == Some(true) && after.is_some() {
        return Err(Malformed("it is deleted and has a commit".to_owned()));
    }
    let is_tag = full.starts_with("refs/tags/");
    let after = match is_tag {
        true => text::optional_commit(push.head_commit.and_then(|c| c.id).as_deref())?,
        false => after,
    };
    moved(&full, kind, after)
}

fn named(named: Named, kind: Moved) -> Result<Event, Malformed> {
    let short = text::needed(named.r#ref, "ref")?;
    let full = match named.ref_type.as_deref() {
        Some("branch") => format!("refs/heads/{short}"),
        Some("tag") => format!("refs/tags/{short}"),
        Some(other) => {
            return Ok(Event::Ignored {
                event: text::word(other),
                why: "it is neither a branch nor a tag".to_owned(),
            });
        }
        None => return Err(Malformed("it has no ref_type".to_owned())),
    };
    let after = match full.starts_with("refs/heads/") {
        true => text::optional_commit(named.sha.as_deref())?,
        false => None,
    };
    moved(&full, kind, after)
}

fn pull_request(event: PullRequest) -> Result<Event, Malformed> {
    let request = text::needed(event.pull_request, "pull_request")?;
    let (head, base) = (
        text::needed(request.head, "head")?,
        text::needed(request.base, "base")?,
    );
    let merged = request.merged.unwrap_or(false);
    let action = match text::needed(event.action, "action")?.as_str() {
        "opened" => PullRequestAction::Opened,
        "synchronize" | "synchronized" => PullRequestAction::Updated,
        "reopened" => PullRequestAction::Reopened,
        "closed" => PullRequestAction::Closed { merged },
        "edited" => PullRequestAction::Edited,
        _ => PullRequestAction::Other,
    };
    let of = |side: &Side| side.repo.as_ref().and_then(|r| r.id);
    // A deleted fork was one.
    let from_fork = of(&head).is_none() || of(&head) != of(&base);
    let number = text::needed(event.number.or(request.number), "number")?;
    Ok(Event::PullRequest(PullRequestEvent {
        number,
        action,
        base: text::name(&text::needed(base.r#ref, "base.ref")?)?,
        head_ref: text::name(&text::needed(head.r#ref, "head.ref")?)?,
        head: text::needed(
            text::commit(&text::needed(head.sha, "head.sha")?)?,
            "head.sha",
        )?,
        merge: text::optional_commit(request.merge_commit_sha.as_deref())?,
        from_fork,
        title: text::title(&request.title.unwrap_or_default()),
    }))
}
