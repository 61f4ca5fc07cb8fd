//! Sends an instance's output to the controller that asked for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::carry::LOOK;
use super::runtime::{Error, LogQuery, Runtime};
use crate::client::Client;
use crate::model::{FailureKind, InstanceId};

/// Outputs sent at the same time; the rest waits.
const AT_ONCE: usize = 32;

/// Owns the sending tasks; they end with the agent.
pub struct Sender {
    client: Client,
    runtimes: BTreeMap<&'static str, Arc<dyn Runtime>>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Sender {
    pub fn new(
        client: Client,
        runtimes: BTreeMap<&'static str, Arc<dyn Runtime>>,
        cancel: CancellationToken,
    ) -> Sender {
        Sender {
            client,
            runtimes,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: TaskTracker::new(),
            cancel,
        }
    }

    /// Answers one request, in a task of its own.
    pub fn send(&self, stream: Uuid, instance: InstanceId, query: LogQuery) {
        let client = self.client.clone();
        let runtimes = self.runtimes.clone();
        let slots = Arc::clone(&self.slots);
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            let sending = async {
                let Ok(_slot) = slots.acquire_owned().await else {
                    return;
                };
                let lines = open(&runtimes, instance, query).await;
                let sent = match lines {
                    Ok(lines) => client.agent_send(stream, lines).await,
                    // What went wrong is all that there is to read.
                    Err(error) => {
                        let line = Bytes::from(format!("evenkeel: no output: {error}\n"));
                        let body = futures_util::stream::iter([Ok::<_, Error>(line)]);
                        client.agent_send(stream, body).await
                    }
                };
                if let Err(error) = sent {
                    tracing::debug!(%instance, %error, "output was not taken");
                }
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = sending => {}
            }
        });
    }
}

async fn open(
    runtimes: &BTreeMap<&'static str, Arc<dyn Runtime>>,
    id: InstanceId,
    query: LogQuery,
) -> Result<impl futures_util::Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
    let lines = holder(runtimes, id).await?.logs(id, query).await?;
    Ok(lines
        .map_ok(|mut line| {
            line.push('\n');
            Bytes::from(line)
        })
        .boxed())
}

/// The runtime that holds the instance.
pub(super) async fn holder<'a>(
    runtimes: &'a BTreeMap<&'static str, Arc<dyn Runtime>>,
    id: InstanceId,
) -> Result<&'a Arc<dyn Runtime>, Error> {
    let mut last = Error::new(
        FailureKind::StartFailed,
        format!("this node holds no instance {id}"),
    );
    for runtime in runtimes.values() {
        match tokio::time::timeout(LOOK, runtime.inspect(id)).await {
            Ok(Ok(Some(_))) => return Ok(runtime),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => last = error,
            Err(_) => {
                let why = format!("{} does not answer", runtime.name());
                last = Error::new(FailureKind::RuntimeUnavailable, why);
            }
        }
    }
    Err(last)
}
