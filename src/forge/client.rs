//! Sends a request and reads as much of the answer as is needed.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::answer::{Answer, Verdict, judge};
use super::request::{Request, request};
use super::token;
use crate::model::{CommitId, CommitStatus, ForgeSpec, Timestamp};

/// From the first packet to the last byte of the answer.
pub const DEADLINE: Duration = Duration::from_secs(15);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// As much of an answer as is read.
const MAX_BODY: usize = 4096;
/// Characters of it that are repeated.
const EXCERPT: usize = 200;

#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    pub fn new() -> Result<Client, reqwest::Error> {
        // A second installation is refused and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(DEADLINE)
            .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the token to where it does not belong.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Client { http })
    }

    /// One attempt; always ends within [`DEADLINE`] or little more.
    pub async fn post(
        &self,
        spec: &ForgeSpec,
        commit: &CommitId,
        context: &str,
        status: &CommitStatus,
        now: Timestamp,
    ) -> Verdict {
        let request = match request(spec, commit, context, status) {
            Ok(request) => request,
            Err(reason) => return Verdict::GiveUp { reason },
        };
        let path = spec.token_file.clone();
        let token = tokio::task::spawn_blocking(move || token::read(&path)).await;
        let token = match token {
            Ok(Ok(token)) => token,
            Ok(Err(reason)) => {
                return Verdict::Retry {
                    after: None,
                    reason,
                };
            }
            Err(error) => {
                return Verdict::Retry {
                    after: None,
                    reason: error.to_string(),
                };
            }
        };
        let host = host(&request);
        match self.send(&request, &token, now).await {
            Ok(answer) => judge(spec.kind, &host, &spec.token_file, &answer),
            Err(reason) => Verdict::Retry {
                after: None,
                reason: format!("{host} does not answer: {reason}"),
            },
        }
    }

    async fn send(&self, request: &Request, token: &str, now: Timestamp) -> Result<Answer, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let (name, before) = request.authorization;
        let mut value = HeaderValue::from_str(&format!("{before}{token}"))
            .map_err(|_| "the token cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(name), value);
        let call = self
            .http
            .post(request.url.clone())
            .headers(headers)
            .json(&request.body);
        let mut response = call.send().await.map_err(|e| cause(&e))?;
        let number = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            value.trim().parse().ok()
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            retry_after: number("retry-after"),
            remaining: number("x-ratelimit-remaining").or_else(|| number("ratelimit-remaining")),
            reset: number("x-ratelimit-reset").or_else(|| number("ratelimit-reset")),
            now: u64::try_from(now.0 / 1000).unwrap_or(0),
            location: response
                .headers()
                .get("location")
                .and_then(|v| v.to_str().ok())
                .map(excerpt),
            excerpt: String::new(),
        };
        let mut body = Vec::new();
        // The status line has been said: half a body changes nothing.
        while body.len() < MAX_BODY
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY)]);
        }
        answer.excerpt = excerpt(&String::from_utf8_lossy(&body));
        Ok(answer)
    }
}

fn host(request: &Request) -> String {
    let name = request.url.host_str().unwrap_or_default();
    match request.url.port() {
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
