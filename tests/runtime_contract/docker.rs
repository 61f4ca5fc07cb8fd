//! A real Docker Engine under the contract.

use std::sync::Arc;

use async_trait::async_trait;
use bollard::query_parameters::KillContainerOptionsBuilder;
use evenkeel::agent::runtime::docker::{Docker, DockerConfig};
use evenkeel::agent::runtime::{Found, Runtime};
use evenkeel::model::spec::Task;

use crate::desired::unique;
use crate::engine;
use crate::harness::{Behaviour, Harness, script, sh};

struct DockerHarness {
    config: DockerConfig,
    runtime: Docker,
}

impl DockerHarness {
    async fn start() -> DockerHarness {
        engine::ensure_image(engine::SHARED).await;
        let config = DockerConfig::new(format!("contract-{}", unique().simple()));
        let runtime = Docker::connect(config.clone())
            .await
            .expect("this test needs a Docker Engine");
        DockerHarness { config, runtime }
    }
}

#[async_trait]
impl Harness for DockerHarness {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime.clone())
    }
    fn cluster(&self) -> String {
        self.config.cluster.clone()
    }
    fn task(&self, behaviour: Behaviour) -> Task {
        Task::Image {
            image: engine::IMAGE.to_owned(),
            command: Some(match script(behaviour) {
                Some(script) => sh(&script),
                None => vec!["/no/such/program".to_owned()],
            }),
            args: Vec::new(),
            working_dir: None,
        }
    }
    fn missing_image(&self) -> Option<String> {
        Some("127.0.0.1:1/nothing/here:1".to_owned())
    }
    fn enforces_limits(&self) -> bool {
        true
    }
    async fn again(&self) -> Arc<dyn Runtime> {
        Arc::new(Docker::new(self.config.clone()))
    }
    async fn kill(&self, found: &Found) {
        let options = KillContainerOptionsBuilder::default()
            .signal("KILL")
            .build();
        engine::client(&self.config.socket)
            .kill_container(&found.handle, Some(options))
            .await
            .unwrap();
    }
}

contract!(DockerHarness::start().await);
