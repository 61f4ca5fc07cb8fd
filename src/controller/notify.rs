//! Sends what the outbox holds to the sources' forges: the statuses of commits, and comments
//! of pull requests.
//!
//! Invariants: what is to be sent was written by the commit that caused it, and is sent by
//! the leader only. One message of a source is on its way at a time, so that their order
//! holds; sources do not wait for each other, and nothing else waits for any of this. A
//! message may arrive twice (its sender died in between), never in the wrong order.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::leadership::chain;
use super::{CallEnd, Error, Handle, lock};
use crate::failpoint::{self, Op};
use crate::forge::{self, Again, Failure, FailureKind};
use crate::model::{CommitId, ForgeKind, ForgeSpec, OutboxEntry, PullComment, SourceName};
use crate::plan::statuses;
use crate::store::{self, Message, Outgoing};

/// A message whose sender was not heard of again is due anew.
const LOST_AFTER: Duration = Duration::from_secs(120);
/// For one attempt: it may take several requests, each with a deadline of its own.
const ATTEMPT: Duration = Duration::from_secs(90);
/// For writing down that a commit is being applied; it is applied without, then.
const ANNOUNCE: Duration = Duration::from_secs(2);
/// First pause after a failure; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Older than this a status helps nobody.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The outbox is looked at this often even if nothing told that there is something.
const SAFETY_NET: Duration = Duration::from_secs(60);
/// Until the database is asked again after it failed.
const RETRY: Duration = Duration::from_secs(1);
const NO_FORGE: &str = "the source has no forge any more";
/// Sources written to at the same time.
const AT_ONCE: usize = 16;

impl Handle {
    /// Puts into the outbox what no change of the cluster causes: statuses such as that of a
    /// plan, and comments of pull requests by their number. What waits of the same commit and
    /// context, or the same pull request, is replaced.
    pub async fn tell_forge(
        &self,
        statuses: &[OutboxEntry],
        comments: &[(SourceName, u64, PullComment)],
    ) -> Result<(), Error> {
        let epoch = self.0.image.leading()?.epoch;
        let added = self.0.store.add_outbox(epoch, statuses, comments).await;
        added.map_err(|e| Error::Unavailable(Box::new(e)))?;
        self.0.outbox.notify_one();
        Ok(())
    }

    /// Says at the source's forge that this commit is being applied; what was announced of
    /// another one and never came to a verdict is ended. A failure costs nothing but that.
    pub(super) async fn announce(&self, name: &SourceName, commit: &CommitId) {
        let kind = self.read(|s| {
            let source = s.sources.get(name)?;
            let forge = source.spec.forge.as_ref()?;
            // Once per head: one that could not be applied has its verdict.
            let told = [&source.last_applied, &source.last_seen];
            let fresh = !source.suspended && told.iter().all(|c| c.as_ref() != Some(commit));
            fresh.then_some(forge.kind)
        });
        let (Ok(Some(kind)), Ok(leading)) = (kind, self.0.image.leading()) else {
            return;
        };
        let context = statuses::context(self.cluster(), name);
        let (announced, overtaken) = (statuses::announced(kind), statuses::overtaken(commit));
        let store = &self.0.store;
        let work = store.announce(
            leading.epoch,
            name,
            commit,
            &context,
            &announced,
            &overtaken,
        );
        match timeout(ANNOUNCE, work).await {
            Ok(Ok(())) => self.0.outbox.notify_one(),
            Ok(Err(error)) => {
                tracing::debug!(source = %name, error = %chain(&error), "a commit is not announced");
            }
            Err(_) => tracing::debug!(source = %name, "a commit is not announced in time"),
        }
    }

    /// For questions to forges; one for all, so that limits are heeded whoever asks.
    pub fn forge(&self) -> &forge::Client {
        &self.0.forge
    }
}

/// Until the leadership ends.
pub(super) async fn run(handle: Handle, term: CancellationToken) {
    lock(&handle.0.telling).forget_all();
    // Calls that are under way end with this future.
    term.run_until_cancelled(send_all(&handle)).await;
}

/// A message whose sender died is sent at once, not when its claim runs out.
async fn take_back(handle: &Handle) -> Result<(), Error> {
    let epoch = handle.0.image.leading()?.epoch;
    let taken = handle.0.store.outbox_take_back(epoch).await;
    taken.map(drop).map_err(|e| Error::Unavailable(Box::new(e)))
}

