//! A runtime over a folder of its own, and short ways to say what is run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::agent::runtime::process::cgroup::{Controller, Hierarchy};
use evenkeel::agent::runtime::process::{LogLimits, Process, ProcessConfig};
use evenkeel::agent::runtime::{Error, Found, FoundState, LogQuery, Runtime};
use evenkeel::model::instance::Exit;
use evenkeel::model::spec::{FileContent, Limits, Port, Protocol, Task};
use evenkeel::model::{DesiredInstance, InstanceId, RunSpec};
use futures_util::StreamExt;

use crate::desired::instance_of;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Host {
    dir: tempfile::TempDir,
    pub cluster: String,
    hierarchy: Hierarchy,
    logs: LogLimits,
    pub runtime: Process,
}

impl Host {
    pub fn new() -> Host {
        let cluster = cluster();
        let hierarchy = Hierarchy::detect(&cluster);
        assert!(
            hierarchy.has(Controller::Cpu) && hierarchy.has(Controller::Memory),
            "these tests need writable control groups; found {hierarchy:?}"
        );
        Host::with(cluster, hierarchy, LogLimits::default())
    }
    pub fn without_cgroups() -> Host {
        Host::with(cluster(), Hierarchy::none(), LogLimits::default())
    }
    pub fn with_logs(logs: LogLimits) -> Host {
        let cluster = cluster();
        let hierarchy = Hierarchy::detect(&cluster);
        Host::with(cluster, hierarchy, logs)
    }
    fn with(cluster: String, hierarchy: Hierarchy, logs: LogLimits) -> Host {
        let dir = tempfile::tempdir().unwrap();
        // Other users reach what is theirs below.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let runtime = runtime(dir.path().join("state"), &cluster, &hierarchy, logs);
        Host {
            dir,
            cluster,
            hierarchy,
            logs,
            runtime,
        }
    }
    /// The agent is gone without a word, and a new one starts.
    pub fn restart_agent(mut self) -> Host {
        let state_dir = self.dir.path().join("state");
        self.runtime = runtime(state_dir, &self.cluster, &self.hierarchy, self.logs);
        self
    }
    pub fn folder(&self, id: InstanceId) -> PathBuf {
        self.runtime.state_dir().join(id.to_string())
    }
    /// A file of the instance's control group.
    pub fn group_file(&self, id: InstanceId, controller: Controller, file: &str) -> PathBuf {
        let group = self.hierarchy.group(&self.cluster, &id.to_string());
        group.folder(controller).unwrap().join(file)
    }
    pub fn run_record(&self, id: InstanceId) -> serde_json::Value {
        let text = std::fs::read(self.folder(id).join("run.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
    pub fn main_pid(&self, id: InstanceId) -> i32 {
        i32::try_from(self.run_record(id)["pid"].as_i64().unwrap()).unwrap()
    }
    pub fn supervisor_pid(&self, id: InstanceId) -> i32 {
        i32::try_from(self.run_record(id)["supervisor"]["pid"].as_i64().unwrap()).unwrap()
    }

    pub async fn run(&self, instance: &DesiredInstance) -> Result<(), Error> {
        self.runtime.create(&self.cluster, instance).await?;
        self.runtime.start(instance.id).await
    }
    pub async fn found(&self, id: InstanceId) -> Found {
        self.runtime.inspect(id).await.unwrap().expect("it exists")
    }
    /// Its exit, and whether the runtime took it along.
    pub async fn exit(&self, id: InstanceId) -> (Exit, bool) {
        let mut last = None;
        until("it exited", async || {
            last = match self.found(id).await.state {
                FoundState::Exited { exit, by_runtime } => Some((exit, by_runtime)),
                FoundState::Created | FoundState::Running => None,
            };
            last.is_some()
        })
        .await;
        last.unwrap()
    }
    pub async fn lines(&self, id: InstanceId) -> Vec<String> {
        let all = LogQuery {
            tail: 1_000_000,
            follow: false,
        };
        let lines = self.runtime.logs(id, all).await.unwrap();
        lines.map(Result::unwrap).collect().await
    }
    /// The first line, once there is one.
    pub async fn first_line(&self, id: InstanceId) -> String {
        let mut first = None;
        until("there is output", async || {
            first = self.lines(id).await.into_iter().next();
            first.is_some()
        })
        .await;
        first.unwrap()
    }
}

impl Drop for Host {
    /// Nothing stays behind, also when a test failed half-way.
    fn drop(&mut self) {
        for dir in std::fs::read_dir(self.dir.path().join("state"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let control = dir.path().join("control");
            let opened = std::os::unix::fs::OpenOptionsExt::custom_flags(
                std::fs::OpenOptions::new().write(true),
                nix::libc::O_NONBLOCK,
            )
            .open(control);
            if let Ok(mut control) = opened {
                let _ = std::io::Write::write_all(&mut control, b"stop 0\n");
            }
        }
        let _ = self.hierarchy.forget(&self.cluster, PATIENCE);
    }
}

fn cluster() -> String {
    format!("test-{:x}", fastrand::u64(..))
}

fn runtime(state_dir: PathBuf, cluster: &str, hierarchy: &Hierarchy, logs: LogLimits) -> Process {
    let config = ProcessConfig {
        state_dir,
        cluster: cluster.to_owned(),
        shim: env!("CARGO_BIN_EXE_evenkeel").into(),
    };
    Process::with(config, hierarchy.clone(), logs).unwrap()
}

/// Waits for a condition, at most [`PATIENCE`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn is_alive(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit_once(')').unwrap().1.starts_with(" Z"),
        Err(_) => false,
    }
}

pub fn sh(script: &str) -> DesiredInstance {
    command(&["/bin/sh", "-c", script])
}

pub fn command(words: &[&str]) -> DesiredInstance {
    let task = Task::Process {
        command: words.iter().map(|w| (*w).to_owned()).collect(),
        working_dir: None,
    };
    let mut instance = instance_of(task, |_| {});
    instance.slot = 2;
    instance
}

/// Changes to an instance, chained.
pub trait With: Sized {
    fn change(self, change: impl FnOnce(&mut RunSpec)) -> Self;
    fn env(self, name: &str, value: &str) -> Self {
        self.change(|run| {
            run.workload.env.insert(name.into(), value.into());
        })
    }
    fn file(self, path: &str, text: &str) -> Self {
        self.change(|run| {
            let data = text.as_bytes().to_vec();
            run.workload.files.insert(path.into(), FileContent { data });
        })
    }
    fn port(self, name: &str, host_port: Option<u16>) -> Self {
        self.change(|run| {
            run.workload.ports.push(Port {
                name: name.into(),
                port: 8080,
                host_port,
                protocol: Protocol::Tcp,
            });
        })
    }
    fn limits(self, cpu_millis: Option<u64>, memory_bytes: Option<u64>) -> Self {
        self.change(|run| {
            run.limits = Limits {
                cpu_millis,
                memory_bytes,
            };
        })
    }
    fn user(self, user: &str) -> Self {
        self.change(|run| run.workload.user = Some(user.into()))
    }
    fn working_dir(self, path: &str) -> Self {
        self.change(|run| {
            if let Task::Process { working_dir, .. } = &mut run.workload.task {
                *working_dir = Some(path.into());
            }
        })
    }
}

impl With for DesiredInstance {
    fn change(mut self, change: impl FnOnce(&mut RunSpec)) -> DesiredInstance {
        change(Arc::make_mut(&mut self.run));
        self
    }
}
