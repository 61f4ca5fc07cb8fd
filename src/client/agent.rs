//! The agent's side of `api::agent`: the stream of what the controller wants,
//! reports, and output sent on request.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use reqwest::{Method, Response};
use uuid::Uuid;

use crate::api::agent::{HEARTBEAT_SECONDS, Report, ToAgent};
use crate::model::NodeName;

use super::{Client, Error};

/// Longest silence on the stream, to be told from a controller that is only slow.
pub const SILENCE_DEADLINE: Duration = Duration::from_secs(3 * HEARTBEAT_SECONDS);
/// From the request to the head of the stream's answer.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// From sending a report to its answer.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);
/// Largest message that is taken: a full node's set with its files.
const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

impl Client {
    /// Opens the stream of what the controller wants of the node.
    pub async fn agent_stream(&self, node: &NodeName) -> Result<AgentStream, Error> {
        let request = self
            .request(Method::GET, &["agent", "stream"])
            .query(&[("node", node.as_str())]);
        let response = tokio::time::timeout(OPEN_DEADLINE, self.answer(request))
            .await
            .map_err(|_| Error::Timeout {
                url: self.url().to_owned(),
            })??;
        Ok(AgentStream {
            client: self.clone(),
            response,
            lines: Lines::default(),
        })
    }

    /// Sends a report; `Ok` means that the controller has taken it in.
    pub async fn agent_report(&self, report: &Report) -> Result<(), Error> {
        let request = self
            .request(Method::POST, &["agent", "reports"])
            .timeout(REPORT_DEADLINE)
            .json(report);
        self.answer(request).await.map(drop)
    }

    /// Sends the output that was asked for on the stream, for as long as `body` goes on.
    pub async fn agent_send<S, E>(&self, id: Uuid, body: S) -> Result<(), Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let request = self
            .request(Method::POST, &["agent", "streams", &id.to_string()])
            .header(reqwest::header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(reqwest::Body::wrap_stream(body));
        self.answer(request).await.map(drop)
    }
}

/// The open stream.
pub struct AgentStream {
    client: Client,
    response: Response,
    lines: Lines,
}

impl AgentStream {
    /// The next message; `None`: the controller closed the stream.
    pub async fn next(&mut self) -> Result<Option<ToAgent>, Error> {
        loop {
            while let Some(line) = self.lines.pop() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|e| {
                    self.client
                        .protocol(format!("a message of the agent stream: {e}"))
                });
            }
            let chunk = tokio::time::timeout(SILENCE_DEADLINE, self.response.chunk())
                .await
                .map_err(|_| Error::Timeout {
                    url: self.client.url().to_owned(),
                })?
                .map_err(|e| self.client.failed(e))?;
            let Some(chunk) = chunk else { return Ok(None) };
            if !self.lines.push(&chunk) {
                return Err(self.client.protocol(format!(
                    "a message of the agent stream is larger than {MAX_MESSAGE_BYTES} bytes"
                )));
            }
        }
    }
}

/// Cuts a stream of bytes into lines; each byte is looked at once.
#[derive(Default)]
pub(super) struct Lines {
    buffer: BytesMut,
    /// Bytes at the front that hold no line feed.
    searched: usize,
}

impl Lines {
    /// `false`: the line under way is too long.
    pub(super) fn push(&mut self, chunk: &[u8]) -> bool {
        self.buffer.extend_from_slice(chunk);
        self.buffer.len() <= MAX_MESSAGE_BYTES
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        match self.buffer[self.searched..]
            .iter()
            .position(|&b| b == b'\n')
        {
            Some(at) => {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                Some(line.freeze())
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_chunks_end() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\nrest";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut got = Vec::new();
            for chunk in text.chunks(size) {
                assert!(lines.push(chunk));
                while let Some(line) = lines.pop() {
                    got.push(line);
                }
            }
            assert_eq!(got, ["{\"a\":1}", "", "{\"b\":2}"], "chunks of {size}");
        }
    }
}
