//! The connection to the Engine: API version, deadlines, and what is known of
//! its outages.
//!
//! There is no lasting connection: each call makes its own over the Unix
//! socket, so an Engine that was restarted is simply found again. What lasts is
//! the negotiated version, and that is asked for anew after every failure,
//! since the Engine may have been upgraded meanwhile.

use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion};

use super::error::CallError;
use crate::clock;
use crate::failpoint::{self, Op};
use crate::model::Timestamp;

/// The oldest API that has all we use (Docker 20.10).
pub(super) const OLDEST_API: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};

/// Milliseconds are nothing here, but an Engine that starts many containers at
/// once, or has a slow disk, may take this long for one call.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// How many outages are remembered; an exit is judged within seconds of the last one.
const OUTAGES: usize = 16;

pub(super) struct Engine {
    socket: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    last_answer: Option<Timestamp>,
    /// When the present outage began at the earliest; `None`: it answers.
    down_since: Option<Timestamp>,
    outages: VecDeque<(Timestamp, Timestamp)>,
}

/// A client that speaks the negotiated version.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) docker: bollard::Docker,
    pub(super) version: ClientVersion,
    /// Processors of the Engine's host, as the Engine counts them.
    pub(super) cpus: u64,
}

impl Engine {
    /// Does not connect. `socket`: path, with or without `unix://`.
    pub(super) fn new(socket: &str) -> Engine {
        Engine {
            socket: PathBuf::from(socket.strip_prefix("unix://").unwrap_or(socket)),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call with a deadline, over a client that both sides understand.
    pub(super) async fn call<T, F>(
        &self,
        deadline: Duration,
        what: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let client = self.client().await?;
        let docker = client.docker.with_timeout(deadline);
        self.observed(within(deadline, what(docker)).await)
    }

    /// Like [`Engine::call`], for what changes something.
    pub(super) async fn change<T, F>(
        &self,
        op: Op,
        deadline: Duration,
        what: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        failpoint::around_async(op, self.call(deadline, what)).await
    }

    /// For calls that stream: the caller reports how it went with [`Engine::observed`].
    pub(super) async fn client(&self) -> Result<Client, CallError> {
        let known = self.state().client.clone();
        match known {
            Some(client) => Ok(client),
            None => {
                let client = self.observed(self.negotiate().await)?;
                self.state().client = Some(client.clone());
                Ok(client)
            }
        }
    }

    /// Keeps account of whether the Engine answers.
    pub(super) fn observed<T>(&self, result: Result<T, CallError>) -> Result<T, CallError> {
        let now = clock::now();
        let mut state = self.state();
        match &result {
            Err(error) if error.is_unavailable() => {
                state.client = None;
                let since = state.last_answer.unwrap_or(Timestamp(i64::MIN));
                state.down_since.get_or_insert(since);
            }
            Ok(_) | Err(_) => {
                state.last_answer = Some(now);
                if let Some(since) = state.down_since.take() {
                    if state.outages.len() == OUTAGES {
                        state.outages.pop_front();
                    }
                    state.outages.push_back((since, now));
                }
            }
        }
        result
    }

    /// Whether the Engine was away at that time, as far as this process saw.
    pub(super) fn was_down_at(&self, at: Timestamp) -> bool {
        self.state()
            .outages
            .iter()
            .any(|(from, until)| *from <= at && at <= *until)
    }

    async fn negotiate(&self) -> Result<Client, CallError> {
        let socket = self.socket.to_string_lossy();
        let docker = bollard::Docker::connect_with_unix(
            &socket,
            CALL_DEADLINE.as_secs(),
            API_DEFAULT_VERSION,
        )?;
        // bollard sends paths without a version, which every Engine answers.
        let theirs = within(CALL_DEADLINE, docker.version()).await?;
        let newest = parse_version(theirs.api_version.as_deref())?;
        let oldest = parse_version(theirs.min_api_version.as_deref().or(Some("1.0")))?;
        let version = common_version(newest, oldest)?;
        // Unversioned requests get the newest behaviour the Engine knows, not the
        // one we were written for: so each path gets the version that was agreed.
        let docker = docker.with_request_modifier(move |mut request| {
            let uri = request.uri();
            let path = uri.path_and_query().map_or("/", |p| p.as_str());
            let versioned = format!(
                "{}://{}/v{version}{path}",
                uri.scheme_str().unwrap_or("unix"),
                uri.authority().map_or("", |a| a.as_str()),
            );
            if let Ok(uri) = versioned.parse() {
                *request.uri_mut() = uri;
            }
            request
        });
        let info = within(CALL_DEADLINE, docker.info()).await?;
        Ok(Client {
            docker,
            version,
            cpus: info
                .ncpu
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(1)
                .max(1),
        })
    }
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result.map_err(CallError::from),
        Err(_) => Err(CallError::Unavailable(format!(
            "no answer within {} s",
            deadline.as_secs()
        ))),
    }
}

fn parse_version(text: Option<&str>) -> Result<ClientVersion, CallError> {
    text.and_then(|text| {
        let (major, minor) = text.split_once('.')?;
        Some(ClientVersion {
            major_version: major.parse().ok()?,
            minor_version: minor.parse().ok()?,
        })
    })
    .ok_or_else(|| CallError::Unavailable(format!("API version {text:?} makes no sense")))
}

/// The newest version that both understand.
fn common_version(
    theirs: ClientVersion,
    their_oldest: ClientVersion,
) -> Result<ClientVersion, CallError> {
    let ours = *API_DEFAULT_VERSION;
    let version = if theirs < ours { theirs } else { ours };
    if version < OLDEST_API || version < their_oldest {
        return Err(CallError::Unavailable(format!(
            "it speaks API {their_oldest} to {theirs}, this agent {OLDEST_API} to {ours}"
        )));
    }
    Ok(version)
}

#[cfg(test)]
mod tests;
