//! Any runtime, with a crash point on each side of every call that changes something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use super::{Error, ExecResult, Found, Hint, Image, LogQuery, Runtime, Said};
use crate::failpoint::{Op, around_async};
use crate::model::spec::{Limits, PullPolicy};
use crate::model::{DesiredInstance, InstanceId};

/// Passes everything on. Looks, probes and logs change nothing and have no points; what a
/// person's command changes is theirs.
pub struct CrashPoints<R>(pub R);

impl<R: Runtime + 'static> CrashPoints<R> {
    /// As the agent holds its runtimes. Where there are no points there is no wrapper.
    pub fn around(runtime: R) -> Arc<dyn Runtime> {
        if cfg!(debug_assertions) {
            Arc::new(CrashPoints(runtime))
        } else {
            Arc::new(runtime)
        }
    }
}

#[async_trait]
impl<R: Runtime> Runtime for CrashPoints<R> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn attributes(&self) -> Result<BTreeMap<String, String>, Error> {
        self.0.attributes().await
    }

    async fn list(&self) -> Result<Vec<Found>, Error> {
        self.0.list().await
    }

    async fn inspect(&self, id: InstanceId) -> Result<Option<Found>, Error> {
        self.0.inspect(id).await
    }

    async fn prepare(&self, image: &str, policy: PullPolicy) -> Result<Image, Error> {
        around_async(Op::RuntimePrepare, self.0.prepare(image, policy)).await
    }

    async fn create(&self, cluster: &str, instance: &DesiredInstance) -> Result<(), Error> {
        around_async(Op::RuntimeCreate, self.0.create(cluster, instance)).await
    }

    async fn start(&self, id: InstanceId) -> Result<(), Error> {
        around_async(Op::RuntimeStart, self.0.start(id)).await
    }

    async fn stop(&self, id: InstanceId, grace: Duration) -> Result<(), Error> {
        around_async(Op::RuntimeStop, self.0.stop(id, grace)).await
    }

    async fn remove(&self, id: InstanceId) -> Result<(), Error> {
        around_async(Op::RuntimeRemove, self.0.remove(id)).await
    }

    async fn set_limits(&self, id: InstanceId, limits: Limits) -> Result<(), Error> {
        around_async(Op::RuntimeSetLimits, self.0.set_limits(id, limits)).await
    }

    async fn exec(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, Error> {
        self.0.exec(id, command, timeout).await
    }

    async fn exec_streamed(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
        said: mpsc::Sender<Said>,
    ) -> Result<i32, Error> {
        self.0.exec_streamed(id, command, timeout, said).await
    }

    async fn logs(
        &self,
        id: InstanceId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        self.0.logs(id, query).await
    }

    fn watch(&self) -> BoxStream<'static, Hint> {
        self.0.watch()
    }
}
