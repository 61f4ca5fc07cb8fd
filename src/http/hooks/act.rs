//! What the events of an authentic delivery lead to.

use super::{Answer, AppState, Followed, Problem};
use crate::controller;
use crate::forge::hook::{Delivery, Event};
use crate::model::{CommitId, DeliveryVerdict};

/// Reasons that are told of one delivery.
const MAX_REASONS: usize = 3;

/// What one event asks for.
enum Wish {
    Sync(String),
    /// A look at the pull requests.
    Plan(String),
    Pong,
    Nothing(String),
}

/// Does what the delivery asks for; nothing of it waits. `known`: it came before.
pub fn act(
    state: &AppState,
    followed: &Followed,
    delivery: &Delivery,
    known: bool,
) -> Result<Answer, Problem> {
    let answer = |verdict, detail| {
        let event = delivery.event.clone();
        Ok(Answer::of(
            delivery.vendor,
            event,
            delivery.id.clone(),
            verdict,
            detail,
        ))
    };
    if known && delivery.id.is_some() {
        return answer(
            DeliveryVerdict::Replayed,
            "it was delivered before; nothing is done again".to_owned(),
        );
    }
    let (mut done, mut plans, mut pong, mut left) = (Vec::new(), Vec::new(), false, Vec::new());
    for event in &delivery.events {
        match wish(followed, event) {
            Wish::Sync(why) => done.push(why),
            Wish::Plan(why) => plans.push(why),
            Wish::Pong => pong = true,
            Wish::Nothing(why) => left.push(why),
        }
    }
    if !plans.is_empty() {
        state.handle.trigger_pulls(&followed.name)?;
    }
    if let Some(why) = done.first() {
        match state.handle.hint_sync(&followed.name) {
            Ok(()) => {}
            Err(controller::Error::Refused(refusal)) => {
                return answer(DeliveryVerdict::Ignored, refusal.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        let asked = format!("{why}: a sync of source {} was asked for", followed.name);
        return match known {
            false => answer(DeliveryVerdict::Accepted, asked),
            // Without a number of its own it may as well be a second push of the same.
            true => answer(
                DeliveryVerdict::Replayed,
                format!("the same was delivered before, and it has no id to tell; {asked}"),
            ),
        };
    }
    if let Some(why) = plans.first() {
        let verdict = match known {
            false => DeliveryVerdict::Accepted,
            true => DeliveryVerdict::Replayed,
        };
        return answer(verdict, format!("{why}: its plan was asked for"));
    }
    if pong && left.is_empty() {
        return answer(
            DeliveryVerdict::Pong,
            format!("deliveries of {} arrive", delivery.vendor.title()),
        );
    }
    left.truncate(MAX_REASONS);
    answer(DeliveryVerdict::Ignored, left.join("; "))
}

fn wish(followed: &Followed, event: &Event) -> Wish {
    let branch = |branch: &str, what: String| {
        if branch == followed.branch {
            Wish::Sync(what)
        } else {
            Wish::Nothing(format!(
                "branch {branch} is not followed, {} is",
                followed.branch
            ))
        }
    };
    let tag = |name: &str| {
        Wish::Nothing(format!(
            "tag {name} is not followed, branch {} is",
            followed.branch
        ))
    };
    let at = |after: &Option<CommitId>| {
        let after = after.as_ref().map(|c| format!(" to {}", c.short()));
        after.unwrap_or_default()
    };
    match event {
        Event::Push { branch: b, after } => branch(b, format!("branch {b} moved{}", at(after))),
        Event::BranchCreated { branch: b, after } => {
            let to = after.as_ref().map(|c| format!(" at {}", c.short()));
            branch(b, format!("branch {b} is new{}", to.unwrap_or_default()))
        }
        Event::BranchDeleted { branch: b } => branch(b, format!("branch {b} was deleted")),
        Event::Tag { name, .. } | Event::TagDeleted { name } => tag(name),
        Event::PullRequest(request) => {
            let what = format!("pull request {} into {}", request.number, request.base);
            if request.base != followed.branch {
                Wish::Nothing(format!("{what}: branch {} is followed", followed.branch))
            } else if followed.plans {
                Wish::Plan(what)
            } else {
                Wish::Nothing(format!(
                    "{what}: source {} plans no pull requests (it has no forge, or was told so)",
                    followed.name
                ))
            }
        }
        Event::Changed => Wish::Sync("something changed".to_owned()),
        Event::Ping => Wish::Pong,
        Event::Ignored { event, why } => Wish::Nothing(match event.as_str() {
            "" => why.clone(),
            event => format!("{event}: {why}"),
        }),
    }
}

#[cfg(test)]
mod tests;
