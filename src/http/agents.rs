//! `/agent/…`: the controller's end of what `api::agent` describes.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::extract::{Json, Params};
use super::{AppState, Problem};
use crate::api::agent::{Report, ToAgent};
use crate::model::NodeName;

/// Longest line of output; a longer one is cut into several.
const MAX_LINE_BYTES: usize = 64 * 1024;

#[derive(Debug, Deserialize, JsonSchema)]
pub struct StreamParams {
    node: NodeName,
}

/// A line of JSON per message, for as long as both ends live.
pub async fn stream(
    State(state): State<AppState>,
    Params(params): Params<StreamParams>,
) -> Result<Response, Problem> {
    let messages = state.handle.agent_connected(params.node)?;
    let lines = messages
        .map(|message| line_of(&message))
        .take_until(state.stopping.clone().cancelled_owned());
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

fn line_of(message: &ToAgent) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line.into())
}

pub async fn report(
    State(state): State<AppState>,
    Json(report): Json<Report>,
) -> Result<StatusCode, Problem> {
    state.handle.report(report).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lines that the controller asked for, as they come.
pub async fn lines(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let sink = state.handle.log_sink(id)?;
    let mut cutter = LineCutter::default();
    let body = body
        .into_data_stream()
        .take_until(state.stopping.clone().cancelled_owned());
    let mut body = std::pin::pin!(body);
    loop {
        let chunk = tokio::select! {
            chunk = body.next() => chunk,
            // Also where nothing comes: who runs a silent command ends it by leaving.
            () = sink.closed() => return Ok(StatusCode::NO_CONTENT),
        };
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(|_| Problem::bad_request("the body broke off"))?;
        for line in cutter.push(&chunk) {
            if sink.send(line).await.is_err() {
                // The reader has left: ending the request tells the agent to stop.
                return Ok(StatusCode::NO_CONTENT);
            }
        }
    }
    if let Some(line) = cutter.rest() {
        let _ = sink.send(line).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Cuts bytes into lines, whatever they are: invalid UTF-8 is replaced, not refused.
#[derive(Default)]
struct LineCutter {
    buffer: BytesMut,
}

impl LineCutter {
    fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        self.buffer.extend_from_slice(chunk);
        let mut lines = Vec::new();
        loop {
            let end = self.buffer.iter().position(|&b| b == b'\n');
            match end {
                Some(end) if end <= MAX_LINE_BYTES => {
                    lines.push(text(&self.buffer[..end]));
                    self.buffer.advance(end + 1);
                }
                Some(_) | None if self.buffer.len() > MAX_LINE_BYTES => {
                    lines.push(text(&self.buffer[..MAX_LINE_BYTES]));
                    self.buffer.advance(MAX_LINE_BYTES);
                }
                Some(_) | None => return lines,
            }
        }
    }

    fn rest(&mut self) -> Option<String> {
        (!self.buffer.is_empty()).then(|| text(&self.buffer))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches('\r')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let mut cutter = LineCutter::default();
        assert_eq!(cutter.push(b"one\ntw"), ["one"]);
        assert_eq!(cutter.push(b"o\r\n\nthr"), ["two", ""]);
        assert_eq!(cutter.rest().as_deref(), Some("thr"));
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut cutter = LineCutter::default();
        let lines = cutter.push(&vec![b'x'; MAX_LINE_BYTES * 2 + 1]);
        assert_eq!(lines.len(), 2);
        assert_eq!(cutter.rest().as_deref(), Some("x"));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(LineCutter::default().push(b"a\xffb\n"), ["a\u{fffd}b"]);
    }
}
