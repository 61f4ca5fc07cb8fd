//! A controller of a few lines: hands out sets, keeps the reports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use evenkeel::api::agent::{InstanceReport, Note, Report, ToAgent};
use evenkeel::model::{DesiredSet, InstanceId, NodeFacts};
use futures_util::StreamExt as _;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

pub const TOKEN: &str = "secret-token";

/// What the agents said, put together.
#[derive(Default)]
pub struct Heard {
    pub instances: BTreeMap<InstanceId, InstanceReport>,
    pub images: BTreeMap<String, evenkeel::model::ImageState>,
    pub notes: Vec<Note>,
    pub reports: Vec<Report>,
    pub streams: BTreeMap<String, String>,
    pub facts: Option<NodeFacts>,
    pub connections: usize,
    set: Option<Arc<DesiredSet>>,
}

#[derive(Clone)]
struct Shared {
    heard: Arc<Mutex<Heard>>,
    messages: broadcast::Sender<String>,
}

/// Listens until dropped.
pub struct Controller {
    shared: Shared,
    pub address: String,
    stop: CancellationToken,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Controller {
    pub async fn start() -> Controller {
        Controller::start_at("127.0.0.1:0").await
    }

    pub async fn start_at(address: &str) -> Controller {
        let shared = Shared {
            heard: Arc::default(),
            messages: broadcast::channel(64).0,
        };
        let app = Router::new()
            .route("/api/v1/agent/stream", get(stream))
            .route("/api/v1/agent/reports", post(report))
            .route("/api/v1/agent/streams/{id}", post(lines))
            .layer(axum::extract::DefaultBodyLimit::max(1 << 26))
            .with_state(shared.clone());
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            // Dropped connections and all, as after a kill.
            tokio::select! {
                _ = axum::serve(listener, app) => {}
                () = stopped.cancelled() => {}
            }
        });
        Controller {
            shared,
            address,
            stop,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn desire(&self, set: DesiredSet) {
        let set = Arc::new(set);
        let message = serde_json::to_string(&ToAgent::Desired {
            set: Box::new(DesiredSet::clone(&set)),
        });
        self.shared.heard.lock().unwrap().set = Some(set);
        let _ = self.shared.messages.send(message.unwrap());
    }

    pub fn say(&self, message: &ToAgent) {
        let _ = self
            .shared
            .messages
            .send(serde_json::to_string(message).unwrap());
    }

    pub fn heard<T>(&self, read: impl FnOnce(&Heard) -> T) -> T {
        read(&self.shared.heard.lock().unwrap())
    }

    /// Waits, at most 20 s, for something to be heard.
    pub async fn until<T>(&self, what: &str, mut want: impl FnMut(&Heard) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = self.heard(&mut want) {
                return found;
            }
            if Instant::now() > end {
                self.heard(|h| panic!("not heard: {what}; {:#?}\n{:#?}", h.instances, h.notes));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the instance is reported like that.
    pub async fn until_instance(
        &self,
        id: InstanceId,
        what: &str,
        want: impl Fn(&InstanceReport) -> bool,
    ) -> InstanceReport {
        self.until(what, |h| h.instances.get(&id).filter(|i| want(i)).cloned())
            .await
    }

    /// Waits for a note that contains the text.
    pub async fn until_note(&self, text: &str) -> Note {
        self.until(text, |h| {
            h.notes.iter().find(|n| n.message.contains(text)).cloned()
        })
        .await
    }
}

fn allowed(headers: &HeaderMap) -> bool {
    headers
        .get("authorization")
        .is_some_and(|v| v == &format!("Bearer {TOKEN}"))
}

async fn stream(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if !allowed(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let receiver = shared.messages.subscribe();
    let first = {
        let mut heard = shared.heard.lock().unwrap();
        heard.connections += 1;
        heard.set.clone()
    };
    let first = first.map(|set| {
        serde_json::to_string(&ToAgent::Desired {
            set: Box::new(DesiredSet::clone(&set)),
        })
        .unwrap()
    });
    let pings =
        tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(Duration::from_secs(1)))
            .map(|_| serde_json::to_string(&ToAgent::Ping).unwrap());
    let rest = BroadcastStream::new(receiver).filter_map(|m| async { m.ok() });
    let lines = futures_util::stream::iter(first)
        .chain(futures_util::stream::select(rest, pings))
        .map(|line| Ok::<_, std::convert::Infallible>(Bytes::from(line + "\n")));
    Body::from_stream(lines).into_response()
}

async fn report(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Json(report): Json<Report>,
) -> StatusCode {
    if !allowed(&headers) {
        return StatusCode::UNAUTHORIZED;
    }
    let mut heard = shared.heard.lock().unwrap();
    if report.full {
        heard.instances.clear();
        heard.images.clear();
    }
    for instance in &report.instances {
        heard.instances.insert(instance.id, instance.clone());
    }
    heard.images.extend(report.images.clone());
    heard.notes.extend(report.notes.clone());
    heard.facts = Some(report.facts.clone());
    heard.reports.push(report);
    StatusCode::NO_CONTENT
}

async fn lines(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    if !allowed(&headers) {
        return StatusCode::UNAUTHORIZED;
    }
    let mut body = body.into_data_stream();
    while let Some(Ok(chunk)) = body.next().await {
        let mut heard = shared.heard.lock().unwrap();
        let text = heard.streams.entry(id.clone()).or_default();
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    StatusCode::NO_CONTENT
}
