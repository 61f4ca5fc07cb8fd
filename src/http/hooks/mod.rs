//! `POST /hooks/{source}`: a forge says that something happened.
//!
//! The body is bounded, then proven authentic over its raw bytes, and only then parsed.
//! The answer never waits for Git or the database: what is asked for happens later, and
//! many deliveries ask for one sync. Whatever comes from outside is bounded: bodies in
//! flight, deliveries remembered, lines in the log. A delivery that is not authentic is
//! counted and does nothing else.

mod act;
mod answer;
mod intake;
mod quiet;
mod secret;
mod seen;
mod setup;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};

use super::extract::{RawBody, SourceParam};
use super::{AppState, Problem};
use crate::clock;
use crate::forge::hook::{Envelope, Forged, Headers};
use crate::model::{DeliveryRecord, DeliveryVerdict, SourceName};
pub use answer::Answer;
pub use intake::take_in;
use seen::Key;
pub use setup::{setup, vendor_of};

/// What all deliveries share.
#[derive(Default)]
pub struct Hooks {
    intake: intake::Budget,
    seen: seen::Seen,
    quiet: quiet::Quiet,
}

/// What of a source concerns its deliveries.
pub struct Followed {
    pub name: SourceName,
    pub branch: String,
    /// Pull requests into it are planned.
    pub plans: bool,
    secret_file: Option<String>,
}

struct Given<'a>(&'a HeaderMap);

impl Headers for Given<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?;
        Some(value.to_str().unwrap_or_default())
    }
}

pub async fn receive(
    State(state): State<AppState>,
    SourceParam(name): SourceParam,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Response {
    let followed = state.handle.read(|s| {
        let spec = &s.sources.get(&name)?.spec;
        Some(Followed {
            name: name.clone(),
            branch: spec.branch.clone(),
            plans: spec.forge.is_some() && spec.pull_requests.plan,
            secret_file: spec.webhook_secret_file.clone(),
        })
    });
    let followed = match followed {
        Ok(Some(followed)) => followed,
        Ok(None) => {
            return Problem::not_found(format!("there is no source {name}")).into_response();
        }
        Err(error) => return Problem::from(error).into_response(),
    };
    let (envelope, offered) = Envelope::of(&Given(&headers));
    if envelope.is_unsigned_test() {
        // It reaches us, and that is all that anybody learns or causes by it.
        return Answer::unsigned_pong(&envelope).into_response();
    }
    if let Err(refused) = prove(&followed, &envelope, offered, &body).await {
        return refuse(&state, &followed, &envelope, refused);
    }
    let answer = match envelope.open(&body) {
        Ok(delivery) => {
            let key = Key::new(&name, &envelope, &body);
            let known = !state.hooks.seen.insert(key);
            match act::act(&state, &followed, &delivery, known) {
                Ok(answer) => answer,
                Err(problem) => {
                    // It was not taken: the same may come again.
                    if !known {
                        state.hooks.seen.remove(&key);
                    }
                    return problem.into_response();
                }
            }
        }
        Err(malformed) => Answer::new(
            &envelope,
            DeliveryVerdict::Malformed,
            format!("the body cannot be read: {malformed}"),
        ),
    };
    tracing::debug!(source = %name, vendor = answer.vendor.as_str(), event = answer.event, verdict = answer.verdict.as_str(), detail = answer.detail, "a delivery");
    state
        .handle
        .record_delivery(&name, answer.record(clock::now()));
    answer.into_response()
}

async fn prove(
    followed: &Followed,
    envelope: &Envelope,
    offered: Result<(), Forged>,
    body: &[u8],
) -> Result<(), Forged> {
    let file = secret::file(followed)?;
    offered?;
    let secret = secret::read(followed, file).await?;
    envelope.verify(&secret, body, clock::now())
}

/// Counts it, says so in the log now and then, and tells the sender why.
fn refuse(state: &AppState, followed: &Followed, envelope: &Envelope, forged: Forged) -> Response {
    let source = &followed.name;
    if let Some(more) = state.hooks.quiet.speak(source) {
        tracing::warn!(%source, vendor = envelope.vendor.as_str(), event = envelope.event, why = forged.why, not_told = more, "a delivery was refused");
    }
    let record = DeliveryRecord {
        at: clock::now(),
        vendor: Some(envelope.vendor),
        event: envelope.event.clone(),
        id: envelope.id.clone(),
        verdict: DeliveryVerdict::Forged,
        detail: forged.why.clone(),
    };
    state.handle.record_delivery(source, record);
    Problem::forbidden(forged.why)
        .with_hint(forged.hint)
        .into_response()
}
