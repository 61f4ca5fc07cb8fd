//! Somebody outside who samples the Engine and asks the app over HTTP all the
//! time, counts what the Engine creates and removes, and keeps an eye on
//! containers that are not ours.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, pause};
use crate::engine;

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub samples: usize,
    /// Fewest instances that answered, in any two samples in a row.
    pub fewest_ready: Option<usize>,
    /// Most containers of the app that ran at once.
    pub most_running: usize,
    /// Answers by body.
    pub answers: BTreeMap<String, usize>,
    /// Engine events of the cluster's containers by action.
    pub events: BTreeMap<String, usize>,
    /// What befell containers that are not the cluster's.
    pub foreign: Vec<String>,
}

pub struct Observer {
    docker: Docker,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    bystander: String,
}

impl Observer {
    pub async fn start(cluster: &Cluster, app: &str) -> Observer {
        let docker = cluster.docker();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = CancellationToken::new();
        let bystander = start_bystander(&docker, &cluster.name).await;
        let events = watch_events(
            docker.clone(),
            cluster.name.clone(),
            bystander.clone(),
            Arc::clone(&seen),
        );
        let samples = sample(
            docker.clone(),
            cluster.name.clone(),
            app.to_owned(),
            Arc::clone(&seen),
        );
        let mut tasks = Vec::new();
        for task in [
            tokio::spawn(cancellable(stop.clone(), events)),
            tokio::spawn(cancellable(stop.clone(), samples)),
        ] {
            tasks.push(task);
        }
        let observer = Observer {
            docker,
            seen,
            stop,
            tasks,
            bystander,
        };
        observer.await_samples(3).await;
        observer
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    async fn await_samples(&self, n: usize) {
        let end = std::time::Instant::now() + crate::cluster::LONG;
        while self.seen().samples < n {
            assert!(std::time::Instant::now() < end, "the observer sees nothing");
            pause().await;
        }
    }

    /// Ends it; a last look makes sure that nothing late is missed.
    pub async fn finish(mut self) -> Seen {
        let now = self.seen().samples;
        self.await_samples(now + 2).await;
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            let _ = task.await;
        }
        let alive = self.docker.inspect_container(&self.bystander, None).await;
        let running = alive.is_ok_and(|c| c.state.and_then(|s| s.running) == Some(true));
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        let _ = self
            .docker
            .remove_container(&self.bystander, Some(options))
            .await;
        let mut seen = self.seen();
        if !running {
            seen.foreign.push("the bystander no longer runs".to_owned());
        }
        seen
    }
}

async fn cancellable(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// A container of another cluster: nobody may touch it.
async fn start_bystander(docker: &Docker, cluster: &str) -> String {
    let labels = HashMap::from([(
        "dev.evenkeel.cluster".to_owned(),
        format!("{cluster}-neighbour"),
    )]);
    let body = ContainerCreateBody {
        image: Some(engine::IMAGE.to_owned()),
        cmd: Some(vec!["/bin/sleep".to_owned(), "3600".to_owned()]),
        labels: Some(labels),
        ..ContainerCreateBody::default()
    };
    let name = format!("bystander-{cluster}");
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let id = docker
        .create_container(Some(options), body)
        .await
        .unwrap()
        .id;
    docker.start_container(&id, None).await.unwrap();
    id
}

async fn watch_events(docker: Docker, cluster: String, bystander: String, seen: Arc<Mutex<Seen>>) {
    loop {
        let filters = HashMap::from([("type".to_owned(), vec!["container".to_owned()])]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let mut events = docker.events(Some(options));
        while let Some(Ok(event)) = events.next().await {
            let action = event.action.unwrap_or_default();
            let Some(actor) = event.actor else { continue };
            let id = actor.id.unwrap_or_default();
            let labels = actor.attributes.unwrap_or_default();
            let mut seen = seen.lock().unwrap();
            if labels.get("dev.evenkeel.cluster") == Some(&cluster) {
                *seen.events.entry(action).or_default() += 1;
            } else if id == bystander && !action.starts_with("exec") {
                seen.foreign.push(action);
            }
        }
        pause().await;
    }
}

async fn sample(docker: Docker, cluster: String, app: String, seen: Arc<Mutex<Seen>>) {
    let http = reqwest::Client::builder()
        .timeout(Duration::from_millis(700))
        .build()
        .unwrap();
    let filters = HashMap::from([(
        "label".to_owned(),
        vec![
            format!("dev.evenkeel.cluster={cluster}"),
            format!("dev.evenkeel.app={app}"),
        ],
    )]);
    let mut before: Option<usize> = None;
    loop {
        let options = ListContainersOptionsBuilder::default()
            .filters(&filters)
            .build();
        let Ok(list) = docker.list_containers(Some(options)).await else {
            // The Engine is down: nothing was seen, and nothing is concluded.
            before = None;
            pause().await;
            continue;
        };
        let asks = list.iter().map(|container| {
            let address = container
                .network_settings
                .as_ref()
                .and_then(|n| n.networks.as_ref())
                .and_then(|n| n.values().find_map(|e| e.ip_address.clone()));
            let http = http.clone();
            async move {
                let url = format!("http://{}:8080/index.html", address?);
                let answer = http.get(url).send().await.ok()?;
                if !answer.status().is_success() {
                    return None;
                }
                answer.text().await.ok()
            }
        });
        let answers: Vec<String> = futures_util::future::join_all(asks)
            .await
            .into_iter()
            .flatten()
            .collect();
        record(&seen, list.len(), &answers, before);
        before = Some(answers.len());
        pause().await;
    }
}

fn record(seen: &Mutex<Seen>, running: usize, answers: &[String], before: Option<usize>) {
    let mut seen = seen.lock().unwrap();
    seen.samples += 1;
    seen.most_running = seen.most_running.max(running);
    // One starts to serve while the list is being asked: only two low samples
    // in a row are a broken promise.
    if let Some(before) = before {
        let sure = answers.len().max(before);
        seen.fewest_ready = Some(seen.fewest_ready.map_or(sure, |f| f.min(sure)));
    }
    for answer in answers {
        *seen.answers.entry(answer.trim().to_owned()).or_default() += 1;
    }
}
