//! Commands run inside an instance, for probes and people.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::time::Instant;

use super::super::{Error, ExecResult};
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
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
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
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    Ok(ExecResult {
        code: status
            .code()
            .or(signal.map(|signal| 128 + signal))
            .unwrap_or(-1),
        output: text(&kept),
    })
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
