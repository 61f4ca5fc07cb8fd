//! Takes bodies in: each bounded in size and time, all of them together bounded in memory.
//!
//! Whoever may send deliveries need not be known, so what they make us hold must not grow
//! with their number. It comes before a follower passes a delivery on.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::{AppState, MAX_BODY_BYTES, Problem};

/// Of all deliveries together: sixteen of the largest.
const MAX_IN_FLIGHT: usize = 64 * 1024 * 1024;
/// From the head to the last byte of the body.
const DEADLINE: Duration = Duration::from_secs(10);
/// In bytes; so a permit is small enough and their number is, too.
const UNIT: usize = 1024;

pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Budget {
        Budget::of(MAX_IN_FLIGHT)
    }
}

impl Budget {
    fn of(bytes: usize) -> Budget {
        Budget(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// The body, and what it holds of the budget. Paid for as it comes, so that only what
    /// was really sent counts.
    async fn read(&self, body: Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
        let mut stream = body.into_data_stream();
        let (mut bytes, mut held) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|_| Problem::bad_request("the body broke off"))?;
            let total = bytes.len() + chunk.len();
            if total > MAX_BODY_BYTES {
                return Err(Problem::too_large(MAX_BODY_BYTES));
            }
            let paid = held.as_ref().map_or(0, |h| h.num_permits() * UNIT);
            let units = total.saturating_sub(paid).div_ceil(UNIT);
            if units > 0 {
                let units = u32::try_from(units).unwrap_or(u32::MAX);
                let more = Arc::clone(&self.0)
                    .try_acquire_many_owned(units)
                    .map_err(|_| {
                        Problem::unavailable("too many deliveries arrive at the same time")
                    })?;
                match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                }
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes.freeze(), held))
    }
}

/// Reads the whole body before anything else is done about the request.
pub async fn take_in(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let declared = parts.headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|n| n > MAX_BODY_BYTES as u64) {
        return Problem::too_large(MAX_BODY_BYTES).into_response();
    }
    match tokio::time::timeout(DEADLINE, state.hooks.intake.read(body)).await {
        Ok(Ok((bytes, _held))) => {
            next.run(Request::from_parts(parts, Body::from(bytes)))
                .await
        }
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::body_too_slow(DEADLINE).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_share_a_budget_and_give_it_back() {
        let budget = Budget::of(10 * UNIT);
        let body = |units: usize| Body::from(vec![b'x'; units * UNIT]);
        let (first, held) = budget.read(body(7)).await.unwrap();
        assert_eq!(first.len(), 7 * UNIT);
        let refused = budget.read(body(4)).await.unwrap_err();
        assert_eq!(refused.details.status, 503);
        assert!(budget.read(body(3)).await.is_ok());
        drop(held);
        assert!(budget.read(body(10)).await.is_ok());
        assert!(budget.read(Body::empty()).await.unwrap().1.is_none());
    }

    #[tokio::test]
    async fn small_pieces_are_not_paid_for_each() {
        let budget = Budget::of(2 * UNIT);
        let pieces = (0..UNIT).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"xy")));
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        assert_eq!(budget.read(body).await.unwrap().0.len(), 2 * UNIT);
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_bounded_too() {
        let budget = Budget::default();
        let endless = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 4096]))
        });
        let refused = budget.read(Body::from_stream(endless)).await.unwrap_err();
        assert_eq!(refused.details.status, 413);
        assert_eq!(budget.0.available_permits(), MAX_IN_FLIGHT / UNIT);
    }
}
