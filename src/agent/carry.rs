//! Carries one operation out: with a deadline, and a look at the instance after it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::found::Found;
use super::runtime::{Error, LogQuery, Runtime};
use super::step::absorb::Outcome;
use super::step::{Op, OpKind};
use crate::model::{DesiredInstance, FailureKind, InstanceId};

/// A big image over a slow line.
const PULL: Duration = Duration::from_secs(600);
/// The Engine's own work, on a slow disk.
const WORK: Duration = Duration::from_secs(60);
/// What the Engine may take on top of the grace to kill and clean up.
const AFTER_GRACE: Duration = Duration::from_secs(30);
/// A look is cheap; one that takes longer means that the runtime hangs.
pub const LOOK: Duration = Duration::from_secs(10);
/// For the last lines of an output.
const LOG_DEADLINE: Duration = Duration::from_secs(2);
/// Lines of evidence that are kept, and characters of each.
const LOG_LINES: usize = 20;
const LOG_LINE_CHARS: usize = 500;

/// How it went.
pub struct Carried {
    pub op: Op,
    pub runtime: &'static str,
    pub outcome: Outcome,
    /// A look from after its end; `None`: there was no answer.
    pub after: Option<Option<Found>>,
}

fn deadline(op: &Op) -> Duration {
    match op {
        Op::Pull { .. } => PULL,
        Op::Create { .. } | Op::Start { .. } | Op::Remove { .. } | Op::SetLimits { .. } => WORK,
        Op::Stop { grace, .. } => grace.saturating_add(AFTER_GRACE),
    }
}

/// `instance` is what a creation needs.
pub async fn carry_out(
    op: Op,
    runtime: Arc<dyn Runtime>,
    cluster: String,
    instance: Option<DesiredInstance>,
) -> Carried {
    let limit = deadline(&op);
    let work = work(&op, &*runtime, &cluster, instance.as_ref());
    let outcome = match tokio::time::timeout(limit, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(error.into()),
        Err(_) => Outcome::Failed(late(op.kind(), limit).into()),
    };
    let after = match op.instance() {
        None => None,
        Some(id) => match tokio::time::timeout(LOOK, runtime.inspect(id)).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(_)) | Err(_) => None,
        },
    };
    Carried {
        runtime: runtime.name(),
        op,
        outcome,
        after,
    }
}

async fn work(
    op: &Op,
    runtime: &dyn Runtime,
    cluster: &str,
    instance: Option<&DesiredInstance>,
) -> Result<Outcome, Error> {
    match op {
        Op::Pull { image, policy } => {
            let image = runtime.prepare(image, *policy).await?;
            return Ok(Outcome::Pulled {
                digest: image.digest,
            });
        }
        Op::Create { .. } => {
            // Without one the set changed since the decision; the next step decides anew.
            if let Some(instance) = instance {
                runtime.create(cluster, instance).await?;
            }
        }
        Op::Start { id } => runtime.start(*id).await?,
        Op::Stop { id, grace, .. } => runtime.stop(*id, *grace).await?,
        Op::Remove { id, .. } => runtime.remove(*id).await?,
        Op::SetLimits { id, limits } => runtime.set_limits(*id, *limits).await?,
    }
    Ok(Outcome::Done)
}

fn late(kind: OpKind, limit: Duration) -> Error {
    let (kind, what) = match kind {
        OpKind::Pull => (FailureKind::PullFailed, "pull"),
        OpKind::Create => (FailureKind::StartFailed, "creation"),
        OpKind::Start => (FailureKind::StartFailed, "start"),
        OpKind::Stop => (FailureKind::RuntimeUnavailable, "stop"),
        OpKind::Remove => (FailureKind::RuntimeUnavailable, "removal"),
        OpKind::SetLimits => (FailureKind::RuntimeUnavailable, "change of limits"),
    };
    let message = format!(
        "the {what} did not end within {} s; trying again",
        limit.as_secs()
    );
    Error::new(kind, message)
}

/// The last lines of an instance's output; empty where there are none to be had.
pub async fn last_lines(runtime: Arc<dyn Runtime>, id: InstanceId) -> Option<Vec<String>> {
    let query = LogQuery {
        tail: LOG_LINES,
        follow: false,
    };
    let mut lines = Vec::new();
    let reading = async {
        let mut stream = runtime.logs(id, query).await?;
        while let Some(line) = stream.next().await {
            lines.push(line?.chars().take(LOG_LINE_CHARS).collect::<String>());
            if lines.len() >= LOG_LINES {
                break;
            }
        }
        Ok::<(), Error>(())
    };
    match tokio::time::timeout(LOG_DEADLINE, reading).await {
        Ok(Ok(())) => Some(lines),
        Ok(Err(_)) | Err(_) => (!lines.is_empty()).then_some(lines),
    }
}
