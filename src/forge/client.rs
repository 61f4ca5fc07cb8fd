//! Sends a request with the source's credentials, and reads as much of the answer as is needed.
//!
//! Holds what is only worth remembering while the process lives: tokens of GitHub Apps, until
//! when a forge wants to be left alone, and who we are there.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use serde::de::DeserializeOwned;

use super::answer::{Answer, judge};
use super::app::Installations;
use super::auth;
use super::failure::{Again, Failure, FailureKind};
use super::request::{Read, Request};
use super::status;
use crate::model::{CommitId, CommitStatus, ForgeSpec, Timestamp};

/// From the first packet to the last byte of the answer.
pub const DEADLINE: Duration = Duration::from_secs(15);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// As much of an answer as is read where its status line says enough.
const MAX_START: usize = 4096;
/// Of one that is needed: a page of pull requests with all that a forge tells of each.
const MAX_WHOLE: usize = 16 * 1024 * 1024;
/// Characters of an answer that are repeated.
const EXCERPT: usize = 200;
/// Things remembered of each kind; beyond it all are forgotten and asked for anew.
const MAX_REMEMBERED: usize = 2000;

#[derive(Clone, Debug)]
pub struct Client {
    /// `Err`: this machine cannot speak TLS, and why; told by each call.
    http: Result<reqwest::Client, String>,
    memory: Arc<Memory>,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub installations: Mutex<Installations>,
    /// Per host and credentials: not asked before.
    pauses: Mutex<HashMap<String, Timestamp>>,
    /// Per host and credentials: our name there; `None`: not to be found out.
    pub names: Mutex<HashMap<String, Option<String>>>,
    /// Per repository, pull request and marker: our comment.
    pub comments: Mutex<HashMap<(String, u64, String), String>>,
    /// Full hashes of shortened ones.
    pub hashes: Mutex<HashMap<(String, String), CommitId>>,
}

/// No holder of these locks leaves the data half changed when it panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn remember<K: Eq + Hash, V>(memory: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut memory = lock(memory);
    if memory.len() >= MAX_REMEMBERED {
        memory.clear();
    }
    memory.insert(key, value);
}

impl Default for Client {
    fn default() -> Client {
        Client::with_deadline(DEADLINE)
    }
}

impl Client {
    /// Each request ends within `deadline`.
    pub fn with_deadline(deadline: Duration) -> Client {
        // A second installation is refused and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE.min(deadline))
            .timeout(deadline)
            .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the token to where it does not belong.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| cause(&e));
        Client {
            http,
            memory: Arc::default(),
        }
    }

    /// Sets the status of a commit: one attempt, within a small multiple of [`DEADLINE`].
    pub async fn post(
        &self,
        spec: &ForgeSpec,
        commit: &CommitId,
        context: &str,
        status: &CommitStatus,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let request = status::request(spec, commit, context, status)?;
        self.call(spec, &request, now).await.map(drop)
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Asks with the source's credentials; a token that ran out before its time is renewed once.
    pub(super) async fn call(
        &self,
        spec: &ForgeSpec,
        request: &Request,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        self.heed_pause(spec, request, now)?;
        let mut authorization = auth::authorization(self, spec, now).await?;
        let mut answer = self.send(request, &authorization, now).await?;
        if answer.status == 401 && spec.app.is_some() {
            auth::forget(self, spec);
            authorization = auth::authorization(self, spec, now).await?;
            answer = self.send(request, &authorization, now).await?;
        }
        let verdict = judge(spec, &host(&request.url), request.doing, &answer);
        let limit = match &verdict {
            Err(Failure {
                kind: FailureKind::RateLimited,
                again: Again::After(pause),
                ..
            }) => Some(*pause),
            Ok(()) | Err(_) => answer.pause(),
        };
        if let Some(pause) = limit {
            let key = whom(spec, &request.url);
            remember(&self.memory.pauses, key, now + pause);
        }
        verdict.map(|()| answer)
    }

    /// [`Client::call`], and the answer as what it should be.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        spec: &ForgeSpec,
        request: &Request,
        now: Timestamp,
    ) -> Result<T, Failure> {
        let answer = self.call(spec, request, now).await?;
        parse(&answer.body, &host(&request.url))
    }

    /// A forge that wants to be left alone is, whoever asks.
    fn heed_pause(
        &self,
        spec: &ForgeSpec,
        request: &Request,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let key = whom(spec, &request.url);
        let mut pauses = lock(&self.memory.pauses);
        let Some(until) = pauses.get(&key).copied() else {
            return Ok(());
        };
        let Ok(left) = u64::try_from(until.0 - now.0) else {
            pauses.remove(&key);
            return Ok(());
        };
        if left == 0 {
            pauses.remove(&key);
            return Ok(());
        }
        let left = Duration::from_millis(left);
        Err(Failure::new(
            FailureKind::RateLimited,
            Again::After(left),
            format!(
                "{} limits how often it is asked: left alone for {} s",
                host(&request.url),
                left.as_secs().max(1)
            ),
        ))
    }

    /// One request, whatever its answer.
    pub(super) async fn send(
        &self,
        request: &Request,
        authorization: &auth::Header,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        let host = host(&request.url);
        let silent = |why: String| {
            let reason = format!("{host} does not answer: {why}");
            Failure::new(FailureKind::Unreachable, Again::Soon, reason)
        };
        let http = self
            .http
            .as_ref()
            .map_err(|why| Failure::new(FailureKind::Settings, Again::Soon, why.clone()))?;
        let mut call = http
            .request(request.method.clone(), request.url.clone())
            .header(authorization.name, authorization.value.clone());
        for (name, value) in &request.headers {
            call = call.header(*name, *value);
        }
        if let Some(body) = &request.body {
            call = call.json(body);
        }
        let mut response = call.send().await.map_err(|e| silent(cause(&e)))?;
        let mut answer = Answer::of(response.status().as_u16(), response.headers(), now);
        answer.location = answer.location.as_deref().map(excerpt);
        let whole = request.read == Read::Whole && answer.status < 300;
        let limit = if whole { MAX_WHOLE } else { MAX_START };
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = limit.saturating_sub(answer.body.len());
                    answer
                        .body
                        .extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room && whole {
                        let reason = format!("{host} answers with more than {limit} bytes");
                        return Err(Failure::new(FailureKind::Refused, Again::Never, reason));
                    }
                    if chunk.len() >= room {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) if whole => {
                    let reason = format!("{host} broke off its answer: {}", cause(&error));
                    return Err(Failure::new(FailureKind::Unreachable, Again::Soon, reason));
                }
                // The status line has been said: half a body changes nothing.
                Err(_) => break,
            }
        }
        let start = &answer.body[..answer.body.len().min(MAX_START)];
        answer.excerpt = excerpt(&String::from_utf8_lossy(start));
        Ok(answer)
    }
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8], host: &str) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let reason = format!("{host} answers with something else than its API tells: {error}");
        Failure::new(FailureKind::Faulty, Again::Soon, reason)
    })
}

/// Whom a limit counts: these credentials at that host.
pub(super) fn whom(spec: &ForgeSpec, url: &Url) -> String {
    let who = match &spec.app {
        Some(app) => format!("{} {}", app.id, app.private_key_file),
        None => spec.token_file.clone().unwrap_or_default(),
    };
    format!("{} {who}", host(url))
}

pub(super) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(EXCERPT).collect()
}

/// The innermost cause says most, and never the address with what might stand in it.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(next) = innermost.source() {
        innermost = next;
    }
    innermost.to_string()
}
