//! Bitbucket Cloud's shapes. A push tells several branches and tags at once; hashes of
//! pull requests are cut to their first digits.

use serde::Deserialize;

use super::super::{Event, Malformed, PullRequestAction, PullRequestEvent, text};
use super::{Moved, ignored, json, moved, or_nothing};

#[derive(Deserialize)]
struct Pushed {
    push: Option<Push>,
}

#[derive(Deserialize)]
struct Push {
    changes: Option<Vec<Change>>,
}

#[derive(Deserialize)]
struct Change {
    old: Option<Ref>,
    new: Option<Ref>,
}

#[derive(Deserialize)]
struct Ref {
    r#type: Option<String>,
    name: Option<String>,
    target: Option<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    hash: Option<String>,
}

#[derive(Deserialize)]
struct PullRequest {
    pullrequest: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    id: Option<u64>,
    title: Option<String>,
    source: Option<Side>,
    destination: Option<Side>,
    merge_commit: Option<Commit>,
}

#[derive(Deserialize)]
struct Side {
    branch: Option<Branch>,
    commit: Option<Commit>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Branch {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    uuid: Option<String>,
    full_name: Option<String>,
}

pub fn events(event: &str, body: &[u8]) -> Result<Vec<Event>, Malformed> {
    let action = match event {
        "repo:push" => {
            let pushed: Pushed = json(body)?;
            let push = text::needed(pushed.push, "push")?;
            let changes = text::needed(push.changes, "push.changes")?;
            let events: Result<Vec<Event>, Malformed> = changes.into_iter().map(change).collect();
            return Ok(or_nothing(event, events?));
        }
        "pullrequest:created" => PullRequestAction::Opened,
        // New commits or new words: it does not say which.
        "pullrequest:updated" => PullRequestAction::Updated,
        "pullrequest:fulfilled" => PullRequestAction::Closed { merged: true },
        "pullrequest:rejected" => PullRequestAction::Closed { merged: false },
        other => return Ok(vec![ignored(other)]),
    };
    let request: PullRequest = json(body)?;
    pull_request(text::needed(request.pullrequest, "pullrequest")?, action).map(|e| vec![e])
}

fn change(change: Change) -> Result<Event, Malformed> {
    let (named, kind) = match (change.old, change.new) {
        (None, Some(new)) => (new, Moved::Created),
        (Some(_), Some(new)) => (new, Moved::Updated),
        (Some(old), None) => (old, Moved::Deleted),
        (None, None) => return Err(Malformed("a change has neither old nor new".to_owned())),
    };
    let name = text::needed(named.name, "name of a branch or tag")?;
    let full = match named.r#type.as_deref() {
        Some("branch" | "named_branch" | "bookmark") => format!("refs/heads/{name}"),
        Some("tag" | "annotated_tag") => format!("refs/tags/{name}"),
        Some(other) => {
            return Ok(Event::Ignored {
                event: text::word(other),
                why: "it is neither a branch nor a tag".to_owned(),
            });
        }
        None => return Err(Malformed("a change has no type".to_owned())),
    };
    let hash = named.target.and_then(|t| t.hash);
    moved(&full, kind, text::optional_commit(hash.as_deref())?)
}

fn pull_request(request: Request, action: PullRequestAction) -> Result<Event, Malformed> {
    let source = text::needed(request.source, "source")?;
    let destination = text::needed(request.destination, "destination")?;
    let of = |side: &Side| {
        let repository = side.repository.as_ref()?;
        repository.uuid.clone().or(repository.full_name.clone())
    };
    let from_fork = of(&source).is_none() || of(&source) != of(&destination);
    let branch =
        |side: Side, what: &str| text::name(&text::needed(side.branch.and_then(|b| b.name), what)?);
    let head = source.commit.as_ref().and_then(|c| c.hash.as_deref());
    let head = text::abbreviated(text::needed(head, "source.commit.hash")?)?;
    let merge = request.merge_commit.and_then(|c| c.hash);
    Ok(Event::PullRequest(PullRequestEvent {
        number: text::needed(request.id, "id")?,
        action,
        base: branch(destination, "destination.branch.name")?,
        head_ref: branch(source, "source.branch.name")?,
        head,
        merge: merge.as_deref().map(text::abbreviated).transpose()?,
        from_fork,
        title: text::title(&request.title.unwrap_or_default()),
    }))
}
