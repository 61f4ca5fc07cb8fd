//! Commands inside a container, with a bound on time and output.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ExecConfig, ExecInspectResponse};
use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use super::engine::CALL_DEADLINE;
use super::error::{self, CallError};
use super::{Inner, no_container};
use crate::agent::runtime::{Error, ExecResult, Said, out_of_time, reader_left};
use crate::model::{FailureKind, InstanceId};

/// Bytes of output that are kept: a probe's answer, not a log.
const OUTPUT_BYTES: usize = 4096;

/// The end of the stream comes a moment before the Engine has the exit code.
const EXIT_CODE_DEADLINE: Duration = Duration::from_secs(5);

/// For a command to be gone after its reader has left or its time is up.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
const KILL_POLL: Duration = Duration::from_millis(10);

impl Inner {
    pub(super) async fn exec(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, Error> {
        let exec = self.prepare_exec(id, command).await?;
        let mut output = Vec::new();
        let keeping = async {
            let said = self.begin_exec(&exec).await?;
            self.follow_exec(&exec, said, Sink::Keep(&mut output)).await
        };
        let ended = tokio::time::timeout(timeout, keeping).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match ended {
            Ok(Ok(code)) => Ok(ExecResult {
                code,
                output: text(&output),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.kill_exec(&exec).await;
                Err(Error::new(
                    FailureKind::StartFailed,
                    format!(
                        "it had not ended after {} ms and was killed; so far it said {:?}",
                        timeout.as_millis(),
                        text(&output),
                    ),
                ))
            }
        }
    }

    /// As [`Runtime::exec_streamed`](crate::agent::runtime::Runtime::exec_streamed).
    pub(super) async fn exec_streamed(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
        said: mpsc::Sender<Said>,
    ) -> Result<i32, Error> {
        let exec = self.prepare_exec(id, command).await?;
        if said.is_closed() {
            return Err(reader_left());
        }
        let output = self.begin_exec(&exec).await?;
        let why = tokio::select! {
            ended = self.follow_exec(&exec, output, Sink::Tell(&said)) => return ended,
            () = said.closed() => reader_left(),
            () = tokio::time::sleep(timeout) => out_of_time(timeout),
        };
        self.kill_exec(&exec).await;
        Err(why)
    }

    /// Its id at the Engine; nothing runs yet.
    async fn prepare_exec(&self, id: InstanceId, command: &[String]) -> Result<String, Error> {
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let created = self
            .on_container(id, CALL_DEADLINE, |docker, container| {
                let config = config.clone();
                async move { docker.create_exec(&container, config).await }
            })
            .await
            .map_err(|error| error::of_start(&error))?
            .ok_or_else(|| no_container(id))?;
        Ok(created.id)
    }

    /// What it will say. Dropped half way, it may run or not.
    async fn begin_exec(&self, exec: &str) -> Result<StartExecResults, Error> {
        let start = StartExecOptions {
            detach: false,
            tty: false,
            output_capacity: None,
        };
        self.engine
            .call(CALL_DEADLINE, |docker| async move {
                docker.start_exec(exec, Some(start)).await
            })
            .await
            .map_err(|error| error::of_start(&error))
    }

    /// Its exit code, once all of its output is taken.
    async fn follow_exec(
        &self,
        exec: &str,
        attached: StartExecResults,
        mut sink: Sink<'_>,
    ) -> Result<i32, Error> {
        if let StartExecResults::Attached { mut output, .. } = attached {
            while let Some(frame) = output.next().await {
                let frame = frame.map_err(|e| error::of_call(&e.into()))?;
                sink.take(frame).await;
            }
        }
        let deadline = tokio::time::Instant::now() + EXIT_CODE_DEADLINE;
        loop {
            let state = self
                .inspect_exec(exec)
                .await
                .map_err(|error| error::of_call(&error))?;
            if let Some(code) = exit_code(&state) {
                return Ok(i32::try_from(code).unwrap_or(i32::MAX));
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Error::new(
                    FailureKind::StartFailed,
                    "the command closed its output and did not end",
                ));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn inspect_exec(&self, exec: &str) -> Result<ExecInspectResponse, CallError> {
        self.engine
            .call(CALL_DEADLINE, |docker| async move {
                docker.inspect_exec(exec).await
            })
            .await
    }

    /// Returns once its process is gone, or never comes. The Engine cannot end an exec, so its
    /// process is killed from outside, if it can be seen from here and is for certain in that
    /// container. Otherwise it is left: a stray probe is a smaller evil than a stranger's
    /// process killed.
    async fn kill_exec(&self, exec: &str) {
        let killing = async {
            // The Engine begins it after it has answered, and knows its process later still.
            while let Some(process) = self.process_of(exec).await {
                if process.is_some_and(|(pid, container)| !kill_tree(pid, &container)) {
                    return;
                }
                tokio::time::sleep(KILL_POLL).await;
            }
        };
        if tokio::time::timeout(KILL_DEADLINE, killing).await.is_err() {
            tracing::warn!(
                exec,
                "a command that nobody waits for could not be ended in time"
            );
        }
    }

    /// Its first process and container; `Some(None)`: not known, or not begun; `None`: it is over.
    async fn process_of(&self, exec: &str) -> Option<Option<(i32, String)>> {
        let state = match self.inspect_exec(exec).await {
            Ok(state) if exit_code(&state).is_some() => return None,
            Ok(state) => state,
            Err(error) if error.is_not_found() => return None,
            Err(_) => return Some(None),
        };
        let pid = state.pid.and_then(|pid| i32::try_from(pid).ok());
        Some(pid.filter(|pid| *pid > 1).zip(state.container_id))
    }
}

/// `None`: it has not ended. Some Engines give a code also before that.
fn exit_code(state: &ExecInspectResponse) -> Option<i64> {
    state.exit_code.filter(|_| !state.running.unwrap_or(false))
}

/// Kills all of it that is in the container; whether anything was.
fn kill_tree(root: i32, container: &str) -> bool {
    let inside = |pid: &i32| *pid > 1 && is_in_container(*pid, container);
    let tree: Vec<_> = tree_of(root).into_iter().filter(inside).collect();
    for pid in &tree {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    !tree.is_empty()
}

/// Where output goes.
enum Sink<'a> {
    /// The first [`OUTPUT_BYTES`] are kept.
    Keep(&'a mut Vec<u8>),
    /// Everything, at the reader's pace.
    Tell(&'a mpsc::Sender<Said>),
}

impl Sink<'_> {
    async fn take(&mut self, frame: LogOutput) {
        match self {
            Sink::Keep(output) => {
                let bytes = frame.as_ref();
                let room = OUTPUT_BYTES.saturating_sub(output.len());
                output.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Sink::Tell(said) => {
                let piece = match frame {
                    LogOutput::StdErr { message } => Said::Err(message),
                    LogOutput::StdOut { message }
                    | LogOutput::StdIn { message }
                    | LogOutput::Console { message } => Said::Out(message),
                };
                // That the reader has left is noticed by who waits for it.
                let _ = said.send(piece).await;
            }
        }
    }
}

/// A process and all below it, as /proc tells.
fn tree_of(root: i32) -> Vec<i32> {
    let mut all = vec![root];
    let mut seen = BTreeSet::from([root]);
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|text| text.parse().ok())
        {
            if seen.insert(child) {
                all.push(child);
            }
        }
    }
    all
}

/// Control groups of containers carry the container's id, whoever manages them.
fn is_in_container(pid: i32, container: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .is_ok_and(|groups| container.len() >= 32 && groups.contains(container))
}
