//! How a role ends: on a signal, when one of its parts ends by itself, and in
//! bounded time either way.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// SIGINT and SIGTERM, caught from now on.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn catch() -> anyhow::Result<Signals> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Signals {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// `work`, unless a signal comes first.
    pub async fn or<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<Option<T>> {
        tokio::select! {
            signal = self.next() => {
                tracing::info!(signal, "stopping before the start was finished");
                Ok(None)
            }
            done = work => done.map(Some),
        }
    }
}

/// The parts of a role. Each is given its own token and ends only when that is cancelled.
#[derive(Default)]
pub struct Parts {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    stops: Vec<(&'static str, CancellationToken, AbortHandle)>,
}

impl Parts {
    pub fn spawn(
        &mut self,
        name: &'static str,
        stop: CancellationToken,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let task = self.set.spawn(async move { (name, work.await) });
        self.stops.push((name, stop, task));
    }

    /// Until a signal (`Ok`), or until a part ends that was not told to.
    pub async fn wait(&mut self, signals: &mut Signals) -> anyhow::Result<()> {
        tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "stopping; what runs keeps running");
                Ok(())
            }
            Some(ended) = self.set.join_next() => match ended {
                Ok((name, Ok(()))) => anyhow::bail!("the {name} ended unexpectedly"),
                Ok((name, Err(error))) => Err(error.context(format!("the {name} failed"))),
                Err(error) => Err(anyhow::Error::new(error).context("a part of evenkeel failed")),
            }
        }
    }

    /// Stops the parts, the last one first, each within `deadline`.
    pub async fn stop(mut self, deadline: Duration) {
        while let Some((name, stop, task)) = self.stops.pop() {
            stop.cancel();
            let ended = async {
                while !task.is_finished() {
                    match self.set.join_next().await {
                        Some(Ok((name, Err(error)))) => {
                            tracing::warn!(part = name, "ended with an error: {error:#}");
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
            };
            if tokio::time::timeout(deadline, ended).await.is_err() {
                tracing::warn!(part = name, "did not end in time");
                task.abort();
            }
        }
    }
}
