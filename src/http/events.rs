//! `/events`: pages of the record, or a live stream where the client asks for one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::auth::Caller;
use super::extract::Params;
use super::{AppState, Problem};
use crate::api::Page;
use crate::api::event::{GAP, Gap};
use crate::api::list::bounded;
use crate::controller::Handle;
use crate::model::{AppKey, Event, EventKind, SourceName};
use crate::store::{EventQuery, Seen, Store};

/// Between two comments that show a silent stream to be alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events read from the store at once while a stream catches up.
const CATCH_UP_PAGE: u32 = 500;
/// Events that a stream catches up at most; beyond that reading the present state is cheaper.
const MAX_CATCH_UP: u32 = 10_000;
/// Events a stream may hold for a slow client; beyond that the client sets the pace.
const BUFFER: usize = 64;

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventParams {
    /// `project/app`.
    app: Option<AppKey>,
    source: Option<SourceName>,
    kind: Option<EventKind>,
    after: Option<i64>,
    before: Option<i64>,
    limit: Option<usize>,
}

impl EventParams {
    fn query(&self, seen: Option<Seen>, limit: u32) -> EventQuery {
        EventQuery {
            after_id: self.after,
            before_id: self.before,
            app: self.app.clone(),
            source: self.source.clone(),
            kind: self.kind,
            seen,
            limit,
        }
    }

    fn matches(&self, event: &Event) -> bool {
        (self.app.is_none() || event.app == self.app)
            && (self.source.is_none() || event.source == self.source)
            && self.kind.is_none_or(|k| event.kind == k)
    }
}

pub async fn list(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<EventParams>,
) -> Result<Response, Problem> {
    let live = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("text/event-stream"));
    if live {
        stream(state, caller, &headers, params).await
    } else {
        page(state, caller, params).await
    }
}

/// Oldest first. With `after` the ones that follow it, else the latest (before `before`).
async fn page(state: AppState, caller: Caller, params: EventParams) -> Result<Response, Problem> {
    let limit = bounded(params.limit);
    let seen = state.handle.read(|s| caller.seen(s))?;
    let query = params.query(seen, u32::try_from(limit).unwrap_or(u32::MAX));
    let mut events = state.store()?.events(&query).await?;
    let next = if params.after.is_some() {
        events
            .last()
            .filter(|_| events.len() == limit)
            .map(|e| e.id.to_string())
    } else {
        events.reverse();
        None
    };
    Ok(Json(Page {
        items: events,
        next,
    })
    .into_response())
}

