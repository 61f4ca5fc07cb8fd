//! What an Engine does for one cluster, as the Engine itself tells it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;

use super::life::pause;
use crate::engine;

/// What is counted. Not `kill`: a stop whose answer was lost is asked for again, and asking
/// twice for an end changes nothing.
const COUNTED: [&str; 5] = ["create", "start", "stop", "die", "destroy"];

const CLUSTER: &str = "dev.evenkeel.cluster";

pub struct Watch {
    docker: Docker,
    cluster: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub async fn start(docker: &Docker, cluster: &str) -> Watch {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![format!("{CLUSTER}={cluster}")]),
        ]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        let (client, notes) = (docker.clone(), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut events = client.events(Some(options));
            while let Some(event) = events.next().await {
                // A broken stream loses events: the sentinel then never comes, loudly.
                let Ok(event) = event else { return };
                let action = event.action.unwrap_or_default();
                let id = event.actor.and_then(|a| a.id).unwrap_or_default();
                notes.lock().unwrap().push((action, id));
            }
        });
        let watch = Watch {
            docker: docker.clone(),
            cluster: cluster.to_owned(),
            seen,
            task,
        };
        watch.settle().await;
        watch
    }

    /// How often each thing was done, everything until now included.
    pub async fn counts(&self) -> BTreeMap<String, usize> {
        self.settle().await;
        let mut counts = BTreeMap::new();
        for (action, _) in self.seen.lock().unwrap().iter() {
            if COUNTED.contains(&action.as_str()) {
                *counts.entry(action.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// Until a container of its own has come and gone before our eyes: then nothing older
    /// is still on its way. Leaves no trace in what was seen.
    async fn settle(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let id = self.sentinel().await;
            let told = Instant::now() + Duration::from_secs(2);
            while Instant::now() < told {
                if self.has_seen_off(&id) {
                    return;
                }
                pause().await;
            }
            // The stream was not up yet when it came.
            self.seen.lock().unwrap().retain(|(_, i)| *i != id);
            assert!(Instant::now() < end, "the Engine's events do not arrive");
        }
    }

    fn has_seen_off(&self, id: &str) -> bool {
        let mut seen = self.seen.lock().unwrap();
        let gone = seen.iter().any(|(a, i)| a == "destroy" && i == id);
        if gone {
            seen.retain(|(_, i)| i != id);
        }
        gone
    }

    async fn sentinel(&self) -> String {
        let body = ContainerCreateBody {
            image: Some(engine::IMAGE.to_owned()),
            cmd: Some(vec!["/bin/true".to_owned()]),
            // The cluster's, so that the filter lets it through; another node's, so that it is not adopted.
            labels: Some(HashMap::from([
                (CLUSTER.to_owned(), self.cluster.clone()),
                ("dev.evenkeel.node".to_owned(), "sentinel".to_owned()),
            ])),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().build();
        let made = self.docker.create_container(Some(options), body).await;
        let id = made.unwrap().id;
        remove(&self.docker, &id).await;
        id
    }

    /// This cluster's containers: app, slot and commit of each, and its state.
    pub async fn containers(&self) -> Vec<[String; 4]> {
        let mut all = Vec::new();
        for container in list(&self.docker, &self.cluster).await {
            let labels = container.labels.unwrap_or_default();
            let label = |name: &str| {
                let value = labels.get(&format!("dev.evenkeel.{name}"));
                value.cloned().unwrap_or_default()
            };
            let state = container.state.map(|s| s.to_string()).unwrap_or_default();
            all.push([label("app"), label("slot"), label("commit"), state]);
        }
        all.sort();
        all
    }

    /// Takes away what outlives the program on purpose.
    pub async fn clear(self) {
        self.task.abort();
        for container in list(&self.docker, &self.cluster).await {
            remove(&self.docker, &container.id.unwrap_or_default()).await;
        }
    }
}

async fn list(docker: &Docker, cluster: &str) -> Vec<bollard::models::ContainerSummary> {
    let filters = HashMap::from([("label", vec![format!("{CLUSTER}={cluster}")])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    docker.list_containers(Some(options)).await.unwrap()
}

async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    let _ = docker.remove_container(id, Some(options)).await;
}
