//! Instances, and a runtime of a cluster that nobody else has.

use std::time::{Duration, Instant};

use evenkeel::agent::runtime::docker::{Docker, DockerConfig};
use evenkeel::agent::runtime::{Found, FoundState, Runtime as _};
use evenkeel::model::instance::Exit;
use evenkeel::model::spec::{PullPolicy, Task};
use evenkeel::model::{DesiredInstance, InstanceId, RunSpec};

use crate::desired::{instance_of, unique};
use crate::engine;

pub fn sh(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

/// Runs on, and ends at once when asked.
pub const RUN_ON: &str = "trap 'exit 143' TERM; while :; do sleep 0.05; done";

/// An instance that runs a shell script; change what the test is about.
pub fn instance(script: &str, change: impl FnOnce(&mut RunSpec)) -> DesiredInstance {
    let task = Task::Image {
        image: engine::IMAGE.to_owned(),
        command: Some(sh(script)),
        args: Vec::new(),
        working_dir: None,
    };
    instance_of(task, |run| {
        run.pull_policy = PullPolicy::Never;
        run.stop_grace_period = Duration::from_secs(1);
        change(run);
    })
}

/// A runtime under test. [`Site::clean_up`] leaves nothing behind.
pub struct Site {
    pub config: DockerConfig,
    pub docker: Docker,
}

impl Site {
    pub async fn shared() -> Site {
        engine::ensure_image(engine::SHARED).await;
        Site::at(engine::SHARED)
    }

    pub fn at(socket: &str) -> Site {
        let config = DockerConfig {
            socket: socket.to_owned(),
            ..DockerConfig::new(format!("test-{}", unique().simple()))
        };
        Site {
            docker: Docker::new(config.clone()),
            config,
        }
    }

    pub fn client(&self) -> bollard::Docker {
        engine::client(&self.config.socket)
    }

    pub async fn run(&self, instance: &DesiredInstance) -> Found {
        let cluster = &self.config.cluster;
        self.docker.create(cluster, instance).await.unwrap();
        self.docker.start(instance.id).await.unwrap();
        self.docker.inspect(instance.id).await.unwrap().unwrap()
    }

    /// Exit and `by_runtime`, as soon as it has exited; at most 20 s.
    pub async fn exit(&self, id: InstanceId) -> (Exit, bool) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.docker.inspect(id).await.unwrap().expect("it exists");
            if let FoundState::Exited { exit, by_runtime } = found.state {
                return (exit, by_runtime);
            }
            assert!(Instant::now() < end, "still {found:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn exec(&self, id: InstanceId, script: &str) -> String {
        let limit = Duration::from_secs(10);
        let result = self.docker.exec(id, &sh(script), limit).await.unwrap();
        assert_eq!(result.code, 0, "{script}: {}", result.output);
        result.output
    }

    pub async fn clean_up(&self) {
        for found in self.docker.list().await.unwrap() {
            self.docker.remove(found.id).await.unwrap();
        }
    }
}
