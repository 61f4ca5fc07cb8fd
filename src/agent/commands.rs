//! Runs commands inside instances for people, and sends what they say as they say it.
//!
//! A command lives as long as somebody reads its output, at most its time, and at most until
//! the agent ends. Nothing of it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::logs::holder;
use super::runtime::{Error, Runtime, Said};
use crate::api::exec::{Chunk, ExecFrame, MAX_CHUNK_BYTES, MAX_OUTPUT_BYTES};
use crate::client::Client;
use crate::model::InstanceId;

/// Commands at the same time; one more is refused.
const AT_ONCE: usize = 16;
/// Pieces of output that wait for a slow reader before the command has to.
const BACKLOG: usize = 16;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub instance: InstanceId,
    pub command: Vec<String>,
    /// After which it is killed.
    pub timeout: Duration,
}

/// Owns the running commands' tasks; they end with the agent.
pub struct Commands {
    client: Client,
    runtimes: BTreeMap<&'static str, Arc<dyn Runtime>>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Commands {
    pub fn new(
        client: Client,
        runtimes: BTreeMap<&'static str, Arc<dyn Runtime>>,
        cancel: CancellationToken,
    ) -> Commands {
        Commands {
            client,
            runtimes,
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: TaskTracker::new(),
            cancel,
        }
    }

    /// Answers one request, in a task of its own.
    pub fn run(&self, answer: Uuid, request: Request) {
        let client = self.client.clone();
        let runtimes = self.runtimes.clone();
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let ending = self.cancel.clone();
        self.tasks.spawn(async move {
            let (said, heard) = mpsc::channel(1);
            let (hand, output) = mpsc::channel(BACKLOG);
            let (end, ended) = oneshot::channel();
            // An answer may come before its request's body is over: then nobody reads on.
            let left = ending.child_token();
            let handing = hand_on(heard, hand, left.clone());
            let sent = async {
                let _left = left.drop_guard();
                client.agent_send(answer, frames(output, ended)).await
            };
            let running = async {
                let result = match &slot {
                    Ok(_) => run(&runtimes, &request, said).await,
                    Err(_) => Err(refused(format!(
                        "this node runs {AT_ONCE} commands already; try again when one has ended"
                    ))),
                };
                let result = match result {
                    Err(_) if ending.is_cancelled() => Err(refused("the agent is ending".into())),
                    result => result,
                };
                // Nobody waits for it where the reader has left.
                let _ = end.send(result);
            };
            if let (Err(error), (), ()) = tokio::join!(sent, running, handing) {
                let instance = request.instance;
                tracing::debug!(%instance, %error, "a command's output was not taken");
            }
        });
    }

    /// Returns once the agent ends and the commands have ended with it.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let (cancel, tasks) = (self.cancel.clone(), self.tasks.clone());
        async move {
            cancel.cancelled().await;
            tasks.close();
            tasks.wait().await;
        }
    }
}

/// Until one end closes or the reader has `left`; then the command hears that nobody listens,
/// whatever becomes of the body.
async fn hand_on(
    mut heard: mpsc::Receiver<Said>,
    hand: mpsc::Sender<Said>,
    left: CancellationToken,
) {
    let handing = async {
        while let Some(piece) = heard.recv().await {
            if hand.send(piece).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = left.cancelled() => {}
        () = hand.closed() => {}
        () = handing => {}
    }
}

fn refused(message: String) -> Error {
    Error::new(crate::model::FailureKind::StartFailed, message)
}

async fn run(
    runtimes: &BTreeMap<&'static str, Arc<dyn Runtime>>,
    request: &Request,
    said: mpsc::Sender<Said>,
) -> Result<i32, Error> {
    let runtime = holder(runtimes, request.instance).await?;
    runtime
        .exec_streamed(request.instance, &request.command, request.timeout, said)
        .await
}

struct Frames {
    output: mpsc::Receiver<Said>,
    /// `None`: the last frame is out.
    ended: Option<oneshot::Receiver<Result<i32, Error>>>,
    /// Bytes so far.
    written: u64,
    waiting: Option<(bool, Bytes)>,
}

/// What it says, then how it ended.
fn frames(
    output: mpsc::Receiver<Said>,
    ended: oneshot::Receiver<Result<i32, Error>>,
) -> impl futures_util::Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let frames = Frames {
        output,
        ended: Some(ended),
        written: 0,
        waiting: None,
    };
    stream::unfold(frames, |mut frames| async move {
        let frame = frames.next().await?;
        Some((Ok(Bytes::from(frame.line())), frames))
    })
}

