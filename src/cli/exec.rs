//! `exec APP -- COMMAND`: a command inside an instance, for people and scripts.
//!
//! What it says goes to the same two outputs here, as it comes, and its exit code is ours.
//! `-o json|yaml` is one document at its end, with the beginning of what it said.
//!
//! Deliberately absent: a terminal and input. Who needs a shell inside, needs one that is
//! written down line by line; `exec APP -- sh -c '…'` is.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use crate::api::{ExecFrame, ExecInput};
use crate::client::exec::ExecStream;
use crate::model::{AppKey, InstanceId, NodeName};

use super::args::{Format, Global};
use super::exit::{Code, Failure, Outcome};
use super::output::{print, write_bytes};
use super::server::{connect, find_app};
use super::verb_args::ExecArgs;

/// What the server may take on top of the command's own time.
const SLACK: Duration = Duration::from_secs(60);
/// Of each output in a document, in bytes.
const KEPT: usize = 1 << 20;

/// What became of it.
#[derive(Debug, Serialize)]
struct Document {
    app: AppKey,
    instance: Option<InstanceId>,
    slot: Option<u32>,
    node: Option<NodeName>,
    code: i32,
    stdout: String,
    stderr: String,
    /// It said more than is shown here.
    truncated: bool,
}

pub async fn run(global: &Global, args: ExecArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    let input = ExecInput {
        command: args.command,
        instance: args.instance,
        timeout: Some(format!("{}ms", args.timeout.as_millis())),
        reason: args.reason,
    };
    let mut frames = client.exec(&key, &input, args.timeout + SLACK).await?;
    let mut sink = match global.output {
        Format::Table => Sink::Pass,
        Format::Json | Format::Yaml => Sink::Keep(Kept::default()),
    };
    let mut at = None;
    let code = follow(&mut frames, &key, &mut sink, &mut at).await?;
    if let Sink::Keep(kept) = sink {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (instance, slot, node) =
            at.map_or((None, None, None), |(i, s, n)| (Some(i), Some(s), Some(n)));
        let document = Document {
            app: key,
            instance,
            slot,
            node,
            code,
            stdout: text(&kept.out),
            stderr: text(&kept.err),
            truncated: kept.truncated,
        };
        print(global.output, &document, |_| String::new())?;
    }
    Ok(Code::Command(exit_code(code)))
}

/// What a process can end with; anything else is a failure, never a success.
fn exit_code(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

async fn follow(
    frames: &mut ExecStream,
    key: &AppKey,
    sink: &mut Sink,
    at: &mut Option<(InstanceId, u32, NodeName)>,
) -> Result<i32, Failure> {
    let failed = |message: String| {
        Failure::new(Code::Failed, message).with_hint(format!("evenkeel status {key}"))
    };
    while let Some(frame) = frames.next().await? {
        match frame {
            ExecFrame::Started {
                instance,
                slot,
                node,
            } => *at = Some((instance, slot, node)),
            ExecFrame::Stdout(chunk) => sink.out(&bytes_of(&chunk)?)?,
            ExecFrame::Stderr(chunk) => sink.err(&bytes_of(&chunk)?)?,
            ExecFrame::Exited { code } => return Ok(code),
            ExecFrame::Failed { message } => return Err(failed(place(at) + &message)),
        }
    }
    Err(failed(format!(
        "{}the server's answer broke off; whether the command ended is not known",
        place(at)
    )))
}

fn place(at: &Option<(InstanceId, u32, NodeName)>) -> String {
    at.as_ref().map_or_else(String::new, |(id, slot, node)| {
        format!("slot {slot} ({}) on {node}: ", id.short())
    })
}

fn bytes_of(chunk: &crate::api::exec::Chunk) -> Result<Vec<u8>, Failure> {
    let broken = || {
        Failure::new(
            Code::Unreachable,
            "the server sent output that is no base64",
        )
    };
    chunk.bytes().ok_or_else(|| {
        broken().with_hint("evenkeel status, and check that --url names an Evenkeel server")
    })
}

/// Where output goes.
enum Sink {
    /// Through, as it is: it may be an archive.
    Pass,
    Keep(Kept),
}

#[derive(Default)]
struct Kept {
    out: Vec<u8>,
    err: Vec<u8>,
    truncated: bool,
}

impl Sink {
    fn out(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Pass => write_bytes(bytes),
            Sink::Keep(kept) => {
                kept.truncated |= keep(&mut kept.out, bytes);
                Ok(())
            }
        }
    }

    fn err(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Pass => pass(std::io::stderr().lock(), bytes),
            Sink::Keep(kept) => {
                kept.truncated |= keep(&mut kept.err, bytes);
                Ok(())
            }
        }
    }
}

/// `true`: not all of it found room.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(&bytes[..room]);
    room < bytes.len()
}

/// A reader that has left (`| head`) ends us, and so the command.
fn pass(mut to: impl Write, bytes: &[u8]) -> Result<(), Failure> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            let message = format!("cannot write what the command says: {error}");
            Err(Failure::new(Code::Failed, message).with_hint("df -h ."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_becomes_a_success() {
        assert_eq!((exit_code(0), exit_code(3), exit_code(137)), (0, 3, 137));
        assert_eq!((exit_code(-1), exit_code(256)), (255, 255));
    }

    #[test]
    fn a_document_holds_the_beginning() {
        let mut sink = Sink::Keep(Kept::default());
        for _ in 0..3 {
            assert!(sink.out(&vec![b'x'; KEPT / 2]).is_ok());
        }
        let Sink::Keep(kept) = sink else { return };
        assert_eq!((kept.out.len(), kept.truncated), (KEPT, true));
        assert!(kept.err.is_empty());
    }
}
