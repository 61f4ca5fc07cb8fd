//! Events: pages of the record, and the live stream.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Method, Response, header};

use crate::api::Page;
use crate::api::event::GAP;
use crate::model::Event;

use super::{Client, Error};

/// Longest silence on a live stream; the server sends a comment every 15 s.
const SILENCE_DEADLINE: Duration = Duration::from_secs(60);
/// Largest event that is taken from a stream.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Which events; empty: the latest.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// `project/app`.
    pub app: Option<String>,
    pub source: Option<String>,
    /// `rollout.started`.
    pub kind: Option<String>,
    /// Those with a larger id.
    pub after: Option<i64>,
    /// Those with a smaller id.
    pub before: Option<i64>,
    pub limit: Option<usize>,
}

impl EventQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        out.extend(self.app.clone().map(|v| ("app", v)));
        out.extend(self.source.clone().map(|v| ("source", v)));
        out.extend(self.kind.clone().map(|v| ("kind", v)));
        out.extend(self.after.map(|v| ("after", v.to_string())));
        out.extend(self.before.map(|v| ("before", v.to_string())));
        out.extend(self.limit.map(|v| ("limit", v.to_string())));
        out
    }
}

impl Client {
    /// A page of the record, oldest first.
    pub async fn events(&self, query: &EventQuery) -> Result<Page<Event>, Error> {
        self.get(&["events"], &query.pairs()).await
    }

    /// Events from `query.after` on (or from now), as they happen.
    pub async fn watch_events(&self, query: &EventQuery) -> Result<EventStream, Error> {
        let request = self
            .request(Method::GET, &["events"])
            .query(&query.pairs())
            .header(header::ACCEPT, "text/event-stream");
        let response = self.answer(request).await?;
        Ok(EventStream {
            client: self.clone(),
            response,
            parser: SseParser::default(),
        })
    }
}

/// A live stream of events.
pub struct EventStream {
    client: Client,
    response: Response,
    parser: SseParser,
}

impl EventStream {
    /// The next event; `None`: the server closed the stream. After `Missed` it goes on.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(message) = self.parser.pop() {
                if message.kind == GAP {
                    return Err(match serde_json::from_str(&message.data) {
                        Ok(gap) => Error::Missed(Box::new(gap)),
                        Err(e) => self.client.protocol(e.to_string()),
                    });
                }
                return serde_json::from_str(&message.data)
                    .map(Some)
                    .map_err(|e| self.client.protocol(e.to_string()));
            }
            let chunk = tokio::time::timeout(SILENCE_DEADLINE, self.response.chunk())
                .await
                .map_err(|_| Error::Timeout {
                    url: self.client.url().to_owned(),
                })?
                .map_err(|e| self.client.failed(e))?;
            let Some(chunk) = chunk else {
                return Ok(None);
            };
            if !self.parser.push(&chunk) {
                return Err(self
                    .client
                    .protocol(format!("an event of more than {MAX_EVENT_BYTES} bytes")));
            }
        }
    }

    /// As a stream that ends after the first error.
    pub fn into_stream(self) -> impl futures_util::Stream<Item = Result<Event, Error>> {
        futures_util::stream::unfold(Some(self), |state| async move {
            let mut state = state?;
            match state.next().await {
                Ok(Some(event)) => Some((Ok(event), Some(state))),
                Ok(None) => None,
                Err(e) => Some((Err(e), None)),
            }
        })
        .boxed()
    }
}

/// One message of an event stream.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    kind: String,
    data: String,
}

/// Reads `text/event-stream` (WHATWG HTML, 9.2.6) as far as our server uses it.
#[derive(Default)]
struct SseParser {
    buffer: Vec<u8>,
    kind: String,
    data: String,
    ready: std::collections::VecDeque<Message>,
}

impl SseParser {
    /// Takes bytes; `false`: an event grew beyond the limit.
    fn push(&mut self, bytes: &[u8]) -> bool {
        self.buffer.extend_from_slice(bytes);
        while let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            self.line(line.trim_end_matches(['\n', '\r']));
        }
        self.buffer.len() + self.data.len() <= MAX_EVENT_BYTES
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let (kind, data) = (
                std::mem::take(&mut self.kind),
                std::mem::take(&mut self.data),
            );
            if !data.is_empty() {
                self.ready.push_back(Message { kind, data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.kind = value.to_owned(),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {}
        }
    }

    fn pop(&mut self) -> Option<Message> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&str], expect: &[(&str, &str)]) {
        let mut parser = SseParser::default();
        for chunk in chunks {
            assert!(parser.push(chunk.as_bytes()));
        }
        let got: Vec<_> = std::iter::from_fn(|| parser.pop())
            .map(|m| (m.kind, m.data))
            .collect();
        let expect: Vec<_> = expect
            .iter()
            .map(|(k, d)| ((*k).to_owned(), (*d).to_owned()))
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        check(
            &["id: 7\nevent: sync", ".ok\nda", "ta: {}\n", "\n: ping\n\n"],
            &[("sync.ok", "{}")],
        );
        check(&["data: a\r\ndata: b\r\n\r\n"], &[("", "a\nb")]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = SseParser::default();
        assert!(!parser.push(&vec![b'x'; MAX_EVENT_BYTES + 1]));
    }
}
