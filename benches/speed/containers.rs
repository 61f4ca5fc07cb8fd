//! The baseline of a rollout: the same containers, driven directly by loops over
//! the Engine's API.
//!
//! Per container: create, start, the inspection that tells its address, `GET`
//! until it answers, and the stop of the one it takes the place of. Removals
//! are done after the clock has stopped: nobody waits for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::future::join_all;

/// As short as a prober can sensibly pause.
const PROBE_PAUSE: Duration = Duration::from_millis(2);
const PROBE_DEADLINE: Duration = Duration::from_secs(30);
const CLUSTER: &str = "dev.evenkeel.cluster";

/// Ids of a cluster's running containers.
pub async fn of_cluster(docker: &Docker, cluster: &str) -> Vec<String> {
    let filters = HashMap::from([("label", vec![format!("{CLUSTER}={cluster}")])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let list = docker.list_containers(Some(options)).await.unwrap();
    list.into_iter().filter_map(|c| c.id).collect()
}

pub async fn remove_all(docker: &Docker, cluster: &str) {
    for id in of_cluster(docker, cluster).await {
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        let _ = docker.remove_container(&id, Some(options)).await;
    }
}

/// As many containers as an app has replicas, replaced again and again.
pub struct Containers {
    docker: Docker,
    http: reqwest::Client,
    body: ContainerCreateBody,
    path: String,
    port: u16,
    /// Cluster in their labels, so that no controller takes them for its own.
    cluster: String,
    running: Vec<String>,
}

impl Containers {
    /// Like the container `like` in everything but the cluster's name; none is made yet.
    pub async fn like(docker: Docker, like: &str, cluster: &str, port: u16, path: &str) -> Self {
        let found = docker.inspect_container(like, None).await.unwrap();
        Containers {
            docker,
            http: reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .no_proxy()
                .build()
                .unwrap(),
            body: body(found, cluster),
            path: path.to_owned(),
            port,
            cluster: cluster.to_owned(),
            running: Vec::new(),
        }
    }

    pub async fn fill(&mut self, replicas: usize) {
        for _ in 0..replicas {
            let id = self.start().await;
            self.running.push(id);
        }
    }

    /// Replaces all, one after the other; returns the sum of the Engine's times.
    pub async fn replace_one_by_one(&mut self) -> Duration {
        let old = std::mem::take(&mut self.running);
        let begun = Instant::now();
        for old in &old {
            let id = self.start().await;
            self.stop(old).await;
            self.running.push(id);
        }
        let took = begun.elapsed();
        self.remove(&old).await;
        took
    }

    /// Replaces all at the same time.
    pub async fn replace_side_by_side(&mut self) -> Duration {
        let old = std::mem::take(&mut self.running);
        let begun = Instant::now();
        let replace = |old: String| {
            let this = &*self;
            async move {
                let id = this.start().await;
                this.stop(&old).await;
                id
            }
        };
        let new = join_all(old.iter().cloned().map(replace)).await;
        let took = begun.elapsed();
        self.running = new;
        self.remove(&old).await;
        took
    }

    /// Until it answers.
    async fn start(&self) -> String {
        let created = self
            .docker
            .create_container(None, self.body.clone())
            .await
            .unwrap();
        self.docker
            .start_container(&created.id, None)
            .await
            .unwrap();
        let found = self.docker.inspect_container(&created.id, None).await;
        let url = format!(
            "http://{}:{}{}",
            address(found.unwrap()),
            self.port,
            self.path
        );
        let end = Instant::now() + PROBE_DEADLINE;
        loop {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return created.id;
            }
            assert!(Instant::now() < end, "{url} does not answer");
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }

    async fn stop(&self, id: &str) {
        let options = StopContainerOptionsBuilder::default().t(10).build();
        self.docker.stop_container(id, Some(options)).await.unwrap();
    }

    async fn remove(&self, ids: &[String]) {
        for id in ids {
            self.docker.remove_container(id, None).await.unwrap();
        }
    }

    pub async fn end(self) {
        remove_all(&self.docker, &self.cluster).await;
    }
}

fn body(found: ContainerInspectResponse, cluster: &str) -> ContainerCreateBody {
    let config = serde_json::to_value(found.config.unwrap()).unwrap();
    let mut body: ContainerCreateBody = serde_json::from_value(config).unwrap();
    body.hostname = None;
    body.host_config = found.host_config;
    body.labels
        .get_or_insert_default()
        .insert(CLUSTER.to_owned(), cluster.to_owned());
    body
}

fn address(found: ContainerInspectResponse) -> String {
    let networks = found.network_settings.unwrap().networks.unwrap();
    networks
        .into_values()
        .find_map(|n| n.ip_address)
        .expect("an address on the bridge")
}
