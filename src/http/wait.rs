//! `?wait=VERSION`: an answer as soon as the document has that version or a later one.
//!
//! A wait ends with its time, the server, and the token it was asked with. It holds nothing
//! but its connection.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::auth::Caller;
use super::{AppState, Problem};
use crate::controller::Versions;
use crate::model::Snapshot;
use crate::model::quantity::{format_duration, parse_duration};

/// Where the caller names no time.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Longest wait; who wants more asks again.
pub const MAX_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitParams {
    /// Answer as soon as the document's version is this or a later one; of what is not there
    /// yet, as soon as it is. When the time is over, it is answered as it is.
    wait: Option<u64>,
    /// For how long, such as `20s` [`30s`]; at most `1m`.
    timeout: Option<String>,
}

impl WaitParams {
    fn span(&self) -> Result<Duration, Problem> {
        let Some(text) = &self.timeout else {
            return Ok(DEFAULT_WAIT);
        };
        if self.wait.is_none() {
            return Err(Problem::bad_request(
                "timeout: there is nothing to wait for; name a version, as in ?wait=12&timeout=20s",
            ));
        }
        let span =
            parse_duration(text).map_err(|e| Problem::bad_request(format!("timeout: {e}")))?;
        if span > MAX_WAIT {
            return Err(Problem::bad_request(format!(
                "timeout: {text} is too long; at most {} are waited for at a time, then ask again",
                format_duration(MAX_WAIT)
            )));
        }
        Ok(span)
    }

    /// Returns when it is time to answer. `version`: `None` where there is no such document.
    pub async fn until(
        &self,
        state: &AppState,
        caller: &Caller,
        version: impl Fn(&Snapshot, &Versions) -> Option<u64>,
    ) -> Result<(), Problem> {
        let end = Instant::now() + self.span()?;
        let Some(wanted) = self.wait else {
            return Ok(());
        };
        let mut moved = state.handle.moved();
        let known = |v: &Option<u64>| v.is_some_and(|v| v >= wanted);
        let mut was_there = false;
        let arrived = async {
            loop {
                moved.borrow_and_update();
                // While nothing is loaded, there is nothing to answer either.
                if let Ok(version) = state.handle.look(&version) {
                    let gone = was_there && version.is_none();
                    if known(&version) || gone {
                        return;
                    }
                    was_there |= version.is_some();
                }
                if moved.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = timeout_at(end, arrived) => Ok(()),
            () = state.stopping.cancelled() => Err(Problem::unavailable("the server is stopping")),
            () = caller.ended(state) => Err(Problem::ended()),
        }
    }
}
