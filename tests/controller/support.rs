//! A controller, a repository, and an agent that says what it is told to.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use evenkeel::api::agent::{InstanceReport, Report, ToAgent};
use evenkeel::controller::{self, Handle, Options, Role};
use evenkeel::git::Mirrors;
use evenkeel::model::desired::DesiredGoal;
use evenkeel::model::quantity::Resources;
use evenkeel::model::{
    AppKey, DesiredSet, InstanceId, InstancePhase, NodeFacts, NodeName, SourceName, SourceSpec,
};
use evenkeel::plan::operate::plan_add_source;
use evenkeel::store::Store;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// For everything that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Controller {
    pub handle: Handle,
    pub stop: CancellationToken,
    pub folder: tempfile::TempDir,
}

/// Leases are short here, so that takeovers are quick, and still outlast the stalls of a busy disk.
pub fn options(holder: &str) -> Options {
    let mut options = Options::new("test", holder, format!("http://{holder}"));
    options.lease_ttl = Duration::from_secs(8);
    options.follow_interval = Duration::from_millis(100);
    options
}

pub fn start(store: &Store, options: Options) -> Controller {
    let folder = tempfile::tempdir().unwrap();
    let mirrors = Mirrors::open(folder.path().join("mirrors")).unwrap();
    let stop = CancellationToken::new();
    let handle = controller::start(store.clone(), mirrors, options, stop.clone());
    Controller {
        handle,
        stop,
        folder,
    }
}

impl Controller {
    pub async fn leads(&self) {
        eventually("leadership", async || {
            self.handle.status().role == Role::Leader
        })
        .await;
    }

    pub async fn end(self) {
        self.stop.cancel();
        within("the controller's end", self.handle.stopped()).await;
    }
}

pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("gave up waiting for {what}"))
}

pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !holds().await {
            look.tick().await;
        }
    })
    .await;
}

/// A repository on this machine.
pub struct Repository(PathBuf);

impl Repository {
    pub fn new(folder: &Path) -> Repository {
        let path = folder.join("specs");
        std::fs::create_dir_all(&path).unwrap();
        let repository = Repository(path);
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn git(&self, args: &[&str]) {
        let done = Command::new("git")
            .args(args)
            .current_dir(&self.0)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .envs(["AUTHOR", "COMMITTER"].iter().flat_map(|who| {
                [
                    (format!("GIT_{who}_NAME"), "tester"),
                    (format!("GIT_{who}_EMAIL"), "tester@example.org"),
                ]
            }))
            .output()
            .unwrap();
        assert!(done.status.success(), "git {args:?}: {done:?}");
    }

    pub fn commit(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            std::fs::write(self.0.join(name), text).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"]);
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// As a source that is never polled by itself within a test.
    pub fn source(&self) -> SourceSpec {
        SourceSpec {
            interval: Duration::from_secs(3600),
            ..SourceSpec::new(
                source_name(),
                self.0.to_str().unwrap(),
                "default".parse().unwrap(),
            )
        }
    }
}

pub fn source_name() -> SourceName {
    "specs".parse().unwrap()
}

pub fn web() -> AppKey {
    "default/web".parse().unwrap()
}

/// A process app that is healthy as soon as it runs.
pub fn app(replicas: u32, marker: &str) -> String {
    format!(
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {{name: web}}\nspec:\n  process: {{command: [sleep, \"{marker}\"]}}\n  replicas: {replicas}\n  rollout: {{minHealthyTime: 0s, maxSurge: 100%}}\n"
    )
}

pub async fn add_source(handle: &Handle, spec: SourceSpec) {
    handle
        .transact("test", |snapshot, now, _| {
            plan_add_source(now, snapshot, spec, "tester")
        })
        .await
        .unwrap();
}

/// An agent's side: what it was told, and reports as it would make them.
pub struct FakeAgent {
    pub handle: Handle,
    pub node: NodeName,
    pub stream: BoxStream<'static, ToAgent>,
    pub session: Uuid,
    pub sequence: u64,
}

impl FakeAgent {
    pub fn connect(handle: &Handle, node: &str) -> FakeAgent {
        let node: NodeName = node.parse().unwrap();
        FakeAgent {
            handle: handle.clone(),
            stream: handle.agent_connected(node.clone()).unwrap(),
            node,
            session: Uuid::from_u128(1),
            sequence: 0,
        }
    }

    /// The next set it is sent; pings are passed over.
    pub async fn set(&mut self) -> DesiredSet {
        within("a desired set", async {
            loop {
                match self.stream.next().await {
                    Some(ToAgent::Desired { set }) => return *set,
                    Some(ToAgent::Ping | ToAgent::Logs { .. } | ToAgent::Exec { .. }) => {}
                    None => panic!("the stream has ended"),
                }
            }
        })
        .await
    }

    /// The first set of which `holds` is true.
    pub async fn set_where(&mut self, holds: impl Fn(&DesiredSet) -> bool) -> DesiredSet {
        loop {
            let set = self.set().await;
            if holds(&set) {
                return set;
            }
        }
    }

    pub fn report(&mut self, instances: Vec<InstanceReport>) -> Report {
        self.sequence += 1;
        Report {
            node: self.node.clone(),
            session: self.session,
            sequence: self.sequence,
            facts: NodeFacts {
                address: "127.0.0.1".to_owned(),
                capacity: Resources {
                    cpu_millis: 8000,
                    memory_bytes: 8 << 30,
                },
                attributes: BTreeMap::from([("runtime.process".to_owned(), "true".to_owned())]),
                agent_version: "test".to_owned(),
            },
            applied: None,
            full: true,
            instances,
            images: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub async fn say(&mut self, instances: Vec<InstanceReport>) {
        let report = self.report(instances);
        within("a report", self.handle.report(report))
            .await
            .unwrap();
    }

    /// Says that everything is as the set wants it: running and ready, or gone.
    pub async fn obey(&mut self, set: &DesiredSet) {
        let instances = set
            .instances
            .values()
            .map(|i| match i.goal {
                DesiredGoal::Run => instance(i.id, InstancePhase::Running, Some(50)),
                DesiredGoal::Stop { .. } => instance(i.id, InstancePhase::Gone, None),
            })
            .collect();
        self.say(instances).await;
    }
}

pub fn instance(id: InstanceId, phase: InstancePhase, ready_ms: Option<u64>) -> InstanceReport {
    InstanceReport {
        id,
        phase,
        ready_ms,
        running_ms: ready_ms.map(|ms| ms + 10),
        exits: 0,
        restarts: 0,
        container_id: None,
        ports: BTreeMap::new(),
        last_exit: None,
        last_probe: None,
        failure: None,
        log_tail: Vec::new(),
    }
}

pub fn running(set: &DesiredSet) -> usize {
    let runs = |i: &&evenkeel::model::DesiredInstance| i.goal == DesiredGoal::Run;
    set.instances.values().filter(runs).count()
}
