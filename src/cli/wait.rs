//! `status --wait`: until an app is at its source's latest commit, synced and healthy.
//!
//! What the source had when the wait began is what counts: it is asked for a sync, and nothing
//! is concluded before one that began after that has ended. An app that is not there yet is
//! waited for, too: a pipeline that has just pushed is often faster than the sync.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::source::{SourceState, SyncView};
use crate::api::{AppStatus, SourceStatus};
use crate::client::{self, Client};
use crate::model::{AppKey, HealthState, RolloutPhase, SourceName, SyncOutcome, SyncState};

use super::args::Global;
use super::exit::{Code, Failure};
use super::output::{span, word};
use super::patience::{Patience, passes};
use super::progress::Progress;
use super::server::look_for_app;

/// Between two looks, where nothing changes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How far the source is.
#[derive(Debug, PartialEq, Eq)]
enum Git {
    /// Its latest commit is what the app's state speaks of.
    Applied,
    /// Its latest commit is known, or cannot be, and is not applied.
    Stuck(String),
    /// No sync has ended yet that began after the wait.
    Unknown,
}

/// How a wait stands.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Done,
    /// It will not get there by itself.
    Failed(String),
    /// What it is at.
    Going(String),
}

/// Waits for the app that `name` means. Ends with [`Code::TimedOut`] as an error if it was
/// never there.
pub async fn run(
    client: &Client,
    global: &Global,
    name: &str,
    timeout: Duration,
) -> Result<(AppStatus, Code), Failure> {
    let deadline = Instant::now() + timeout;
    let mut progress = Progress::new(global.output);
    let mut patience = Patience::new(name, Some(deadline));
    let mut syncs = Syncs::default();
    let mut key = None;
    loop {
        if key.is_none() {
            key = look_for_app(client, global, name).await?;
        }
        let status = match &key {
            Some(key) => {
                let look = async || existing(client.app_now(key).await);
                patience.ask(&mut progress, look).await?
            }
            None => None,
        };
        let (at, seen) = match status {
            None => {
                let look = async || client.sources().await;
                let sources = patience.ask(&mut progress, look).await?.items;
                for source in &sources {
                    syncs.look(client, source).await?;
                }
                (absent(name, &sources), None)
            }
            Some(status) => {
                let key = key_of(&status);
                let look = async || client.source_now(&status.source).await;
                let source = patience.ask(&mut progress, look).await?;
                let git = syncs.look(client, &source).await?;
                // The state that belongs to that sync, not one from before it.
                let look = async || existing(client.app_now(&key).await);
                let Some(status) = patience.ask(&mut progress, look).await? else {
                    continue;
                };
                match judge(&status, &git) {
                    Wait::Done => {
                        progress.clear();
                        return Ok((status, Code::Done));
                    }
                    Wait::Failed(why) => {
                        progress.clear();
                        eprintln!(
                            "{key} will not become synced and healthy by itself: {why}\n  \
                             try: evenkeel why {key}"
                        );
                        return Ok((status, Code::Failed));
                    }
                    Wait::Going(at) => (format!("{key}: {at}"), Some(status)),
                }
            }
        };
        if Instant::now() + LOOK_EVERY > deadline {
            progress.clear();
            let gave_up = format!("gave up waiting for {name} after {}", span(timeout));
            let Some(status) = seen else {
                let message = format!("{gave_up}: {at}");
                return Err(Failure::new(Code::TimedOut, message).with_hint("evenkeel source list"));
            };
            eprintln!("{gave_up}; {at}\n  try: evenkeel why {name}");
            return Ok((status, Code::TimedOut));
        }
        progress.tell(&at);
        match &seen {
            Some(status) => {
                let (key, next) = (key_of(status), status.version + 1);
                let look = async || existing(client.app_at(&key, next, LOOK_EVERY).await);
                patience.ask(&mut progress, look).await?;
            }
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn key_of(status: &AppStatus) -> AppKey {
    AppKey::new(status.project.clone(), status.name.clone())
}

fn existing(answer: Result<AppStatus, client::Error>) -> Result<Option<AppStatus>, client::Error> {
    match answer {
        Ok(status) => Ok(Some(status)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn absent(name: &str, sources: &[SourceStatus]) -> String {
    if sources.is_empty() {
        return format!("{name} was never declared, and there are no sources");
    }
    let told: Vec<String> = sources
        .iter()
        .map(|s| match s.state {
            SourceState::Ok => s.name.to_string(),
            state => format!("{} ({})", s.name, word(state)),
        })
        .collect();
    format!(
        "{name} was never declared; the sources are: {}",
        told.join(", ")
    )
}

/// The syncs that this wait has asked for.
#[derive(Default)]
struct Syncs(BTreeMap<SourceName, Asked>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The attempt of this number began after the wait did.
    Attempt(u64),
    /// It is suspended: nobody follows it.
    Nothing,
}

impl Syncs {
    /// How far `source` is; asks it for a sync where none was asked for yet.
    async fn look(&mut self, client: &Client, source: &SourceStatus) -> Result<Git, Failure> {
        let known = self.0.get(&source.name).copied();
        // Attempts are counted anew when another controller leads or the settings change.
        let anew = matches!((known, &source.sync), (Some(Asked::Attempt(n)), Some(sync)) if sync.attempts + 2 < n);
        if known.is_none() || anew {
            let asked = match client.sync_source(&source.name).await {
                Ok(before) => Asked::Attempt(wanted_attempt(before.sync.as_ref())),
                Err(error) if error.status() == Some(409) => Asked::Nothing,
                // Who may only look waits for the next poll.
                Err(error) if error.status() == Some(403) => {
                    Asked::Attempt(wanted_attempt(source.sync.as_ref()))
                }
                // Nobody leads at present, or the source went: look again.
                Err(error) if passes(&error) || error.status() == Some(404) => {
                    return Ok(Git::Unknown);
                }
                Err(error) => return Err(error.into()),
            };
            self.0.insert(source.name.clone(), asked);
            // This view is older than the question.
            return Ok(Git::Unknown);
        }
        Ok(git(source, known.unwrap_or(Asked::Nothing)))
    }
}

/// The first attempt that begins after now: the one under way, if any, has read the branch.
pub(super) fn wanted_attempt(before: Option<&SyncView>) -> u64 {
    before.map_or(1, |sync| sync.attempts + 1 + u64::from(sync.running))
}

fn git(source: &SourceStatus, asked: Asked) -> Git {
    let followed = asked != Asked::Nothing;
    if let (Asked::Attempt(wanted), Some(sync)) = (asked, &source.sync)
        && sync.attempts < wanted
    {
        return Git::Unknown;
    }
    // A controller that does not lead knows no attempts: what is written down must do.
    let outcome = source.sync.as_ref().map_or(&source.outcome, |s| &s.outcome);
    match outcome {
        SyncOutcome::Unreachable { message }
        | SyncOutcome::Lost { message }
        | SyncOutcome::Refused { message }
            if followed =>
        {
            Git::Stuck(format!(
                "source {} cannot be followed: {message}",
                source.name
            ))
        }
        _ if source.last_seen.is_none() || source.last_seen != source.last_applied => {
            Git::Stuck(format!(
                "the latest commit of source {} is not applied yet",
                source.name
            ))
        }
        _ => Git::Applied,
    }
}

fn judge(status: &AppStatus, git: &Git) -> Wait {
    let behind = match git {
        Git::Unknown => {
            return Wait::Going(format!("waits for a sync of source {}", status.source));
        }
        Git::Stuck(why) => Some(why),
        Git::Applied => None,
    };
    let first = || status.messages.first().cloned().unwrap_or_default();
    match status.sync {
        SyncState::Quarantined | SyncState::Invalid | SyncState::Suspended | SyncState::Held => {
            return Wait::Failed(first());
        }
        SyncState::Synced | SyncState::OutOfSync => {}
    }
    if let Some(rollout) = &status.rollout {
        return match rollout.phase {
            RolloutPhase::Paused => Wait::Failed(first()),
            _ => Wait::Going(rollout.step.clone()),
        };
    }
    if status
        .last_rollout
        .as_ref()
        .is_some_and(|r| r.phase == RolloutPhase::Failed)
        || status.health == HealthState::Failed
    {
        return Wait::Failed(first());
    }
    match (status.sync, status.health, behind) {
        (SyncState::Synced, HealthState::Healthy, None) => Wait::Done,
        (SyncState::Synced, HealthState::Healthy, Some(why)) => Wait::Going(why.clone()),
        (sync, health, _) => Wait::Going(format!("{}, {}", word(sync), word(health))),
    }
}

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;
