//! What a body says, per vendor. Only the few fields that matter are looked at; each may
//! be missing, and then the delivery is malformed rather than guessed at.

mod bitbucket_cloud;
mod bitbucket_data_center;
mod generic;
mod github;
mod gitlab;

use serde::de::DeserializeOwned;

use super::text;
use super::{Event, Malformed, Vendor};
use crate::model::CommitId;

/// `event` is the vendor's word from the headers.
pub fn events(vendor: Vendor, event: &str, body: &[u8]) -> Result<Vec<Event>, Malformed> {
    match vendor {
        Vendor::GitHub => Ok(vec![github::event(event, body)?]),
        // Gitea took over GitHub's shapes, and Forgejo Gitea's.
        Vendor::Gitea | Vendor::Forgejo => Ok(vec![github::event(event, body)?]),
        Vendor::GitLab => Ok(vec![gitlab::event(event, body)?]),
        Vendor::BitbucketCloud => bitbucket_cloud::events(event, body),
        Vendor::BitbucketDataCenter => bitbucket_data_center::events(event, body),
        Vendor::Generic => Ok(vec![generic::event(body)?]),
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|error| {
        let what = match error.is_data() {
            true => "its fields are not as documented",
            false => "it is not JSON",
        };
        // The message may repeat what was sent.
        Malformed(format!("{what}: {}", text::title(&error.to_string())))
    })
}

fn ignored(event: &str) -> Event {
    Event::Ignored {
        event: event.to_owned(),
        why: "only pushes, branches, tags and pull requests concern a source".to_owned(),
    }
}

/// What a push says; not every one names something that moved.
fn or_nothing(event: &str, moves: Vec<Event>) -> Vec<Event> {
    if !moves.is_empty() {
        return moves;
    }
    vec![Event::Ignored {
        event: event.to_owned(),
        why: "it names no branch and no tag".to_owned(),
    }]
}

/// A ref that moved: `after` is `None` where it is gone, `created` where it is new.
enum Moved {
    Created,
    Updated,
    Deleted,
}

/// What the move of a whole ref means; `after` is a branch's head or a tag's commit.
fn moved(full: &str, moved: Moved, after: Option<CommitId>) -> Result<Event, Malformed> {
    if let Some(branch) = full.strip_prefix("refs/heads/") {
        let branch = text::name(branch)?;
        return Ok(match moved {
            Moved::Created => Event::BranchCreated { branch, after },
            Moved::Updated => Event::Push { branch, after },
            Moved::Deleted => Event::BranchDeleted { branch },
        });
    }
    if let Some(tag) = full.strip_prefix("refs/tags/") {
        let name = text::name(tag)?;
        return Ok(match moved {
            Moved::Created | Moved::Updated => Event::Tag {
                name,
                commit: after,
            },
            Moved::Deleted => Event::TagDeleted { name },
        });
    }
    Ok(Event::Ignored {
        event: text::word(full),
        why: "it is neither a branch nor a tag".to_owned(),
    })
}