async fn send_all(handle: &Handle) {
    if let Err(error) = take_back(handle).await {
        tracing::debug!(error = %chain(&error), "what an earlier leader had begun to send waits for its time");
    }
    let mut calls = FuturesUnordered::new();
    let mut busy: Vec<SourceName> = Vec::new();
    loop {
        let pause = match claim(handle, &busy).await {
            Ok((outgoing, pause)) => {
                for message in outgoing {
                    busy.push(message.source.clone());
                    calls.push(deliver(handle, message));
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

async fn deliver(handle: &Handle, message: Outgoing) -> SourceName {
    let verdict = match timeout(ATTEMPT, attempt(handle, &message)).await {
        Ok(verdict) => verdict,
        Err(_) => Err(Failure::new(
            FailureKind::Unreachable,
            Again::Soon,
            "the forge answers too slowly",
        )),
    };
    let source = message.source.clone();
    let end = match &verdict {
        Ok(()) => CallEnd::Delivered,
        Err(failure) if failure.again == Again::Never => CallEnd::GivenUp,
        Err(_) => CallEnd::Retry,
    };
    let counted = (source.clone(), end);
    handle.meter(|counts| *counts.forge_calls.entry(counted).or_default() += 1);
    if let Err(error) = report(handle, &message, verdict).await {
        tracing::debug!(%source, error = %chain(&error), "an attempt to tell a forge could not be written down");
    }
    source
}

async fn attempt(handle: &Handle, message: &Outgoing) -> Result<(), Failure> {
    let spec: Option<ForgeSpec> = handle
        .read(|s| s.sources.get(&message.source)?.spec.forge.clone())
        .ok()
        .flatten();
    let Some(spec) = spec else {
        return Err(Failure::new(FailureKind::Settings, Again::Never, NO_FORGE));
    };
    let (client, now) = (handle.forge(), handle.now());
    let point = match &message.message {
        Message::Status { .. } => Op::ForgePost,
        Message::Comment { .. } => Op::ForgeComment,
    };
    let call = async {
        match &message.message {
            Message::Status {
                commit,
                context,
                status,
            } => {
                let mut status = status.clone();
                status.target_url = target(handle, &spec, message, commit, status.target_url);
                client.post(&spec, commit, context, &status, now).await
            }
            Message::Comment {
                pull_request,
                comment,
            } => {
                client
                    .upsert_comment(&spec, *pull_request, comment, now)
                    .await
            }
        }
    };
    failpoint::around_async(point, call).await
}

/// Where the whole is told: what the message names itself, or the page of its commit. Without
/// an address that people can reach only where the forge insists on a link.
fn target(
    handle: &Handle,
    spec: &ForgeSpec,
    message: &Outgoing,
    commit: &CommitId,
    own: Option<String>,
) -> Option<String> {
    let insists = match spec.kind {
        ForgeKind::GitHub | ForgeKind::GitLab | ForgeKind::Gitea => false,
        ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter => true,
    };
    let options = handle.options();
    let reached = options.external_url.is_some() || insists;
    let page = || format!("/sources/{}/commits/{}", message.source, commit.0);
    let target = own.unwrap_or_else(page);
    match target.starts_with('/') {
        true => reached.then(|| format!("{}{target}", options.reached_at())),
        false => Some(target),
    }
}

async fn report(
    handle: &Handle,
    message: &Outgoing,
    verdict: Result<(), Failure>,
) -> Result<(), Error> {
    let unavailable = |e: store::Error| Error::Unavailable(Box::new(e));
    let store = &handle.0.store;
    let epoch = handle.0.image.leading()?.epoch;
    let (source, id) = (&message.source, message.id);
    let failure = match verdict {
        Ok(()) => {
            lock(&handle.0.telling).arrived(source, handle.now());
            match &message.message {
                Message::Status { commit, status, .. } => {
                    tracing::info!(%source, commit = commit.short(), state = ?status.state, "commit status posted");
                }
                Message::Comment { pull_request, .. } => {
                    tracing::info!(%source, pull_request, "comment written");
                }
            }
            return store.outbox_sent(epoch, id).await.map_err(unavailable);
        }
        Err(failure) => failure,
    };
    let kind = failure.kind;
    let (reason, again) = match failure.again {
        Again::Never => (failure.reason, None),
        Again::Soon | Again::After(_) if message.age >= GIVE_UP_AFTER => {
            let attempts = message.attempts;
            let reason = format!("given up after {attempts} attempts: {}", failure.reason);
            (reason, None)
        }
        Again::Soon => (failure.reason, Some(back_off(message.attempts))),
        Again::After(pause) => (failure.reason, Some(pause)),
    };
    if reason == NO_FORGE {
        lock(&handle.0.telling).forget(source);
    } else if lock(&handle.0.telling).failed(source, kind, &reason, handle.now()) {
        // Told once per trouble, not once per attempt.
        tracing::warn!(%source, reason, "the forge could not be told");
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
