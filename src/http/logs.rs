//! `/projects/{project}/apps/{app}/logs`: output of instances as text.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::apps::with_app;
use super::auth::Caller;
use super::extract::{App, Params};
use super::{AppState, Problem};
use crate::controller::{LogLine, LogQuery};
use crate::model::{AppKey, InstanceId};

/// Lines from the end where the caller names no number.
const DEFAULT_TAIL: usize = 100;
/// Most lines from the end of each instance.
const MAX_TAIL: usize = 10_000;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogParams {
    tail: Option<usize>,
    #[serde(default)]
    follow: bool,
    /// Id of an instance, or its first digits; left out: all, each line with its origin.
    instance: Option<String>,
}

pub async fn show(
    State(state): State<AppState>,
    caller: Caller,
    App(key): App,
    Params(params): Params<LogParams>,
) -> Result<Response, Problem> {
    let instance = find_instance(&state, &key, params.instance.as_deref())?;
    let query = LogQuery {
        tail: params.tail.unwrap_or(DEFAULT_TAIL).min(MAX_TAIL),
        follow: params.follow,
    };
    let lines = state.handle.logs(&key, instance, query).await?;
    let text = lines
        .map(move |line| Ok::<_, std::convert::Infallible>(text_of(line, instance.is_some())))
        .take_until(state.stopping.clone().cancelled_owned())
        .take_until(caller.ended(&state));
    let mut response = Response::new(Body::from_stream(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    Ok(response)
}

fn text_of(line: LogLine, alone: bool) -> Bytes {
    if alone {
        format!("{}\n", line.line).into()
    } else {
        let (slot, id) = (line.slot, line.instance.short());
        format!("{slot}/{id} {}\n", line.line).into()
    }
}

fn find_instance(
    state: &AppState,
    key: &AppKey,
    wanted: Option<&str>,
) -> Result<Option<InstanceId>, Problem> {
    let ids: Vec<InstanceId> =
        with_app(state, key, |_, app| app.instances.keys().copied().collect())?;
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let wanted = wanted.to_ascii_lowercase();
    let mut found = ids.into_iter().filter(|id| {
        id.to_string().starts_with(&wanted) || id.0.simple().to_string().starts_with(&wanted)
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(Some(one)),
        (None, _) => Err(
            Problem::not_found(format!("{key} has no instance {wanted}"))
                .with_hint(format!("evenkeel status {key}")),
        ),
        (Some(_), Some(_)) => Err(Problem::bad_request(format!(
            "several instances of {key} start with {wanted}; give more of the id"
        ))),
    }
}
