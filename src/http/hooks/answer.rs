//! What a sender is told, and what of it is kept.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::HookAnswer;
use crate::forge::hook::Envelope;
use crate::http::Problem;
use crate::model::{DeliveryRecord, DeliveryVerdict, Timestamp, Vendor};

/// Characters of a record's detail.
const MAX_DETAIL: usize = 500;

/// What became of an authentic delivery.
#[derive(Debug)]
pub struct Answer {
    pub vendor: Vendor,
    pub event: String,
    pub id: Option<String>,
    pub verdict: DeliveryVerdict,
    pub detail: String,
}

impl Answer {
    pub fn new(envelope: &Envelope, verdict: DeliveryVerdict, detail: String) -> Answer {
        let (event, id) = (envelope.event.clone(), envelope.id.clone());
        Answer::of(envelope.vendor, event, id, verdict, detail)
    }

    pub fn of(
        vendor: Vendor,
        event: String,
        id: Option<String>,
        verdict: DeliveryVerdict,
        detail: String,
    ) -> Answer {
        Answer {
            vendor,
            event,
            id,
            verdict,
            detail: detail.chars().take(MAX_DETAIL).collect(),
        }
    }

    /// To a forge that tests the connection without signing.
    pub fn unsigned_pong(envelope: &Envelope) -> Answer {
        Answer::new(
            envelope,
            DeliveryVerdict::Pong,
            "deliveries arrive; this test is not signed, so it proves nothing of the secret"
                .to_owned(),
        )
    }

    pub fn record(&self, at: Timestamp) -> DeliveryRecord {
        DeliveryRecord {
            at,
            vendor: Some(self.vendor),
            event: self.event.clone(),
            id: self.id.clone(),
            verdict: self.verdict,
            detail: self.detail.clone(),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = match self.verdict {
            DeliveryVerdict::Accepted | DeliveryVerdict::Ignored | DeliveryVerdict::Replayed => {
                StatusCode::ACCEPTED
            }
            DeliveryVerdict::Pong => StatusCode::OK,
            DeliveryVerdict::Malformed => {
                return Problem::bad_request(self.detail)
                    .with_hint(
                        "the signature is right, so this is the forge's own body: is the webhook \
                         of a kind that is supported, with content type application/json?",
                    )
                    .into_response();
            }
            DeliveryVerdict::Forged => return Problem::forbidden(self.detail).into_response(),
        };
        let body = HookAnswer {
            verdict: self.verdict,
            detail: self.detail,
            vendor: self.vendor,
            event: self.event,
            id: self.id,
        };
        (status, Json(body)).into_response()
    }
}
