//! `If-Match`: a change is made only if nobody acted since the caller looked.
//!
//! Who sends the `ETag` (or the quoted version) of the document that the change is about, is
//! refused with 412, who and when, where an operator or a commit changed it after that. What
//! nodes report does not count: it moves the version too, but takes no decision away from
//! anybody, and during a rollout it never rests.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use super::{AppState, Problem};
use crate::clock;
use crate::controller::{AsOf, Error, Refusal, Subject};
use crate::model::Event;

/// What was done before that explains nothing any more.
const RECENT: Duration = Duration::from_secs(3600);

/// As of which version the caller has seen the document; `None`: whatever it is.
#[derive(Clone, Copy, Debug)]
pub struct IfMatch(Option<u64>);

impl IfMatch {
    pub const ANY: IfMatch = IfMatch(None);

    pub fn of(self, subject: Subject) -> Option<AsOf> {
        self.0.map(|version| AsOf { subject, version })
    }
}

impl FromRequestParts<AppState> for IfMatch {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<IfMatch, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Ok(IfMatch(None));
        };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(IfMatch(None));
        }
        version(text).map(|v| IfMatch(Some(v))).ok_or_else(|| {
            Problem::bad_request(
                "If-Match takes the ETag of the document that is to be changed, or its version \
                 in quotes",
            )
        })
    }
}

/// Of `"VERSION-HASH"` or `"VERSION"`.
fn version(tag: &str) -> Option<u64> {
    let inner = tag.strip_prefix('"')?.strip_suffix('"')?;
    let (version, _) = inner.split_once('-').unwrap_or((inner, ""));
    version.parse().ok()
}

/// Adds who acted last to a refusal that comes of what somebody did before, and where to look.
pub async fn refused(state: &AppState, subject: Subject, error: Error) -> Problem {
    let conflict = matches!(error, Error::Refused(Refusal::Conflict(_)));
    let overtaken = matches!(error, Error::Overtaken(_));
    let problem = Problem::from(error);
    if overtaken {
        return problem.with_hint(format!("{}, then decide anew", look_at(&subject)));
    }
    if !conflict {
        return problem;
    }
    match state.handle.last_act(&subject, 0).await {
        Ok(Some(event)) if clock::now().since(event.at) < RECENT => problem.after(&event),
        // The refusal stands, whoever caused it.
        Ok(_) | Err(_) => problem,
    }
}

/// The command that shows how it is now.
fn look_at(subject: &Subject) -> String {
    match subject {
        Subject::App(app) => format!("evenkeel status {app}"),
        Subject::Source(source) => format!("evenkeel source show {source}"),
        Subject::Node(_) => "evenkeel nodes".to_owned(),
    }
}

/// `jane at 2026-…: jane suspended shop/web`.
pub fn words(event: &Event) -> String {
    format!("{} at {}: {}", who(event), event.at, event.message)
}

/// The operator's name, or the source's.
pub fn who(event: &Event) -> String {
    use crate::model::Actor;
    match &event.actor {
        Actor::User(name) => name.clone(),
        Actor::Git(source) => format!("source {source}"),
        Actor::Agent(node) => format!("node {node}"),
        Actor::Controller => "the controller".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_read_from_a_tag_or_alone() {
        assert_eq!(version("\"12-abc\""), Some(12));
        assert_eq!(version("\"12\""), Some(12));
        for odd in ["12", "W/\"12-abc\"", "\"abc\"", "\"\"", "\"-1\"", ""] {
            assert_eq!(version(odd), None, "{odd}");
        }
    }
}
