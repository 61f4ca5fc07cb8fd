//! A command inside an instance: written down, sent to its node's agent, and its output handed
//! on as it comes.

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Error, Handle};
use crate::api::ExecFrame;
use crate::api::agent::ToAgent;
use crate::model::{AppKey, NodeName};
use crate::plan::operate::{ExecTarget, plan_exec};

/// What an agent may take on top of the command's own time, to begin and to end it.
const SLACK: Duration = Duration::from_secs(30);

/// Who runs what, and where.
#[derive(Clone, Debug)]
pub struct ExecRequest {
    /// The actor of the event.
    pub by: String,
    pub command: Vec<String>,
    /// Id of an instance or its first digits; `None`: one that serves.
    pub instance: Option<String>,
    /// After which it is killed.
    pub timeout: Duration,
    pub reason: Option<String>,
}

impl Handle {
    /// Runs a command inside an instance of an app. The event that tells who runs what is
    /// committed before the agent hears of it. The frames begin with `started` and always end
    /// with `exited` or `failed`; dropping them ends the command. `NoAgent`: its node is not
    /// connected.
    pub async fn exec(
        &self,
        app: &AppKey,
        request: ExecRequest,
    ) -> Result<BoxStream<'static, ExecFrame>, Error> {
        let mut chosen = None;
        let cause = format!("operator: exec {app}");
        self.transact(&cause, |snapshot, now, _| {
            let (by, why) = (&request.by, request.reason.as_deref());
            let named = request.instance.as_deref();
            let (decision, target) =
                plan_exec(now, snapshot, app, by, &request.command, named, why)?;
            chosen = Some(target);
            Ok(decision)
        })
        .await?;
        let Some(target) = chosen else {
            return Err(Error::NoStream);
        };
        let timeout_ms = u64::try_from(request.timeout.as_millis()).unwrap_or(u64::MAX);
        let lines = self.ask_for_lines(&target.node, |id| ToAgent::Exec {
            id,
            instance: target.instance,
            command: request.command,
            timeout_ms,
        });
        let lines = lines.ok_or_else(|| Error::NoAgent(target.node.clone()))?;
        Ok(frames(
            target,
            lines,
            Instant::now() + request.timeout + SLACK,
        ))
    }
}

struct Frames {
    node: NodeName,
    lines: mpsc::Receiver<String>,
    deadline: Instant,
    over: bool,
}

/// What the agent sends, and an end where it sends none.
fn frames(
    target: ExecTarget,
    lines: mpsc::Receiver<String>,
    deadline: Instant,
) -> BoxStream<'static, ExecFrame> {
    let started = ExecFrame::Started {
        instance: target.instance,
        slot: target.slot,
        node: target.node.clone(),
    };
    let rest = Frames {
        node: target.node,
        lines,
        deadline,
        over: false,
    };
    let rest = stream::unfold(rest, |mut frames| async move {
        let frame = frames.next().await?;
        Some((frame, frames))
    });
    stream::iter([started]).chain(rest).boxed()
}

impl Frames {
    async fn next(&mut self) -> Option<ExecFrame> {
        if self.over {
            return None;
        }
        let node = &self.node;
        let frame = match tokio::time::timeout_at(self.deadline, self.lines.recv()).await {
            Ok(Some(line)) => serde_json::from_str(&line)
                .unwrap_or_else(|_| failed(format!("the agent of {node} sent what is no frame"))),
            Ok(None) => failed(format!(
                "the agent of {node} ended its answer before the command ended"
            )),
            Err(_) => failed(format!("the agent of {node} does not say how it ended")),
        };
        self.over = frame.is_last();
        Some(frame)
    }
}

fn failed(message: String) -> ExecFrame {
    ExecFrame::Failed { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::exec::Chunk;
    use crate::model::InstanceId;
    use uuid::Uuid;

    async fn all(lines: &[&str]) -> Vec<ExecFrame> {
        let (sender, receiver) = mpsc::channel(lines.len().max(1));
        for line in lines {
            sender.send((*line).to_owned()).await.unwrap();
        }
        drop(sender);
        let target = ExecTarget {
            instance: InstanceId(Uuid::from_u128(1)),
            slot: 0,
            node: "a".parse().unwrap(),
        };
        let deadline = Instant::now() + SLACK;
        let mut frames: Vec<_> = frames(target, receiver, deadline).collect().await;
        assert!(matches!(frames.remove(0), ExecFrame::Started { .. }));
        frames
    }

    #[tokio::test]
    async fn the_answer_always_ends_with_how_it_ended() {
        let out = r#"{"kind":"stdout","text":"hi"}"#;
        let exited = r#"{"kind":"exited","code":3}"#;
        let said = ExecFrame::Stdout(Chunk::Text("hi".into()));
        let end = ExecFrame::Exited { code: 3 };
        assert_eq!(all(&[out, exited, out]).await, [said.clone(), end]);
        let cut = all(&[out]).await;
        assert_eq!(cut[0], said);
        assert!(matches!(&cut[1], ExecFrame::Failed { message } if message.contains("agent of a")));
        assert!(matches!(
            all(&["evenkeel: no"]).await[0],
            ExecFrame::Failed { .. }
        ));
    }
}
