//! `source sync|approve --wait`: until the source's commit has its verdict, the same that its
//! forge is told: every app that it touched was fully healthy, or why that will not be.
//!
//! The commit is the one that a sync finds which began after the wait did. Where a later commit
//! takes over before it was proven, that is no success of it.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::commit::AppVerdict;
use crate::api::{AppStatus, CommitReport, SourceStatus};
use crate::client::{Client, Error};
use crate::model::{AppKey, CommitId, SourceName, StatusState, SyncOutcome, SyncState};

use super::args::{Format, Global};
use super::exit::{Code, Failure};
use super::output::{one_line, span};
use super::patience::Patience;
use super::progress::Progress;
use super::wait::wanted_attempt;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is known of the commit so far.
enum Known {
    /// It is what the attempt of this number finds.
    Attempt(u64),
    Commit(CommitId),
}

/// How it stands.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Going(String),
    /// What came of it, and of a failure the next command to try.
    Ended(Code, String, Option<String>),
}

/// Asks for a sync, and waits for the verdict on what it finds.
pub async fn after_sync(
    client: &Client,
    global: &Global,
    name: &SourceName,
    timeout: Duration,
) -> Result<(SourceStatus, Code), Failure> {
    let asked = client.sync_source(name).await?;
    let known = Known::Attempt(wanted_attempt(asked.sync.as_ref()));
    follow(client, global, name, known, timeout).await
}

/// Waits for the verdict on the commit whose deletions were let through.
pub async fn after_approval(
    client: &Client,
    global: &Global,
    answer: &SourceStatus,
    timeout: Duration,
) -> Result<(SourceStatus, Code), Failure> {
    let known = match &answer.last_applied {
        Some(commit) => Known::Commit(commit.clone()),
        None => Known::Attempt(wanted_attempt(answer.sync.as_ref())),
    };
    follow(client, global, &answer.name, known, timeout).await
}

async fn follow(
    client: &Client,
    global: &Global,
    name: &SourceName,
    mut known: Known,
    timeout: Duration,
) -> Result<(SourceStatus, Code), Failure> {
    let deadline = Instant::now() + timeout;
    let mut progress = Progress::new(global.output);
    let mut patience = Patience::after_an_answer(format!("source {name}"), Some(deadline));
    let (words, code, hint) = loop {
        let look = async || look(client, name, &known).await;
        let (look, found) = patience.ask(&mut progress, look).await?;
        if let Some(found) = found {
            known = found;
            continue;
        }
        match look {
            Look::Ended(code, words, hint) => break (words, code, hint),
            Look::Going(at) if Instant::now() + LOOK_EVERY > deadline => {
                let words = format!("gave up waiting after {}; {at}", span(timeout));
                break (words, Code::TimedOut, None);
            }
            Look::Going(at) => progress.tell(&format!("source {name}: {at}")),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let status = client.source_now(name).await?;
    progress.clear();
    if global.output == Format::Table || code != Code::Done {
        eprintln!("source {name}: {}", one_line(&words));
    }
    if code != Code::Done {
        let hint = hint.unwrap_or_else(|| format!("evenkeel source show {name}"));
        eprintln!("  try: {hint}");
    }
    Ok((status, code))
}

/// One look, and what is known better now.
async fn look(
    client: &Client,
    name: &SourceName,
    known: &Known,
) -> Result<(Look, Option<Known>), Error> {
    match known {
        Known::Commit(commit) => {
            let report = client.commit_now(name, &commit.0).await?;
            let moving = moving(client, &report).await?;
            Ok((judge(&report, &moving), None))
        }
        Known::Attempt(wanted) => {
            let source = client.source_now(name).await?;
            let attempts = source.sync.as_ref().map_or(0, |sync| sync.attempts);
            if attempts + 2 < *wanted {
                // Another controller leads, which counts anew.
                let asked = client.sync_source(name).await?;
                let wanted = wanted_attempt(asked.sync.as_ref());
                return Ok((waits(), Some(Known::Attempt(wanted))));
            }
            if attempts < *wanted {
                return Ok((waits(), None));
            }
            Ok(found(&source))
        }
    }
}

fn waits() -> Look {
    Look::Going("waits for its sync".to_owned())
}

/// What the sync came to.
fn found(source: &SourceStatus) -> (Look, Option<Known>) {
    let outcome = source.sync.as_ref().map_or(&source.outcome, |s| &s.outcome);
    match outcome {
        SyncOutcome::Unreachable { message }
        | SyncOutcome::Lost { message }
        | SyncOutcome::Refused { message } => {
            let words = format!("it cannot be followed: {message}");
            (Look::Ended(Code::Failed, words, None), None)
        }
        SyncOutcome::Ok | SyncOutcome::Never => match (&source.last_seen, &source.last_applied) {
            (Some(seen), Some(applied)) if seen == applied => {
                (waits(), Some(Known::Commit(applied.clone())))
            }
            (Some(seen), _) => {
                let words = format!("commit {} is not applied yet", seen.short());
                (Look::Going(words), None)
            }
            (None, _) => (waits(), None),
        },
    }
}

/// Apps that are still on their way to the commit: the first that moves, or else all that are
/// suspended.
async fn moving(client: &Client, report: &CommitReport) -> Result<Vec<AppStatus>, Error> {
    let mut suspended = Vec::new();
    let on_their_way = |verdict| matches!(verdict, AppVerdict::Progressing | AppVerdict::Removed);
    for app in report.apps.iter().filter(|a| on_their_way(a.verdict)) {
        match client.app_now(&app.app).await {
            Ok(status) if status.sync == SyncState::Suspended => suspended.push(status),
            Ok(status) => return Ok(vec![status]),
            // It went while we looked.
            Err(error) if error.status() == Some(404) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(suspended)
}

fn judge(report: &CommitReport, moving: &[AppStatus]) -> Look {
    let commit = report.id.short();
    let Some(status) = &report.status else {
        return match report.applied {
            true => Look::Going(format!("nothing is said of commit {commit} yet")),
            false => overtaken(report),
        };
    };
    let said = format!("commit {commit}: {}", status.description);
    match status.state {
        StatusState::Success => Look::Ended(Code::Done, said, None),
        StatusState::Failure => Look::Ended(Code::Failed, said, failed(report)),
        StatusState::Superseded => overtaken(report),
        StatusState::Pending => {
            let first = moving.first();
            let key = |a: &AppStatus| AppKey::new(a.project.clone(), a.name.clone());
            match first {
                Some(app) if app.sync == SyncState::Suspended => {
                    let why = app.messages.first().cloned().unwrap_or_default();
                    let words = format!("{said}; {}: {why}", key(app));
                    let hint = format!("evenkeel resume {}", key(app));
                    Look::Ended(Code::Failed, words, Some(hint))
                }
                Some(app) => {
                    let step = app.rollout.as_ref().map(|r| r.step.clone());
                    let step = step.or_else(|| app.messages.first().cloned());
                    Look::Going(match step {
                        Some(step) => format!("{said}; {}: {step}", key(app)),
                        None => said,
                    })
                }
                None => Look::Going(said),
            }
        }
    }
}

fn overtaken(report: &CommitReport) -> Look {
    let words = format!(
        "commit {} was overtaken by a later one before it was proven",
        report.id.short()
    );
    Look::Ended(Code::Failed, words, None)
}

/// Where the evidence is.
fn failed(report: &CommitReport) -> Option<String> {
    let failed = |verdict| matches!(verdict, AppVerdict::Failed | AppVerdict::Invalid);
    let app = report.apps.iter().find(|a| failed(a.verdict))?;
    Some(format!("evenkeel status {}", app.app))
}
