//! Errors as problem documents that say what to do.

use axum::extract::{OriginalUri, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::if_match;
use crate::api::ProblemDetails;
use crate::api::error::{LastAct, MEDIA_TYPE};
use crate::controller::{self, Refusal};
use crate::model::Event;
use crate::store;

/// Where nothing better can be said.
const SEE_DOCS: &str = "/docs tells what each path takes";

/// A refusal on its way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub details: Box<ProblemDetails>,
    /// `WWW-Authenticate`, for 401.
    challenge: Option<&'static str>,
    /// `Retry-After` in seconds, where waiting helps.
    retry_after: Option<u64>,
}

impl Problem {
    fn new(slug: &str, title: &str, status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            details: Box::new(ProblemDetails::new(slug, title, status.as_u16(), detail)),
            challenge: None,
            retry_after: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.details.hint = Some(hint.into());
        self
    }

    fn retry_after(mut self, seconds: u64) -> Problem {
        self.retry_after = Some(seconds);
        self
    }

    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(
            "bad-request",
            "The request cannot be understood",
            StatusCode::BAD_REQUEST,
            detail,
        )
        .hint(SEE_DOCS)
    }

    pub fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(
            "invalid",
            "The request is understood but not valid",
            StatusCode::UNPROCESSABLE_ENTITY,
            detail,
        )
        .hint(SEE_DOCS)
    }

    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(
            "not-found",
            "There is no such thing",
            StatusCode::NOT_FOUND,
            detail,
        )
        .hint("the lists tell what there is: evenkeel apps, source list, nodes, token list")
    }

    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(
            "conflict",
            "The cluster's state does not allow it",
            StatusCode::CONFLICT,
            detail,
        )
        .hint("evenkeel events tells what was done before")
    }

    /// Somebody acted after the caller had looked.
    pub fn overtaken(act: &Event) -> Problem {
        let words = if_match::words(act);
        let mut problem = Problem::new(
            "overtaken",
            "Somebody else acted in between",
            StatusCode::PRECONDITION_FAILED,
            format!("nothing was changed, since it is not as you saw it: {words}"),
        )
        .hint("look again, then decide anew");
        problem.details.last_act = Some(last_act(act));
        problem
    }

    /// A refusal that may come of `act`.
    pub fn after(mut self, act: &Event) -> Problem {
        let first = act.message.split(". ").next().unwrap_or_default();
        let told = [&*act.at.to_string(), first]
            .iter()
            .any(|words| self.details.detail.contains(words));
        if !told {
            let detail = self.details.detail.trim_end_matches('.');
            self.details.detail = format!("{detail}. The last to act was {}", if_match::words(act));
        }
        self.details.last_act = Some(last_act(act));
        self
    }

    pub fn ended() -> Problem {
        Problem::unauthorized("the token ended meanwhile", "Bearer realm=\"evenkeel\"")
    }

    pub fn too_large(limit: usize) -> Problem {
        Problem::new(
            "too-large",
            "The request's body is too large",
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("at most {limit} bytes are taken"),
        )
        .hint("send less at a time")
    }

    pub fn unsupported_media_type(detail: impl Into<String>) -> Problem {
        Problem::new(
            "unsupported-media-type",
            "The request's body is of an unknown type",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            detail,
        )
        .hint("send JSON with Content-Type: application/json")
    }

    /// No token, or a wrong one.
    pub fn unauthorized(detail: &str, challenge: &'static str) -> Problem {
        let mut problem = Problem::new(
            "unauthorized",
            "A valid token is needed",
            StatusCode::UNAUTHORIZED,
            detail,
        )
        .hint("send Authorization: Bearer TOKEN; the admin's token is in DATA_DIR/admin-token");
        problem.challenge = Some(challenge);
        problem
    }

    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(
            "forbidden",
            "Access is refused",
            StatusCode::FORBIDDEN,
            detail,
        )
        .hint("ask an admin for a token that may: evenkeel token create NAME")
    }

    pub fn with_hint(self, hint: impl Into<String>) -> Problem {
        self.hint(hint)
    }

    /// Nothing was begun for it.
    pub fn body_too_slow(within: std::time::Duration) -> Problem {
        Problem::new(
            "timeout",
            "It took too long",
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {} s", within.as_secs()),
        )
        .hint("send it again; nothing was begun for it")
    }

    pub fn too_slow() -> Problem {
        Problem::new(
            "timeout",
            "It took too long",
            StatusCode::GATEWAY_TIMEOUT,
            "the request was given up; if it changes something, look whether it did",
        )
        .hint("evenkeel events tells what was done")
    }

    pub fn no_database() -> Problem {
        Problem::new(
            "unavailable",
            "Not available at present",
            StatusCode::SERVICE_UNAVAILABLE,
            "this needs the database, and this server has none",
        )
        .hint("GET /readyz tells what it waits for")
    }

    /// `leader`: why it cannot be reached, in our own words.
    pub fn no_leader(detail: impl Into<String>) -> Problem {
        Problem::new(
            "no-leader",
            "No controller can take it at present",
            StatusCode::SERVICE_UNAVAILABLE,
            detail,
        )
        .hint("try again in a few seconds; GET /readyz tells who leads")
        .retry_after(2)
    }

    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(
            "unavailable",
            "Not available at present",
            StatusCode::SERVICE_UNAVAILABLE,
            detail,
        )
        .hint("try again in a few seconds; GET /readyz tells what it waits for")
        .retry_after(2)
    }

    pub(super) fn internal(detail: impl Into<String>) -> Problem {
        Problem::new(
            "internal",
            "A bug in Evenkeel",
            StatusCode::INTERNAL_SERVER_ERROR,
            detail,
        )
        .hint("the server's log has the details; please report it")
    }
}

fn last_act(act: &Event) -> LastAct {
    LastAct {
        by: if_match::who(act),
        at: act.at,
        what: act.message.clone(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.details.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.details).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(challenge) = self.challenge {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::NotFound(what) => Problem::not_found(what),
            Refusal::Conflict(what) => Problem::conflict(what),
            Refusal::Invalid(what) => Problem::invalid(what),
        }
    }
}

impl From<controller::Error> for Problem {
    fn from(error: controller::Error) -> Problem {
        use controller::Error as E;
        let text = error.to_string();
        match error {
            E::Refused(refusal) => refusal.into(),
            E::Overtaken(act) => Problem::overtaken(&act),
            E::NotLeader { .. } => Problem::no_leader(text),
            E::NotLoaded | E::Unavailable(_) | E::Stopping => Problem::unavailable(text),
            E::OutcomeUnknown(_) => Problem::unavailable(text),
            E::NoSource(_) => Problem::not_found(text).hint("evenkeel source list"),
            E::NoAgent(_) => Problem::unavailable(text).hint("evenkeel nodes"),
            E::NoStream => Problem::not_found(text),
            E::Internal(cause) => {
                tracing::error!(error = %cause, "a decision does not fit the cluster state");
                Problem::internal(text)
            }
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Problem {
        if error.is_retryable() {
            return Problem::unavailable("the database does not answer");
        }
        tracing::error!(%error, "a read from the database failed");
        Problem::internal("the database could not be read")
    }
}

pub async fn no_such_path(uri: OriginalUri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
        .hint("the API is below /api/v1: apps, sources, nodes, events")
}

pub async fn no_such_method(request: Request) -> Problem {
    Problem::new(
        "method-not-allowed",
        "The method does not fit the path",
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{} does not take {}",
            request.uri().path(),
            request.method()
        ),
    )
    .hint(SEE_DOCS)
}
