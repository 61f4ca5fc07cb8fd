//! Listens to the controller: the newest set goes through the ledger to the worker.
//!
//! Reconnects for ever; without a controller the node goes on as it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::commands::{self, Commands};
use super::ledger::{self, Accepted, Ledger};
use super::logs;
use super::runtime::LogQuery;
use super::worker::Orders;
use crate::api::agent::ToAgent;
use crate::causes::chain;
use crate::client::{Client, Error};
use crate::model::{DesiredSet, NodeName};

/// First and longest pause before connecting again; the true one is between half and all of it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Until a full disk is tried again.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// Grows from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`], with jitter, so that a thousand agents do
/// not come back in step.
pub struct Pause(Duration);

impl Pause {
    pub fn new() -> Pause {
        Pause(FIRST_PAUSE)
    }

    pub fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// The listening end.
pub struct Stream {
    pub node: NodeName,
    pub client: Client,
    /// Told at each connection: a new controller wants to know everything.
    pub full: Arc<Notify>,
    pub logs: logs::Sender,
    pub commands: Commands,
}

impl Stream {
    pub async fn run(
        self,
        ledger: Ledger,
        orders: watch::Sender<Orders>,
        cancel: CancellationToken,
    ) {
        let newest = watch::Sender::new(None);
        let taking = take(ledger, newest.subscribe(), orders);
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.listen(newest) => {}
            () = taking => {}
        }
    }

    async fn listen(&self, newest: watch::Sender<Option<Arc<DesiredSet>>>) {
        let mut pause = Pause::new();
        let mut told = false;
        loop {
            let ended = self.connection(&newest, &mut pause, &mut told).await;
            if !std::mem::replace(&mut told, true) {
                match ended {
                    Ok(()) => tracing::warn!(node = %self.node, "the controller closed the stream"),
                    Err(error) => {
                        let error = chain(&error);
                        tracing::warn!(node = %self.node, error, "no connection to the controller");
                    }
                }
            }
            tokio::time::sleep(pause.next()).await;
        }
    }

    /// One connection, to its end.
    async fn connection(
        &self,
        newest: &watch::Sender<Option<Arc<DesiredSet>>>,
        pause: &mut Pause,
        told: &mut bool,
    ) -> Result<(), Error> {
        let mut stream = self.client.agent_stream(&self.node).await?;
        tracing::info!(node = %self.node, controller = self.client.url(), "connected");
        self.full.notify_one();
        while let Some(message) = stream.next().await? {
            *pause = Pause::new();
            *told = false;
            match message {
                ToAgent::Desired { set } => {
                    newest.send_replace(Some(Arc::from(set)));
                }
                ToAgent::Ping => {}
                ToAgent::Logs {
                    id,
                    instance,
                    tail,
                    follow,
                } => self.logs.send(id, instance, LogQuery { tail, follow }),
                ToAgent::Exec {
                    id,
                    instance,
                    command,
                    timeout_ms,
                } => {
                    let request = commands::Request {
                        instance,
                        command,
                        timeout: Duration::from_millis(timeout_ms),
                    };
                    self.commands.run(id, request);
                }
            }
        }
        Ok(())
    }
}

/// Takes the newest set into the ledger and hands it on; sets that were overtaken meanwhile
/// are left out.
async fn take(
    mut ledger: Ledger,
    mut newest: watch::Receiver<Option<Arc<DesiredSet>>>,
    orders: watch::Sender<Orders>,
) {
    loop {
        if newest.changed().await.is_err() {
            return;
        }
        let Some(set) = newest.borrow_and_update().clone() else {
            continue;
        };
        let offered = Arc::clone(&set);
        // A task that was cancelled or panicked leaves no ledger to go on with.
        let Ok((back, taken)) = tokio::task::spawn_blocking(move || {
            let taken = ledger.accept(offered);
            (ledger, taken)
        })
        .await
        else {
            return;
        };
        ledger = back;
        match taken {
            Ok(Accepted::New) => {
                orders.send_replace(Orders {
                    set: Some(set),
                    hold: None,
                });
            }
            Ok(Accepted::Known) => {}
            Err(error @ ledger::Error::Write { .. }) => {
                tracing::error!(error = chain(&error), "nothing new is done");
                // A newer set may come meanwhile; it is taken then.
                tokio::time::sleep(WRITE_RETRY).await;
                newest.mark_changed();
            }
            Err(error @ ledger::Error::Refused(_)) => tracing::warn!(%error, "desired set refused"),
        }
    }
}
