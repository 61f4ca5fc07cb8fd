//! What operators and dashboards see of a cluster's size: the status document of an app, and
//! the time from an act to the moment when everybody who listens knows of it, with 1,000 apps
//! and 200 listeners, against an empty cluster.
//!
//! Cost model: a document is made from one app, found by name. An event is encoded and written
//! once per listener, so the last of 200 waits for 199 others: at most about their share of
//! the commit that both clusters wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::client::{Client, EventQuery};
use evenkeel::model::{AppKey, EventKind};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cluster::{ADMIN, Cluster, LONG};
use crate::fleet::until;
use crate::samples::Pairs;
use crate::table::Figure;
use crate::tree;

const APPS: usize = 1_000;
const NODES: usize = 20;
const LISTENERS: usize = 200;
/// The app itself has the same size in both: no more than noise and colder caches.
const DOCUMENT_BOUND: f64 = 2.0;
/// 200 writes and reads on one machine, beside a commit.
const FAN_OUT_BOUND: f64 = 6.0;
const DOCUMENTS: usize = 400;
const ACTS: usize = 60;
/// Of both, for connections, caches and allocators.
const WARM_UP: usize = 10;

pub async fn measure() -> Vec<Figure> {
    let full = Seen::start(APPS, NODES, LISTENERS).await;
    // One app, whose document is read and whose event is told, and one who listens.
    let empty = Seen::start(1, 1, 1).await;
    let mut documents = Pairs::default();
    for turn in 0..DOCUMENTS + WARM_UP {
        let (product, baseline) = (full.document().await, empty.document().await);
        if turn >= WARM_UP {
            documents.add(product, baseline);
        }
    }
    let mut events = Pairs::default();
    for turn in 0..ACTS + WARM_UP {
        let (product, baseline) = (full.act(turn).await, empty.act(turn).await);
        if turn >= WARM_UP {
            events.add(product, baseline);
        }
    }
    full.end().await;
    empty.end().await;
    let of = format!("{APPS} apps and {LISTENERS} listeners / an empty cluster");
    vec![
        Figure::ratio(
            &format!("status document, {of}"),
            &documents.ratios(),
            DOCUMENT_BOUND,
            documents.times(),
        ),
        Figure::ratio(
            &format!("act to the last who hears, {of}"),
            &events.ratios(),
            FAN_OUT_BOUND,
            events.times(),
        ),
    ]
}

/// A cluster, and those who look at it.
struct Seen {
    cluster: Cluster,
    http: reqwest::Client,
    app: AppKey,
    /// A permit per listener and event that arrived.
    arrived: Arc<Semaphore>,
    listeners: JoinSet<()>,
}

impl Seen {
    /// All apps run and are healthy, and everybody listens.
    async fn start(apps: usize, nodes: usize, listeners: usize) -> Seen {
        let cluster = Cluster::start(nodes).await;
        let files: Vec<(String, String)> = (0..apps)
            .map(|app| (tree::path(app), tree::spec(app, 1)))
            .collect();
        let files: Vec<(&str, Option<&str>)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        cluster.commit(&files);
        cluster.follow().await;
        let healthy = || {
            let rests = |s: &evenkeel::model::Snapshot| {
                let rests = |app: &evenkeel::model::App| {
                    !app.instances.is_empty() && app.active_rollout().is_none()
                };
                s.apps.len() == apps && s.apps.values().all(rests)
            };
            cluster.handle.read(rests).unwrap_or(false)
        };
        until("all apps", LONG, healthy).await;
        let mut seen = Seen {
            cluster,
            http: reqwest::Client::new(),
            app: format!("shop/{}", tree::name(apps / 2)).parse().unwrap(),
            arrived: Arc::new(Semaphore::new(0)),
            listeners: JoinSet::new(),
        };
        seen.listen(listeners).await;
        seen
    }

    async fn listen(&mut self, listeners: usize) {
        let query = EventQuery {
            app: Some(self.app.to_string()),
            ..EventQuery::default()
        };
        for _ in 0..listeners {
            // A connection of its own for each, as they have in life.
            let client = Client::new(&self.cluster.url, Some(ADMIN.to_owned())).unwrap();
            let mut stream = client.watch_events(&query).await.unwrap();
            let arrived = Arc::clone(&self.arrived);
            self.listeners.spawn(async move {
                while let Ok(Some(event)) = stream.next().await {
                    if matches!(event.kind, EventKind::AppSuspended | EventKind::AppResumed) {
                        arrived.add_permits(1);
                    }
                }
            });
        }
    }

    fn url(&self, verb: &str) -> String {
        let (base, app) = (&self.cluster.url, &self.app);
        format!(
            "{base}/api/v1/projects/{}/apps/{}{verb}",
            app.project, app.name
        )
    }

    async fn document(&self) -> Duration {
        let request = self.http.get(self.url("")).bearer_auth(ADMIN);
        let begun = Instant::now();
        let answer = request.send().await.unwrap();
        let body = answer.bytes().await.unwrap();
        let took = begun.elapsed();
        assert!(body.starts_with(b"{\"project\":\"shop\""), "{body:?}");
        took
    }

    /// From the request until the last listener has the event.
    async fn act(&self, turn: usize) -> Duration {
        let verb = ["/suspend", "/resume"][turn % 2];
        let request = self.http.post(self.url(verb)).bearer_auth(ADMIN);
        let request = request.json(&json!({}));
        let all = u32::try_from(self.listeners.len()).unwrap();
        let begun = Instant::now();
        let (answer, heard) = tokio::join!(
            request.send(),
            tokio::time::timeout(LONG, self.arrived.acquire_many(all))
        );
        let took = begun.elapsed();
        heard.expect("all hear of it").unwrap().forget();
        assert!(answer.unwrap().status().is_success());
        took
    }

    async fn end(mut self) {
        self.listeners.shutdown().await;
        self.cluster.end().await;
    }
}
