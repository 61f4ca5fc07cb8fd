//! Following a rollout to its end: `rollout watch`, and `--wait` of the verbs.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::{AppStatus, RolloutView};
use crate::client::Client;
use crate::model::{AppKey, RolloutId, RolloutPhase};

use super::args::{Format, Global};
use super::exit::{Code, Failure};
use super::output::{one_line, span, word};
use super::patience::Patience;
use super::progress::Progress;

/// Between two looks, where nothing changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long a rollout that was asked for may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);

/// Which rollout is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that is active, or else the last.
    Present,
    /// One that began after this one.
    After(Option<RolloutId>),
    /// None: until as many as wanted are ready and no other is left.
    Count,
}

/// How it stands.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Going(String),
    Ended(Code, String),
}

/// The rollout that a status tells of, active or ended.
pub fn rollout_of(status: &AppStatus) -> Option<&RolloutView> {
    status.rollout.as_ref().or(status.last_rollout.as_ref())
}

pub fn name_of(rollout: &RolloutView) -> String {
    let to = rollout.to.as_ref().map_or("?", |r| r.commit.short());
    match rollout.kind {
        crate::api::app::RolloutKindWord::Forward => format!("rollout to {to}"),
        crate::api::app::RolloutKindWord::Rollback => format!("rollback to {to}"),
        crate::api::app::RolloutKindWord::Restart => format!("restart of {to}"),
    }
}

fn look(status: &AppStatus, which: Which) -> Look {
    match which {
        Which::Count => look_at_count(status),
        Which::Present => match rollout_of(status) {
            Some(rollout) => look_at(rollout),
            None => Look::Ended(Code::Failed, "there was no rollout yet".to_owned()),
        },
        Which::After(before) => match rollout_of(status) {
            Some(rollout) if Some(rollout.id) != before => look_at(rollout),
            Some(_) | None => Look::Going("waits for it to begin".to_owned()),
        },
    }
}

fn look_at_count(status: &AppStatus) -> Look {
    let r = &status.replicas;
    let words = format!("{} of {} ready, {} in all", r.ready, r.desired, r.total);
    if r.ready == r.desired && r.total == r.desired {
        Look::Ended(Code::Done, words)
    } else {
        Look::Going(words)
    }
}

fn look_at(rollout: &RolloutView) -> Look {
    let name = name_of(rollout);
    let why = rollout.outcome.as_deref().unwrap_or(&rollout.reason);
    let phase = word(rollout.phase);
    match rollout.phase {
        RolloutPhase::Preparing | RolloutPhase::Progressing | RolloutPhase::Baking => {
            Look::Going(format!("{name} {phase}: {}", rollout.step))
        }
        RolloutPhase::Succeeded => Look::Ended(Code::Done, format!("{name} {phase}: {why}")),
        RolloutPhase::Paused
        | RolloutPhase::RolledBack
        | RolloutPhase::Failed
        | RolloutPhase::Superseded => Look::Ended(Code::Failed, format!("{name} {phase}: {why}")),
    }
}

/// Follows until the end, from what was told of it last. What came of it is told on standard
/// error.
pub async fn follow(
    client: &Client,
    global: &Global,
    key: &AppKey,
    mut status: AppStatus,
    which: Which,
    timeout: Option<Duration>,
) -> Result<(AppStatus, Code), Failure> {
    let began = Instant::now();
    let deadline = timeout.map(|t| began + t);
    let mut progress = Progress::new(global.output);
    let mut patience = Patience::after_an_answer(key.to_string(), deadline);
    loop {
        let at = match look(&status, which) {
            Look::Ended(code, words) => {
                progress.clear();
                if global.output == Format::Table {
                    eprintln!("{key}: {}", one_line(&words));
                    if code != Code::Done {
                        eprintln!("  try: evenkeel why {key}");
                    }
                }
                return Ok((status, code));
            }
            Look::Going(at) => at,
        };
        let idle = status.rollout.is_none() && matches!(which, Which::After(_));
        if idle && began.elapsed() > BEGIN_WITHIN {
            return Err(Failure::new(
                Code::Failed,
                format!("no rollout of {key} began: {}", waits(&status)),
            )
            .with_hint(format!("evenkeel why {key}")));
        }
        if deadline.is_some_and(|d| Instant::now() + LOOK_EVERY > d) {
            progress.clear();
            let after = span(began.elapsed());
            eprintln!("gave up waiting for {key} after {after}; {at}\n  try: evenkeel why {key}");
            return Ok((status, Code::TimedOut));
        }
        progress.tell(&format!("{key}: {at}"));
        let next = status.version + 1;
        let look = async || client.app_at(key, next, LOOK_EVERY).await;
        let seen = patience.ask(&mut progress, look).await?;
        // A controller that does not lead may know less than was told before.
        if seen.version > status.version {
            status = seen;
        }
    }
}

fn waits(status: &AppStatus) -> String {
    let first = status.messages.first();
    first.map_or_else(|| "it is as it should be".to_owned(), |m| one_line(m))
}