impl Frames {
    async fn next(&mut self) -> Option<ExecFrame> {
        self.ended.as_ref()?;
        let piece = match self.waiting.take() {
            Some(piece) => Some(piece),
            None => self.output.recv().await.map(|said| match said {
                Said::Out(bytes) => (false, bytes),
                Said::Err(bytes) => (true, bytes),
            }),
        };
        let Some((is_error, mut bytes)) = piece else {
            return Some(match self.ended.take()?.await {
                Ok(Ok(code)) => ExecFrame::Exited { code },
                Ok(Err(error)) => failed(error.message),
                Err(_) => failed("the agent did not see how it ended"),
            });
        };
        if bytes.len() > MAX_CHUNK_BYTES {
            let rest = bytes.split_off(MAX_CHUNK_BYTES);
            self.waiting = Some((is_error, rest));
        }
        self.written += bytes.len() as u64;
        if self.written > MAX_OUTPUT_BYTES {
            // Dropping the way out ends the command.
            self.ended = None;
            self.output.close();
            return Some(failed(format!(
                "it was ended: it wrote more than {} MiB",
                MAX_OUTPUT_BYTES >> 20
            )));
        }
        let chunk = Chunk::new(&bytes);
        Some(match is_error {
            false => ExecFrame::Stdout(chunk),
            true => ExecFrame::Stderr(chunk),
        })
    }
}

fn failed(message: impl Into<String>) -> ExecFrame {
    ExecFrame::Failed {
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    async fn lines(said: Vec<Said>, end: Option<Result<i32, Error>>) -> Vec<ExecFrame> {
        let (sender, output) = mpsc::channel(said.len() + 1);
        let (tell, ended) = oneshot::channel();
        for piece in said {
            sender.send(piece).await.unwrap();
        }
        drop(sender);
        if let Some(end) = end {
            tell.send(end).unwrap();
        } else {
            drop(tell);
        }
        let lines: Vec<_> = frames(output, ended).collect().await;
        lines
            .into_iter()
            .map(|line| serde_json::from_slice(&line.unwrap()).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn what_it_says_comes_before_how_it_ended() {
        let said = vec![
            Said::Out(Bytes::from_static(b"a\n")),
            Said::Err(Bytes::from_static(b"b\n")),
        ];
        let got = lines(said, Some(Ok(3))).await;
        let expected = [
            ExecFrame::Stdout(Chunk::Text("a\n".into())),
            ExecFrame::Stderr(Chunk::Text("b\n".into())),
            ExecFrame::Exited { code: 3 },
        ];
        assert_eq!(got, expected);
        let got = lines(Vec::new(), Some(Err(refused("no shell".into())))).await;
        assert_eq!(got, [failed("no shell")]);
        assert_eq!(
            lines(Vec::new(), None).await,
            [failed("the agent did not see how it ended")]
        );
    }

    #[tokio::test]
    async fn large_pieces_are_cut_and_too_much_ends_it() {
        let piece = Bytes::from(vec![b'x'; 2 * MAX_CHUNK_BYTES + 1]);
        let got = lines(vec![Said::Out(piece)], Some(Ok(0))).await;
        assert_eq!(got.len(), 4);

        let (sender, output) = mpsc::channel(1);
        let (_tell, ended) = oneshot::channel();
        let mut frames = Frames {
            output,
            ended: Some(ended),
            written: MAX_OUTPUT_BYTES,
            waiting: None,
        };
        sender
            .send(Said::Out(Bytes::from_static(b"x")))
            .await
            .unwrap();
        let last = frames.next().await.unwrap();
        assert!(matches!(&last, ExecFrame::Failed { message } if message.contains("256 MiB")));
        assert!(sender.is_closed());
        assert_eq!(frames.next().await, None);
    }
}
