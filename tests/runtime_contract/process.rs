//! Plain processes under the contract, with the real supervisor.

use std::sync::Arc;

use async_trait::async_trait;
use evenkeel::agent::runtime::process::cgroup::Hierarchy;
use evenkeel::agent::runtime::process::{Process, ProcessConfig};
use evenkeel::agent::runtime::{Found, Runtime};
use evenkeel::model::spec::Task;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Behaviour, Harness, script, sh};

struct ProcessHarness {
    // Dropped last, after the clean-up of the contract has removed what runs.
    dir: tempfile::TempDir,
    cluster: String,
    runtime: Arc<Process>,
}

impl ProcessHarness {
    fn start() -> ProcessHarness {
        let dir = tempfile::tempdir().expect("a folder");
        let cluster = format!("contract-{:x}", fastrand::u64(..));
        let runtime = make(dir.path(), &cluster);
        ProcessHarness {
            dir,
            cluster,
            runtime,
        }
    }
}

impl Drop for ProcessHarness {
    fn drop(&mut self) {
        let groups = Hierarchy::detect(&self.cluster);
        let _ = groups.forget(&self.cluster, std::time::Duration::from_secs(5));
    }
}

fn make(dir: &std::path::Path, cluster: &str) -> Arc<Process> {
    let config = ProcessConfig {
        state_dir: dir.to_owned(),
        cluster: cluster.to_owned(),
        shim: env!("CARGO_BIN_EXE_evenkeel").into(),
    };
    Arc::new(Process::new(config).expect("the state folder can be made"))
}

#[async_trait]
impl Harness for ProcessHarness {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }
    fn cluster(&self) -> String {
        self.cluster.clone()
    }
    fn task(&self, behaviour: Behaviour) -> Task {
        Task::Process {
            command: match script(behaviour) {
                Some(script) => sh(&script),
                None => vec!["/no/such/program".into()],
            },
            working_dir: None,
        }
    }
    fn missing_image(&self) -> Option<String> {
        None
    }
    fn enforces_limits(&self) -> bool {
        true
    }
    async fn again(&self) -> Arc<dyn Runtime> {
        make(self.dir.path(), &self.cluster)
    }
    async fn kill(&self, found: &Found) {
        // The handle is the supervisor's; its record names the program's own process.
        let record = self.dir.path().join(found.id.to_string()).join("run.json");
        let text = std::fs::read_to_string(record).expect("it was started");
        let run: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let pid = i32::try_from(run["pid"].as_i64().expect("a pid")).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it lives");
    }
}

contract!(ProcessHarness::start());
