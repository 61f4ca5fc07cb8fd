//! The connection: address, token, deadlines, and turning answers into values.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{PREFIX, ProblemDetails};

use super::Error;

/// From the first attempt to connect to an open connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// From sending a request to the last byte of its answer, streams excepted.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Largest problem document that is read of a refusal.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    /// Version of the document that the caller has seen.
    as_of: Option<u64>,
}

impl Client {
    /// `url`: scheme, host and port, maybe a path in front of `/api/v1`.
    pub fn new(url: &str, token: Option<String>) -> Result<Client, Error> {
        let address = |why: String| Error::Address {
            url: url.to_owned(),
            why,
        };
        let mut base = Url::parse(url).map_err(|e| address(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(address(
                "it must start with http:// or https:// and name a host".to_owned(),
            ));
        }
        base.set_query(None);
        base.set_fragment(None);
        // Whoever uses the library without `main` needs a provider, too; a second
        // installation is refused and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .tcp_keepalive(Duration::from_secs(15))
            .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the token to where it does not belong.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| address(e.to_string()))?;
        Ok(Client {
            http,
            base,
            token,
            as_of: None,
        })
    }

    /// One whose changes are refused where somebody acted on their subject since `version`.
    pub fn as_of(&self, version: u64) -> Client {
        Client {
            as_of: Some(version),
            ..self.clone()
        }
    }

    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A request below `/api/v1`; `segments` are escaped.
    pub(super) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // `base` has a host, so it can have a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(PREFIX.split('/').filter(|s| !s.is_empty()))
                .extend(segments);
        }
        let reads = method == Method::GET;
        let mut request = self.http.request(method, url);
        if let Some(version) = self.as_of.filter(|_| !reads) {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Error> {
        let request = self.request(Method::GET, segments).query(query);
        self.json(request).await
    }

    /// The same as the leader has it: a follower's may be a second old.
    pub(super) async fn get_fresh<T: DeserializeOwned>(
        &self,
        segments: &[&str],
    ) -> Result<T, Error> {
        let request = self.request(Method::GET, segments);
        self.json(request.header(header::CACHE_CONTROL, "no-cache"))
            .await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.json(self.request(method, segments).json(body)).await
    }

    /// Sends it and reads the answer's body as `T`.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        self.json_within(request, CALL_DEADLINE).await
    }

    /// The same with a deadline of the caller's.
    pub(super) async fn json_within<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        deadline: Duration,
    ) -> Result<T, Error> {
        let response = self.answer(request.timeout(deadline)).await?;
        let body = response.bytes().await.map_err(|e| self.failed(e))?;
        serde_json::from_slice(&body).map_err(|e| self.protocol(e.to_string()))
    }

    /// Sends it; anything but success is an error.
    pub(super) async fn answer(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|e| self.failed(e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn refusal(&self, mut response: Response) -> Error {
        let status = response.status();
        let is_problem = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.starts_with(crate::api::error::MEDIA_TYPE));
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_PROBLEM_BYTES {
                break;
            }
        }
        match serde_json::from_slice::<ProblemDetails>(&body) {
            Ok(problem) if is_problem => Error::Problem(Box::new(problem)),
            Ok(_) | Err(_) => self.protocol(plain_status(status)),
        }
    }

    pub(super) fn failed(&self, cause: reqwest::Error) -> Error {
        let url = self.url().to_owned();
        if cause.is_timeout() && !cause.is_connect() {
            Error::Timeout { url }
        } else {
            Error::Unreachable {
                url,
                // The address is told once, in our own words.
                cause: cause.without_url(),
            }
        }
    }

    pub(super) fn protocol(&self, what: String) -> Error {
        Error::Protocol {
            url: self.url().to_owned(),
            what,
        }
    }
}

fn plain_status(status: StatusCode) -> String {
    format!("HTTP {status} without a problem document")
}
