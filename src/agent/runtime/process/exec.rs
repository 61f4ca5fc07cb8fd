//! Commands run inside an instance, for probes and people.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Error, ExecResult, Said, out_of_time, reader_left};
use super::ports;
use crate::model::instance::FailureKind;

/// Output kept; the rest is read and dropped.
const OUTPUT_BYTES: usize = 4096;

/// What a command's background children may still say after its end.
const DRAIN: Duration = Duration::from_millis(20);

/// Runs `command`, which must become the leader of its own session and group.
/// On the deadline the whole group is killed.
pub async fn run(mut command: Command, timeout: Duration) -> Result<ExecResult, Error> {
    let failed = |error: std::io::Error| {
        Error::new(FailureKind::StartFailed, format!("cannot run it: {error}"))
    };
    let deadline = Instant::now() + timeout.min(Duration::from_secs(86_400));
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let mut output = pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer)
        .kill_on_drop(true);
    let mut child = ports::spawn(&mut command).map_err(failed)?;
    // With it go our copies of the writing end.
    drop(command);
    let group = child.id().and_then(|pid| i32::try_from(pid).ok());

    let mut kept = Vec::new();
    let mut block = [0; 4096];
    let mut open = true;
    let status = loop {
        tokio::select! {
            read = output.read(&mut block), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(length) => keep(&mut kept, &block[..length]),
            },
            status = child.wait() => break Some(status.map_err(failed)?),
            () = tokio::time::sleep_until(deadline) => break None,
        }
    };
    let Some(status) = status else {
        if let Some(group) = group {
            // Not reaped yet, so the number is still its own.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = child.start_kill();
        let _ = child.wait().await;
        return Err(Error::new(
            FailureKind::StartFailed,
            format!(
                "the command did not end within {}; it said: {}",
                humane(timeout),
                text(&kept)
            ),
        ));
    };
    let drained = Instant::now() + DRAIN;
    while open {
        match tokio::time::timeout_at(drained, output.read(&mut block)).await {
            Ok(Ok(length)) if length > 0 => keep(&mut kept, &block[..length]),
            Ok(_) | Err(_) => open = false,
        }
    }
    Ok(ExecResult {
        code: code_of(status),
        output: text(&kept),
    })
}

/// Like [`run`], with everything that it says told as it comes, at the reader's pace. The
/// group is killed on the deadline, and when the reader has left.
pub async fn run_streamed(
    mut command: Command,
    timeout: Duration,
    said: &mpsc::Sender<Said>,
) -> Result<i32, Error> {
    let failed = |error: std::io::Error| {
        Error::new(FailureKind::StartFailed, format!("cannot run it: {error}"))
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = ports::spawn(&mut command).map_err(failed)?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let exited = CancellationToken::new();
    let why = {
        let exit = async {
            let status = child.wait().await;
            exited.cancel();
            status
        };
        let whole = async {
            let (status, (), ()) = tokio::join!(
                exit,
                tell(out, said, Said::Out, &exited),
                tell(err, said, Said::Err, &exited),
            );
            status
        };
        tokio::select! {
            status = whole => return status.map(code_of).map_err(failed),
            () = said.closed() => reader_left(),
            () = tokio::time::sleep(timeout) => out_of_time(timeout),
        }
    };
    if let Some(group) = group
        && !exited.is_cancelled()
    {
        // Not reaped yet, so the number is still its own.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.start_kill();
    let _ = child.wait().await;
    Err(why)
}

/// Until its end, or until nothing comes for a moment after the command's: what it left in the
/// background may hold it open for ever.
async fn tell(
    output: Option<impl AsyncRead + Unpin>,
    said: &mpsc::Sender<Said>,
    as_what: fn(Bytes) -> Said,
    exited: &CancellationToken,
) {
    let Some(mut output) = output else { return };
    let mut block = vec![0; 16 * 1024];
    loop {
        let quiet = async {
            exited.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let read = tokio::select! {
            biased;
            read = output.read(&mut block) => read,
            () = quiet => return,
        };
        let Ok(length @ 1..) = read else { return };
        let piece = as_what(Bytes::copy_from_slice(&block[..length]));
        if said.send(piece).await.is_err() {
            return;
        }
    }
}

/// 128 + N after signal N, as shells tell it.
fn code_of(status: ExitStatus) -> i32 {
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let killed = signal.map(|signal| 128 + signal);
    status.code().or(killed).unwrap_or(-1)
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = OUTPUT_BYTES.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// At most [`OUTPUT_BYTES`] long, also after invalid bytes were replaced by longer ones.
fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    let mut end = text.len().min(OUTPUT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn humane(time: Duration) -> String {
    format!("{time:?}")
}
