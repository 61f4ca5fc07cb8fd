//! Traces for OpenTelemetry: one per commit, from the push to the health of what it touched.
//!
//! Owns what becomes a span ([`trace`]) and its way to a collector ([`otlp`]), set by the
//! usual environment variables and by nothing else. Spans are made from the record of events
//! on the leader: nothing waits for them, and a collector that is slow or away loses spans,
//! never a rollout. Ids follow from the commit and the rollout, so that a trace goes on
//! under another leader and can be looked up by who knows the commit.
//!
//! Deliberately absent: spans of requests and of database calls, metrics and logs by OTLP.

mod otlp;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

pub use otlp::Exporter;
pub use trace::{Began, Outcome, Span, SpanId, TraceId, Tracker, trace_id};

use crate::controller::Handle;
use crate::model::{Event, EventKind};

/// Spans are collected for this long, so that one request carries many.
const BATCH: Duration = Duration::from_millis(500);
/// Most spans of a request.
const BATCH_SPANS: usize = 512;
/// What is left at the end is sent within this time, or lost.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Follows what is committed here until `stop`, and sends spans of it.
pub async fn run(handle: Handle, exporter: Exporter, stop: CancellationToken) {
    let mut events = handle.events();
    let mut tracker = Tracker::new(handle.cluster());
    let mut spans = Vec::new();
    while let Some(event) = stop.run_until_cancelled(events.recv()).await {
        absorb(&handle, &mut tracker, event, &mut spans);
        let due = Instant::now() + BATCH;
        while spans.len() < BATCH_SPANS
            && let Ok(event) = timeout_at(due, events.recv()).await
            && !stop.is_cancelled()
        {
            absorb(&handle, &mut tracker, event, &mut spans);
        }
        let sent = exporter.export(std::mem::take(&mut spans));
        let _ = stop.run_until_cancelled(sent).await;
    }
    while let Ok(event) = events.try_recv() {
        absorb(&handle, &mut tracker, Ok(event), &mut spans);
    }
    // Whoever stops us has a deadline of its own.
    let _ = timeout(LAST_WORDS, exporter.export(spans)).await;
}

fn absorb(
    handle: &Handle,
    tracker: &mut Tracker,
    event: Result<Arc<Event>, RecvError>,
    spans: &mut Vec<Span>,
) {
    let event = match event {
        Ok(event) => event,
        Err(RecvError::Lagged(lost)) => {
            tracing::warn!(
                lost,
                "traces lag behind what happens: some spans are missing"
            );
            return;
        }
        Err(RecvError::Closed) => return,
    };
    let began = match (&event.source, event.kind) {
        (Some(source), EventKind::SyncOk) => handle.sync_status(source).map(|status| Began {
            hinted: status.hinted_at,
            started: status.last_attempt_at,
        }),
        (_, _) => None,
    };
    // `NotLoaded`: there is nothing that a span could be about.
    if let Ok(more) =
        handle.read(|snapshot| tracker.absorb(&event, began.unwrap_or_default(), snapshot))
    {
        spans.extend(more);
    }
}
