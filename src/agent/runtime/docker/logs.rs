//! An instance's output as lines.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::error::{self, CallError};
use super::{Inner, no_container};
use crate::agent::runtime::{Error, LogQuery};
use crate::model::InstanceId;

/// Bytes of a line; what is longer is cut into several. The Engine cuts at the same length.
const LINE_BYTES: usize = 16 * 1024;

/// Puts frames of two streams together to lines, each stream by itself.
#[derive(Default)]
struct Lines {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Lines {
    fn push(&mut self, frame: &LogOutput, lines: &mut VecDeque<String>) {
        let (buffer, bytes) = match frame {
            LogOutput::StdErr { message } => (&mut self.err, message),
            LogOutput::StdOut { message }
            | LogOutput::StdIn { message }
            | LogOutput::Console { message } => (&mut self.out, message),
        };
        let mut rest: &[u8] = bytes;
        while !rest.is_empty() {
            let room = LINE_BYTES - buffer.len();
            match rest.iter().take(room + 1).position(|b| *b == b'\n') {
                Some(end) => {
                    buffer.extend_from_slice(&rest[..end]);
                    rest = &rest[end + 1..];
                    lines.push_back(take_line(buffer));
                }
                None => {
                    let n = rest.len().min(room);
                    buffer.extend_from_slice(&rest[..n]);
                    rest = &rest[n..];
                    if !rest.is_empty() {
                        lines.push_back(take_line(buffer));
                    }
                }
            }
        }
    }

    /// What never got its line feed.
    fn finish(&mut self, lines: &mut VecDeque<String>) {
        for buffer in [&mut self.out, &mut self.err] {
            if !buffer.is_empty() {
                lines.push_back(take_line(buffer));
            }
        }
    }
}

fn take_line(buffer: &mut Vec<u8>) -> String {
    if buffer.last() == Some(&b'\r') {
        buffer.pop();
    }
    let line = String::from_utf8_lossy(buffer).into_owned();
    buffer.clear();
    line
}

impl Inner {
    pub(super) async fn logs(
        &self,
        id: InstanceId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        // Asks the Engine, as the stream itself would tell of a missing container too late.
        let found = self.inspect(id).await.map_err(|e| error::of_call(&e))?;
        let container = found.ok_or_else(|| no_container(id))?.handle;
        let client = self.engine.client().await.map_err(|e| error::of_call(&e))?;
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(query.follow)
            .tail(&query.tail.to_string())
            .build();
        let frames = client.docker.logs(&container, Some(options)).boxed();
        let state = (Some(frames), Lines::default(), VecDeque::new());
        Ok(
            stream::unfold(state, |(mut frames, mut lines, mut ready)| async move {
                loop {
                    if let Some(line) = ready.pop_front() {
                        return Some((Ok(line), (frames, lines, ready)));
                    }
                    match frames.as_mut()?.next().await {
                        Some(Ok(frame)) => lines.push(&frame, &mut ready),
                        Some(Err(error)) => {
                            let error = error::of_call(&CallError::from(error));
                            return Some((Err(error), (None, lines, ready)));
                        }
                        None => {
                            frames = None;
                            lines.finish(&mut ready);
                        }
                    }
                }
            })
            .boxed(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(frames: &[LogOutput]) -> Vec<String> {
        let (mut lines, mut ready) = (Lines::default(), VecDeque::new());
        for frame in frames {
            lines.push(frame, &mut ready);
        }
        lines.finish(&mut ready);
        ready.into()
    }

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut {
            message: text.to_owned().into(),
        }
    }

    #[test]
    fn frames_become_lines_and_streams_do_not_mix() {
        let err = LogOutput::StdErr {
            message: "oops\n".into(),
        };
        assert_eq!(
            lines_of(&[out("a\r\nb"), err, out("c\n\nd")]),
            ["a", "oops", "bc", "", "d"]
        );
    }

    #[test]
    fn an_endless_line_is_cut() {
        let long = "x".repeat(LINE_BYTES * 2 + 5);
        let lines = lines_of(&[out(&long), out("\n")]);
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [LINE_BYTES, LINE_BYTES, 5]
        );
        let exact = "y".repeat(LINE_BYTES);
        assert_eq!(lines_of(&[out(&exact), out("\nz\n")]), [exact, "z".into()]);
    }
}
