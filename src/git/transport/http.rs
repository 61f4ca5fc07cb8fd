//! Smart HTTP: `GET info/refs`, then one `POST git-upload-pack` per round.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf as _, Bytes};
use git2::transport::Service;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use super::{
    Attempt, Error, Location, SmartSubtransport, Stream, give_up, give_up_git, only_fetch,
};
use crate::causes;
use crate::git::{Refusal, limits};

/// User name where the source names none: forges take any beside a token.
const ANY_USER: &str = "x-access-token";

pub(super) struct Http {
    attempt: Arc<Attempt>,
    /// Where the repository is: the source's url, or where it redirected on the same host.
    base: Arc<Mutex<Option<Url>>>,
}

impl Http {
    pub(super) fn new(attempt: Arc<Attempt>) -> Http {
        let base = match &attempt.location {
            Location::Http { url, .. } => Some(url.clone()),
            Location::Ssh { .. } | Location::Local(_) => None,
        };
        Http {
            attempt,
            base: Arc::new(Mutex::new(base)),
        }
    }
}

impl SmartSubtransport for Http {
    fn action(&self, _: &str, service: Service) -> Result<Stream, git2::Error> {
        only_fetch(service)?;
        let state = match service {
            Service::UploadPackLs => State::Answer(
                refs(&self.attempt, &self.base).map_err(|e| give_up_git(&self.attempt, e))?,
            ),
            _ => State::Request(Vec::new()),
        };
        Ok(Box::new(Exchange {
            attempt: self.attempt.clone(),
            base: self.base.clone(),
            state,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request with its answer. libgit2 writes all of the request, then reads.
struct Exchange {
    attempt: Arc<Attempt>,
    base: Arc<Mutex<Option<Url>>>,
    state: State,
}

enum State {
    Request(Vec<u8>),
    Answer(Body),
}

struct Body {
    response: Response,
    chunk: Bytes,
    /// Bytes that may still come.
    left: usize,
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Request(body) => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            State::Answer(_) => Err(io::Error::other("written to after it was answered")),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let State::Request(request) = &mut self.state {
            let request = std::mem::take(request);
            let body = negotiate(&self.attempt, &self.base, request)
                .map_err(|e| give_up(&self.attempt, e))?;
            self.state = State::Answer(body);
        }
        let State::Answer(body) = &mut self.state else {
            return Ok(0);
        };
        body.read(&self.attempt, buffer)
            .map_err(|e| give_up(&self.attempt, e))
    }
}

impl Body {
    fn read(&mut self, attempt: &Attempt, buffer: &mut [u8]) -> Result<usize, Error> {
        while self.chunk.is_empty() {
            let response = &mut self.response;
            let next = attempt.wait(async {
                response
                    .chunk()
                    .await
                    .map_err(|e| attempt.unreachable(chain(&e)))
            })?;
            match next {
                None => return Ok(0),
                Some(chunk) if chunk.len() > self.left => {
                    return Err(
                        attempt.unreachable("the answer is larger than this program accepts")
                    );
                }
                Some(chunk) => {
                    self.left -= chunk.len();
                    self.chunk = chunk;
                }
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Asks for the refs, following redirects that stay on the host.
fn refs(attempt: &Attempt, base: &Mutex<Option<Url>>) -> Result<Body, Error> {
    const SUFFIX: &str = "/info/refs";
    let mut at = current(attempt, base)?;
    for _ in 0..=limits::REDIRECTS {
        let mut url = at.clone();
        url.set_path(&format!("{}{SUFFIX}", at.path().trim_end_matches('/')));
        url.set_query(Some("service=git-upload-pack"));
        let response = send(attempt, Method::GET, url.clone(), None)?;
        if !response.status().is_redirection() {
            let response = answer(
                attempt,
                response,
                "application/x-git-upload-pack-advertisement",
            )?;
            *base.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
            return Ok(Body {
                response,
                chunk: Bytes::new(),
                left: limits::REFS_BYTES,
            });
        }
        let mut to = redirect_target(attempt, &response, &url)?;
        to.set_query(None);
        to.set_fragment(None);
        let Some(path) = to.path().strip_suffix(SUFFIX).map(str::to_owned) else {
            return Err(attempt.refused(Refusal::Redirect { to: to.to_string() }));
        };
        to.set_path(&path);
        at = to;
    }
    Err(attempt.unreachable("it redirects in a circle"))
}

/// The target of a redirect, if credentials may go there: the same scheme, host
/// and port, or from plain http to https on the default ports of the same host.
fn redirect_target(attempt: &Attempt, response: &Response, from: &Url) -> Result<Url, Error> {
    let target = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| from.join(text).ok())
        .ok_or_else(|| attempt.unreachable("it redirects without saying where to"))?;
    let upgraded = from.scheme() == "http"
        && target.scheme() == "https"
        && from.port_or_known_default() == Some(80)
        && target.port_or_known_default() == Some(443)
        && from.host() == target.host();
    let plain = target.username().is_empty() && target.password().is_none();
    if plain && (from.origin() == target.origin() || upgraded) {
        return Ok(target);
    }
    // Only where to, never a path or query that may hold something private.
    Err(attempt.refused(Refusal::Redirect {
        to: target.origin().ascii_serialization(),
    }))
}

fn negotiate(
    attempt: &Attempt,
    base: &Mutex<Option<Url>>,
    request: Vec<u8>,
) -> Result<Body, Error> {
    let mut url = current(attempt, base)?;
    url.set_path(&format!(
        "{}/git-upload-pack",
        url.path().trim_end_matches('/')
    ));
    let response = send(attempt, Method::POST, url.clone(), Some(request))?;
    if response.status().is_redirection() {
        let to = redirect_target(attempt, &response, &url)?;
        return Err(attempt.refused(Refusal::Redirect { to: to.to_string() }));
    }
    let response = answer(attempt, response, "application/x-git-upload-pack-result")?;
    Ok(Body {
        response,
        chunk: Bytes::new(),
        left: limits::PACK_BYTES,
    })
}

fn current(attempt: &Attempt, base: &Mutex<Option<Url>>) -> Result<Url, Error> {
    base.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
        .ok_or_else(|| attempt.unreachable("it is not an http address"))
}

fn send(
    attempt: &Attempt,
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
) -> Result<Response, Error> {
    let mut request = attempt.client.request(method, url);
    if let (Some(token), Location::Http { user, .. }) = (&attempt.token, &attempt.location) {
        let user = attempt.credentials.username.as_ref().or(user.as_ref());
        let user = user.map_or(ANY_USER, String::as_str);
        request = request.basic_auth(user, Some(token.expose()));
    }
    if let Some(body) = body {
        request = request
            .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
            .header(ACCEPT, "application/x-git-upload-pack-result")
            .body(body);
    }
    attempt.wait(async {
        request
            .send()
            .await
            .map_err(|e| attempt.unreachable(chain(&e)))
    })
}

/// The answer, if it is one of a Git server.
fn answer(attempt: &Attempt, response: Response, expected: &str) -> Result<Response, Error> {
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        let todo = match attempt.token {
            Some(_) => {
                "the token is wrong, has expired, or lacks the right to read this repository; write a new one to the token file"
            }
            None => "it asks for credentials; give the source a token file",
        };
        return Err(attempt.refused(Refusal::Credentials {
            answer: format!("access refused ({status})"),
            todo: todo.to_owned(),
        }));
    }
    if status == StatusCode::NOT_FOUND || status == StatusCode::GONE {
        return Err(attempt.refused(Refusal::NotFound));
    }
    if status != StatusCode::OK {
        return Err(attempt.unreachable(format!("it answers {status}")));
    }
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    if kind != expected {
        return Err(attempt.refused(Refusal::Url {
            why: "what answers there is not a Git repository (wrong content type); use the address that git clone takes".to_owned(),
        }));
    }
    Ok(response)
}

/// An error with its causes: reqwest's own text leaves out why. Without the url,
/// which stands in our own error already.
fn chain(error: &reqwest::Error) -> String {
    let what = match error.is_connect() {
        true => "cannot connect",
        false => "the connection broke",
    };
    let mut text = causes::after(what.to_owned(), error);
    if text.contains("UnknownIssuer") {
        text.push_str(
            " (this host does not trust who issued it: add that authority to the host's \
             certificates, or name its PEM file in SSL_CERT_FILE)",
        );
    }
    text
}
