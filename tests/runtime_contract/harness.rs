//! What a runtime has to provide to be put under the contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use evenkeel::agent::runtime::{Error, Found, FoundState, Runtime};
use evenkeel::model::spec::Task;
use evenkeel::model::{DesiredInstance, InstanceId, RunSpec};

use crate::desired::instance_of;

/// What an instance under test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Prints `hello` and then `$WORD`, a line each, and runs on; ends at once when asked (TERM).
    RunOn,
    /// Prints `bye` and exits with this code.
    Exit(i32),
    /// Ignores TERM.
    Stubborn,
    /// Its program does not exist.
    NoSuchProgram,
}

/// A runtime under test. One per test: tests run side by side and must not see each other.
#[async_trait]
pub trait Harness: Send + Sync {
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// The cluster's name that the runtime was made with.
    fn cluster(&self) -> String;

    /// A task that behaves like that. `env` and `files` are set by the caller.
    fn task(&self, behaviour: Behaviour) -> Task;

    /// Environment that makes the task behave; only the fake needs any.
    fn env(&self, _behaviour: Behaviour) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// An image reference that exists nowhere; `None`: the runtime knows no images.
    fn missing_image(&self) -> Option<String>;

    /// Whether limits are really put in force here (cgroups may be read-only).
    fn enforces_limits(&self) -> bool;

    /// A second runtime object over the same things, as after a restart of the agent.
    async fn again(&self) -> Arc<dyn Runtime>;

    /// A command that exits with `code`, and one that prints `text`, and one that never ends.
    fn exec_exit(&self, code: i32) -> Vec<String> {
        sh(&format!("exit {code}"))
    }
    fn exec_print(&self, text: &str) -> Vec<String> {
        sh(&format!("echo {text}"))
    }
    fn exec_hang(&self) -> Vec<String> {
        sh("sleep 1000")
    }
    /// One that sleeps for that many seconds as the process that it says; `None`: it is none.
    fn exec_process(&self, seconds: u32) -> Option<Vec<String>> {
        Some(vec!["sleep".into(), seconds.to_string()])
    }
    /// A command that writes `out` to its output and `err` to its error output.
    fn exec_both(&self, out: &str, err: &str) -> Vec<String> {
        sh(&format!("printf {out}; printf {err} >&2"))
    }

    /// Makes the process of the instance end from outside, as with `kill -9`.
    async fn kill(&self, found: &Found);
}

pub fn sh(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

/// The shell script that behaves like that; `None` where no script can.
#[allow(dead_code, reason = "for the runtimes that have a shell")]
pub fn script(behaviour: Behaviour) -> Option<String> {
    match behaviour {
        Behaviour::RunOn => Some(
            "trap 'exit 143' TERM; echo hello; echo \"$WORD\"; while :; do sleep 0.05; done".into(),
        ),
        Behaviour::Exit(code) => Some(format!("echo bye; exit {code}")),
        Behaviour::Stubborn => {
            Some("trap '' TERM; echo hello; while :; do sleep 0.05; done".into())
        }
        Behaviour::NoSuchProgram => None,
    }
}

/// An instance with that behaviour; change what the test is about.
pub fn instance(h: &dyn Harness, behaviour: Behaviour) -> DesiredInstance {
    instance_with(h, behaviour, |_| {})
}

pub fn instance_with(
    h: &dyn Harness,
    behaviour: Behaviour,
    change: impl FnOnce(&mut RunSpec),
) -> DesiredInstance {
    instance_of(h.task(behaviour), |run| {
        run.workload.env = h.env(behaviour);
        change(run);
    })
}

/// Prepares, creates and starts it.
pub async fn run(h: &dyn Harness, instance: &DesiredInstance) -> Result<(), Error> {
    let runtime = h.runtime();
    if let Some(image) = &instance.run.image {
        runtime.prepare(image, instance.run.pull_policy).await?;
    }
    runtime.create(&h.cluster(), instance).await?;
    runtime.start(instance.id).await
}

/// Waits, at most 20 s, until the instance is in a state that `want` accepts.
pub async fn until(
    runtime: &dyn Runtime,
    id: InstanceId,
    what: &str,
    want: impl Fn(Option<&Found>) -> bool,
) -> Option<Found> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let found = runtime.inspect(id).await.expect("the runtime answers");
        if want(found.as_ref()) {
            return found;
        }
        assert!(
            Instant::now() < end,
            "not {what} within 20 s; it is {found:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn until_running(runtime: &dyn Runtime, id: InstanceId) -> Found {
    let found = until(runtime, id, "running", |f| f.is_some_and(Found::is_running)).await;
    found.expect("it was there")
}

/// Waits for its exit; returns code and whether the runtime took it along.
pub async fn until_exited(runtime: &dyn Runtime, id: InstanceId) -> (Option<i32>, bool) {
    let exited =
        |f: Option<&Found>| f.is_some_and(|f| matches!(f.state, FoundState::Exited { .. }));
    match until(runtime, id, "exited", exited).await.map(|f| f.state) {
        Some(FoundState::Exited { exit, by_runtime }) => (exit.code, by_runtime),
        other => panic!("{other:?}"),
    }
}
