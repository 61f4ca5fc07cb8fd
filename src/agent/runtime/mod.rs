//! The seam to what really runs things: containers, plain processes, or a
//! fake with faults. Every operation is idempotent by instance id, and none
//! waits for ever: the worker puts a deadline on each call.
//!
//! A runtime owns the instances that carry its cluster's name and never
//! touches anything else.

pub mod crash_points;
pub mod docker;
pub mod fake;
pub mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

pub use super::found::{Found, FoundState};
use crate::model::instance::{Failure, FailureKind};
use crate::model::spec::{Limits, PullPolicy};
use crate::model::{DesiredInstance, InstanceId};

/// An operation that did not succeed. `kind` says whether trying again can help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: FailureKind,
    pub message: String,
}

impl Error {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            kind: error.kind,
            message: error.message,
        }
    }
}

/// A local image, or the fact that none is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `repository@sha256:…` where a registry told it.
    pub digest: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    pub code: i32,
    /// Standard output and error together, at most 4 KiB.
    pub output: String,
}

/// Why a command was killed.
fn out_of_time(timeout: Duration) -> Error {
    let why = format!("it was killed: it had not ended after {timeout:?}");
    Error::new(FailureKind::StartFailed, why)
}

fn reader_left() -> Error {
    let why = "it was killed: nobody reads its output any more";
    Error::new(FailureKind::StartFailed, why)
}

/// A piece of what a command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// On its standard output.
    Out(Bytes),
    /// On its standard error.
    Err(Bytes),
}

/// Something may have changed: look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    Instance(InstanceId),
    /// Reconnected, or events were missed: look at everything.
    All,
    /// The runtime stopped answering.
    Down,
}

/// Where log lines start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// Lines from the end.
    pub tail: usize,
    pub follow: bool,
}

#[async_trait]
pub trait Runtime: Send + Sync {
    /// `docker` or `process`.
    fn name(&self) -> &'static str;

    /// Attributes of the node that this runtime contributes (`runtime.docker=true`, versions).
    async fn attributes(&self) -> Result<BTreeMap<String, String>, Error>;

    /// All instances it holds, whatever their state.
    async fn list(&self) -> Result<Vec<Found>, Error>;

    /// One of them; `None`: there is none, for certain.
    async fn inspect(&self, id: InstanceId) -> Result<Option<Found>, Error>;

    /// Brings the image to this node.
    async fn prepare(&self, image: &str, policy: PullPolicy) -> Result<Image, Error>;

    /// Creates without starting; does nothing if it exists.
    async fn create(&self, cluster: &str, instance: &DesiredInstance) -> Result<(), Error>;

    /// Starts a created or exited instance; does nothing if it runs.
    async fn start(&self, id: InstanceId) -> Result<(), Error>;

    /// Asks it to end, and kills its whole tree after `grace`; does nothing if it does not run.
    async fn stop(&self, id: InstanceId, grace: Duration) -> Result<(), Error>;

    /// Removes all traces but named volumes; does nothing if there is none.
    async fn remove(&self, id: InstanceId) -> Result<(), Error>;

    /// Changes the ceilings of a live instance.
    async fn set_limits(&self, id: InstanceId, limits: Limits) -> Result<(), Error>;

    /// Runs a command inside and waits for it, at most `timeout`.
    async fn exec(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, Error>;

    /// Runs a command inside for a person, and waits for it. What it says goes to `said` as it
    /// comes, at the reader's pace. It is killed after `timeout`, and when the reader has left.
    /// Returns its exit code; 128 + N after signal N.
    async fn exec_streamed(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
        said: mpsc::Sender<Said>,
    ) -> Result<i32, Error>;

    /// Its output, a line per item without the line feed; ends with the instance or, unless followed, at once.
    async fn logs(
        &self,
        id: InstanceId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<String, Error>>, Error>;

    /// Hints, for as long as the runtime object lives; reconnects by itself.
    fn watch(&self) -> BoxStream<'static, Hint>;
}
