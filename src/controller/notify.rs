//! Sends what the outbox holds: the statuses of commits, to their sources' forges.
//!
//! Invariants: what is to be sent was written by the commit that caused it, and is sent by
//! the leader only. One message of a source is on its way at a time, so that their order
//! holds; sources do not wait for each other, and nothing else waits for any of this. A
//! message may arrive twice (its sender died in between), never in the wrong order.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::leadership::chain;
use super::{Error, Handle, lock};
use crate::clock;
use crate::failpoint::{self, Op};
use crate::forge::{self, Verdict};
use crate::model::{ForgeSpec, SourceName};
use crate::store::{self, Outgoing};

/// A message whose sender was not heard of again is due anew; more than an attempt may take.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// First pause after a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Older than this a status helps nobody.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The outbox is looked at this often even if nothing told that there is something.
const SAFETY_NET: Duration = Duration::from_secs(60);
/// Until the database is asked again after it failed.
const RETRY: Duration = Duration::from_secs(1);
/// Sources written to at the same time.
const AT_ONCE: usize = 16;

/// Why a source's statuses do not arrive at present.
pub(super) type Troubles = BTreeMap<SourceName, String>;

impl Handle {
    /// `commit statuses: 401 from …: renew the token in …`.
    pub(super) fn forge_trouble(&self, source: &SourceName) -> Option<String> {
        let troubles = lock(&self.0.forge_troubles);
        let reason = troubles.get(source)?;
        Some(format!("commit statuses: {reason}"))
    }
}

/// Until the leadership ends.
pub(super) async fn run(handle: Handle, term: CancellationToken) {
    let client = match forge::Client::new() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(error = %chain(&error), "commit statuses cannot be sent");
            return;
        }
    };
    lock(&handle.0.forge_troubles).clear();
    // Calls that are under way end with this future.
    term.run_until_cancelled(send_all(&handle, &client)).await;
}

async fn send_all(handle: &Handle, client: &forge::Client) {
    let mut calls = FuturesUnordered::new();
    let mut busy: Vec<SourceName> = Vec::new();
    loop {
        let pause = match claim(handle, &busy).await {
            Ok((outgoing, pause)) => {
                for message in outgoing {
                    busy.push(message.source.clone());
                    calls.push(deliver(handle, client, message));
                }
                pause
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the outbox cannot be read");
                RETRY
            }
        };
        tokio::select! {
            Some(source) = calls.next() => busy.retain(|other| *other != source),
            _ = handle.0.outbox.notified() => {}
            _ = sleep(pause) => {}
        }
    }
}

/// What is due, and how long until more is.
async fn claim(handle: &Handle, busy: &[SourceName]) -> Result<(Vec<Outgoing>, Duration), Error> {
    let unavailable = |e: store::Error| Error::Unavailable(Box::new(e));
    let store = &handle.0.store;
    let room = AT_ONCE.saturating_sub(busy.len());
    if room == 0 {
        return Ok((Vec::new(), SAFETY_NET));
    }
    // Mostly there is nothing: that costs a read.
    let due = store.outbox_due_in().await.map_err(unavailable)?;
    match due {
        None => return Ok((Vec::new(), SAFETY_NET)),
        Some(wait) if !wait.is_zero() => return Ok((Vec::new(), wait.min(SAFETY_NET))),
        Some(_) => {}
    }
    let epoch = handle.0.image.leading()?.epoch;
    let claimed = store.claim_outbox(epoch, busy, room, LOST_AFTER).await;
    let claimed = claimed.map_err(unavailable)?;
    // Something waits behind a call that is under way: its end is the next chance.
    let pause = if claimed.is_empty() {
        RETRY
    } else {
        Duration::ZERO
    };
    Ok((claimed, pause))
}

async fn deliver(handle: &Handle, client: &forge::Client, message: Outgoing) -> SourceName {
    let verdict = attempt(handle, client, &message).await;
    let source = message.source.clone();
    if let Err(error) = report(handle, &message, verdict).await {
        tracing::debug!(%source, error = %chain(&error), "an attempt to send a commit status could not be written down");
    }
    source
}

async fn attempt(handle: &Handle, client: &forge::Client, message: &Outgoing) -> Verdict {
    let spec: Option<ForgeSpec> = handle
        .read(|s| s.sources.get(&message.source)?.spec.forge.clone())
        .ok()
        .flatten();
    let Some(spec) = spec else {
        return Verdict::GiveUp {
            reason: "the source has no forge any more".to_owned(),
        };
    };
    let (commit, context) = (&message.commit, &message.context);
    let post = client.post(&spec, commit, context, &message.status, clock::now());
    failpoint::around_async(Op::ForgePost, post).await
}

async fn report(handle: &Handle, message: &Outgoing, verdict: Verdict) -> Result<(), Error> {
    let unavailable = |e: store::Error| Error::Unavailable(Box::new(e));
    let store = &handle.0.store;
    let epoch = handle.0.image.leading()?.epoch;
    let (source, commit, id) = (&message.source, &message.commit, message.id);
    let (reason, again) = match verdict {
        Verdict::Delivered => {
            lock(&handle.0.forge_troubles).remove(source);
            tracing::info!(%source, commit = commit.short(), state = ?message.status.state, "commit status posted");
            return store.outbox_sent(epoch, id).await.map_err(unavailable);
        }
        Verdict::Retry { after, reason } if message.age < GIVE_UP_AFTER => {
            let pause = after.unwrap_or_else(|| back_off(message.attempts));
            (reason, Some(pause))
        }
        Verdict::Retry { reason, .. } => {
            let told = format!("given up after {} attempts: {reason}", message.attempts);
            (told, None)
        }
        Verdict::GiveUp { reason } => (reason, None),
    };
    let known = lock(&handle.0.forge_troubles).insert(source.clone(), reason.clone());
    // Told once per trouble, not once per attempt.
    if known.as_ref() != Some(&reason) {
        tracing::warn!(%source, commit = commit.short(), reason, "a commit status could not be posted");
    }
    store
        .outbox_failed(epoch, id, &reason, again)
        .await
        .map_err(unavailable)
}

/// The pause after so many attempts.
fn back_off(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_PAUSE
        .saturating_mul(1 << doublings)
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u64> = [1, 2, 3, 12, 400]
            .map(|n| back_off(n).as_millis() as u64)
            .to_vec();
        assert_eq!(pauses, [500, 1000, 2000, 600_000, 600_000]);
    }
}
