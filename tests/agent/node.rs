//! An agent over a fake runtime, in a folder of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::agent::runtime::Runtime;
use evenkeel::agent::runtime::fake::FakeRuntime;
use evenkeel::agent::step::DOCKER;
use evenkeel::agent::{Agent, AgentConfig, Error};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::controller::{Controller, TOKEN};

pub struct Node {
    pub fake: FakeRuntime,
    pub dir: TempDir,
    running: Option<(CancellationToken, JoinHandle<Result<(), Error>>)>,
}

impl Node {
    pub fn new() -> Node {
        Node {
            fake: FakeRuntime::new(DOCKER),
            dir: tempfile::tempdir().unwrap(),
            running: None,
        }
    }

    /// A node whose agent already speaks to the controller.
    pub fn started(controller: &Controller) -> Node {
        let mut node = Node::new();
        node.start(&controller.url());
        node
    }

    pub fn start(&mut self, url: &str) {
        let config = AgentConfig {
            node: "n1".parse().unwrap(),
            data_dir: self.dir.path().to_owned(),
            controller_url: url.to_owned(),
            token: TOKEN.into(),
            address: "10.1.2.3".into(),
            attributes: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            capacity: None,
        };
        let runtime: Arc<dyn Runtime> = Arc::new(self.fake.clone());
        let cancel = CancellationToken::new();
        let task = tokio::spawn(Agent::run(config, vec![runtime], cancel.clone()));
        self.running = Some((cancel, task));
    }

    /// Ends the agent as a service manager would.
    pub async fn stop(&mut self) {
        let (cancel, task) = self.running.take().expect("it runs");
        cancel.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), task).await;
        ended.expect("it ends in time").unwrap().unwrap();
    }

    /// Ends the agent as `kill -9` would.
    pub async fn kill(&mut self) {
        let (_, task) = self.running.take().expect("it runs");
        task.abort();
        let _ = task.await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some((cancel, _)) = &self.running {
            cancel.cancel();
        }
    }
}
