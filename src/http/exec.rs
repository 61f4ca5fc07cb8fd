//! `POST /projects/{project}/apps/{app}/exec`: a command inside an instance.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::act::checked_reason;
use super::auth::Caller;
use super::extract::{App, Json};
use super::{AppState, Problem};
use crate::api::ExecInput;
use crate::api::exec::{DEFAULT_TIMEOUT, MAX_COMMAND_BYTES, MAX_TIMEOUT};
use crate::controller::ExecRequest;
use crate::model::quantity::parse_duration;

/// A line of JSON per frame, as they come; ends when the reader leaves, or the token ends.
pub async fn run(
    State(state): State<AppState>,
    App(key): App,
    caller: Caller,
    Json(input): Json<ExecInput>,
) -> Result<Response, Problem> {
    let request = checked(input, &caller)?;
    let frames = state.handle.exec(&key, request).await?;
    let lines = frames
        .map(|frame| Ok::<_, std::convert::Infallible>(Bytes::from(frame.line())))
        .take_until(state.stopping.clone().cancelled_owned())
        .take_until(caller.ended(&state));
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

fn checked(input: ExecInput, caller: &Caller) -> Result<ExecRequest, Problem> {
    let bytes: usize = input.command.iter().map(String::len).sum();
    if input.command.first().is_none_or(String::is_empty) {
        return Err(Problem::invalid(
            "command: name a program, such as [\"ps\"]",
        ));
    }
    if bytes > MAX_COMMAND_BYTES {
        return Err(Problem::invalid(format!(
            "command: it has {bytes} bytes; at most {MAX_COMMAND_BYTES} are taken"
        )));
    }
    if input.command.iter().any(|word| word.contains('\0')) {
        return Err(Problem::invalid("command: it holds a NUL byte"));
    }
    let timeout = input.timeout.as_deref().map(parse_duration).transpose();
    let timeout = timeout
        .map_err(|e| Problem::invalid(format!("timeout: {e}")))?
        .unwrap_or(DEFAULT_TIMEOUT);
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(Problem::invalid(format!(
            "timeout: more than 0s and at most {}s",
            MAX_TIMEOUT.as_secs()
        )));
    }
    Ok(ExecRequest {
        by: caller.name.clone(),
        command: input.command,
        instance: input.instance,
        timeout,
        reason: checked_reason(input.reason)?,
    })
}
