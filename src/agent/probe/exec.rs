//! Command probes: exit code 0 inside the instance.

use std::time::Duration;

use super::{Answer, excerpt};
use crate::agent::runtime::Runtime;
use crate::model::{FailureKind, InstanceId};

pub(super) async fn ask(
    runtime: &dyn Runtime,
    id: InstanceId,
    command: &[String],
    timeout: Duration,
) -> Answer {
    let what = format!("exec {}", command.join(" "));
    match runtime.exec(id, command, timeout).await {
        Ok(result) if result.code == 0 => Answer::Passed(format!("{what}: exit code 0")),
        Ok(result) => {
            let output = excerpt(result.output.as_bytes());
            let line = format!("{what}: exit code {}", result.code);
            Answer::Failed(if output.is_empty() {
                line
            } else {
                format!("{line}: {output}")
            })
        }
        Err(error) if error.kind == FailureKind::RuntimeUnavailable => Answer::Unknown,
        Err(error) => Answer::Failed(format!("{what}: {error}")),
    }
}