async fn stream(
    state: AppState,
    caller: Caller,
    headers: &HeaderMap,
    mut params: EventParams,
) -> Result<Response, Problem> {
    let resume = match headers.get("last-event-id") {
        None => params.after,
        Some(id) => Some(
            id.to_str()
                .ok()
                .and_then(|id| id.parse().ok())
                .ok_or_else(|| Problem::bad_request("Last-Event-ID is not an event's number"))?,
        ),
    };
    params.after = None;
    params.before = None;
    let store = match resume {
        Some(_) => Some(state.store()?.clone()),
        None => state.store.clone(),
    };
    // Subscribed before the store is read, so that nothing falls between the two.
    let live = state.handle.events();
    let (sender, receiver) = mpsc::channel(BUFFER);
    let stopping = state.stopping.clone();
    let ended = caller.ended(&state);
    let mut follower = Follower {
        handle: state.handle,
        caller,
        store,
        live,
        params,
        last: resume,
        missed: None,
        sender,
    };
    if resume.is_some() {
        // Before the answer begins, so that who cannot be caught up now is told to try later.
        follower.missed = follower.too_large_a_gap().await?;
    }
    // Ends with the server, the client (its sender then fails), or the client's token.
    tokio::spawn(async move {
        let followed = stopping.run_until_cancelled(follower.run());
        tokio::select! {
            _ = followed => {}
            () = ended => {}
        }
    });
    let messages = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    Ok(Sse::new(messages)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

type SseMessage = axum::response::sse::Event;

/// Feeds one stream: first from the store, then live, and from the store again whenever
/// the client was too slow for the live feed.
struct Follower {
    handle: Handle,
    caller: Caller,
    store: Option<Store>,
    live: broadcast::Receiver<Arc<Event>>,
    params: EventParams,
    /// Id of the last event that was sent, or skipped by the filter.
    last: Option<i64>,
    /// What the client is told to have missed for good.
    missed: Option<Gap>,
    sender: mpsc::Sender<SseMessage>,
}

/// The client left, or nothing more can be said to it.
struct Ended;

impl Follower {
    async fn run(mut self) {
        let _ = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Ended> {
        match self.missed.take() {
            Some(gap) => self.tell(gap).await?,
            None if self.last.is_some() => self.catch_up().await?,
            None => {}
        }
        loop {
            // `tokio::select` on `closed`, so that a stream whose filter lets nothing
            // through ends with its client all the same.
            let received = tokio::select! {
                () = self.sender.closed() => return Err(Ended),
                received = self.live.recv() => received,
            };
            match received {
                Ok(event) => {
                    if self.last.is_some_and(|last| event.id <= last) {
                        continue;
                    }
                    self.send(&event).await?;
                }
                Err(RecvError::Lagged(_)) => match self.too_large_a_gap().await {
                    Ok(None) => self.catch_up().await?,
                    Ok(Some(gap)) => self.tell(gap).await?,
                    // The client asks again, from where it is.
                    Err(_) => return Err(Ended),
                },
                Err(RecvError::Closed) => return Err(Ended),
            }
        }
    }

    /// Sources come and go while a stream lasts: asked for each event.
    fn may_see(&self, event: &Event) -> bool {
        match self.handle.read(|s| self.caller.seen(s)) {
            Ok(None) => true,
            Ok(Some(seen)) => seen.contains(event),
            Err(_) => self.caller.projects.is_all(),
        }
    }

    async fn send(&mut self, event: &Event) -> Result<(), Ended> {
        self.last = Some(event.id);
        if !self.params.matches(event) || !self.may_see(event) {
            return Ok(());
        }
        let message = SseMessage::default()
            .id(event.id.to_string())
            .event(event.kind.as_str())
            .json_data(event)
            .map_err(|_| Ended)?;
        self.sender.send(message).await.map_err(|_| Ended)
    }

    async fn catch_up(&mut self) -> Result<(), Ended> {
        let (Some(store), Some(mut from)) = (self.store.clone(), self.last) else {
            return Err(Ended);
        };
        loop {
            let seen = self
                .handle
                .read(|s| self.caller.seen(s))
                .map_err(|_| Ended)?;
            let mut query = self.params.query(seen, CATCH_UP_PAGE);
            query.after_id = Some(from);
            let events = match store.events(&query).await {
                Ok(events) => events,
                Err(error) => {
                    // The client asks again, from where it is.
                    tracing::warn!(%error, "an event stream cannot catch up");
                    return Err(Ended);
                }
            };
            let full = events.len() == CATCH_UP_PAGE as usize;
            for event in &events {
                from = event.id;
                self.send(event).await?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Why what lies between the last event and now cannot be sent, if it cannot.
    async fn too_large_a_gap(&self) -> Result<Option<Gap>, Problem> {
        let store = self.store.as_ref().ok_or_else(Problem::no_database)?;
        let kept = store.events_kept().await?;
        let (oldest, newest) = kept.unwrap_or((1, 0));
        let gap = |why: String| {
            Ok(Some(Gap {
                after: self.last,
                until: newest,
                why,
                hint: "read the present state, such as /api/v1/apps; the stream goes on from here"
                    .to_owned(),
            }))
        };
        let Some(last) = self.last else {
            return gap("more happened at once than can be kept for a slow reader".to_owned());
        };
        if last > newest {
            return gap(format!(
                "there was no event {last} yet: the newest is {newest}"
            ));
        }
        if last + 1 < oldest {
            return gap(format!(
                "events are kept for a while, and those after {last} are not all there any more: \
                 the oldest is {oldest}"
            ));
        }
        let seen = self.handle.read(|s| self.caller.seen(s))?;
        let mut query = self.params.query(seen, 0);
        query.after_id = Some(last);
        if store.more_events_than(MAX_CATCH_UP, &query).await? {
            return gap(format!(
                "more than {MAX_CATCH_UP} events followed event {last}, and no more are caught up"
            ));
        }
        Ok(None)
    }

    /// Tells the client what it missed, and goes on after that. By the message's id it does not
    /// ask for the same again.
    async fn tell(&mut self, gap: Gap) -> Result<(), Ended> {
        self.last = Some(gap.until);
        let message = SseMessage::default()
            .id(gap.until.to_string())
            .event(GAP)
            .json_data(&gap)
            .map_err(|_| Ended)?;
        self.sender.send(message).await.map_err(|_| Ended)
    }
}
