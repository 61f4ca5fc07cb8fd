//! What handlers take from a request, with refusals as problem documents.

use std::fmt::Display;
use std::ops::Bound;
use std::str::FromStr;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{AppState, MAX_BODY_BYTES, Problem};
use crate::api::list::bounded;
use crate::model::id::check_label;
use crate::model::{AppKey, NodeName, SourceName};

/// The largest body that the route takes, in bytes; for the words of a refusal.
#[derive(Clone, Copy)]
pub struct BodyLimit(pub usize);

/// The body as it came, bounded.
pub struct RawBody(pub Bytes);

impl FromRequest<AppState> for RawBody {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let limit = request.extensions().get::<BodyLimit>();
        let limit = limit.map_or(MAX_BODY_BYTES, |limit| limit.0);
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(RawBody(bytes)),
            Err(rejection) => Err(too_large_or_broken(rejection, limit)),
        }
    }
}

fn too_large_or_broken(rejection: BytesRejection, limit: usize) -> Problem {
    if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        Problem::too_large(limit)
    } else {
        Problem::bad_request("the body broke off")
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        check_media_type(&request)?;
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        if bytes.is_empty() {
            return Err(Problem::bad_request("the body is empty; JSON is expected"));
        }
        parse(&bytes).map(Json)
    }
}

/// A JSON body that may be left out.
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let media_type = check_media_type(&request);
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        if bytes.is_empty() {
            return Ok(OptionalJson(T::default()));
        }
        media_type?;
        parse(&bytes).map(OptionalJson)
    }
}

/// A form's type is refused: browsers send those for other sites without asking.
fn check_media_type(request: &Request) -> Result<(), Problem> {
    let given = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json") {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type(if given.is_empty() {
            "the body has no Content-Type".to_owned()
        } else {
            format!("the body is {essence}")
        }))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| {
        if e.is_data() {
            Problem::invalid(format!("the body does not fit: {e}"))
        } else {
            Problem::bad_request(format!("the body is not JSON: {e}"))
        }
    })
}

/// Query parameters; unknown ones are refused with the known ones named.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Params<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(value)| Params(value))
            .map_err(|rejection: QueryRejection| Problem::bad_request(rejection.body_text()))
    }
}

async fn path<T: DeserializeOwned + Send>(
    parts: &mut Parts,
    state: &AppState,
) -> Result<T, Problem> {
    Path::<T>::from_request_parts(parts, state)
        .await
        .map(|Path(value)| value)
        .map_err(|rejection: PathRejection| Problem::bad_request(rejection.body_text()))
}

/// Which page of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageParams {
    /// `next` of the page before.
    after: Option<String>,
    /// Items at most [100]; up to 1000.
    limit: Option<usize>,
}

impl PageParams {
    pub fn limit(&self) -> usize {
        bounded(self.limit)
    }

    /// One more than the page holds tells whether another follows.
    pub fn one_more(&self) -> u32 {
        u32::try_from(self.limit()).map_or(u32::MAX, |limit| limit.saturating_add(1))
    }

    pub fn after_text(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Where the page begins in a map by `K`.
    pub fn after<K: FromStr<Err: Display>>(&self) -> Result<Bound<K>, Problem> {
        let Some(text) = &self.after else {
            return Ok(Bound::Unbounded);
        };
        text.parse()
            .map(Bound::Excluded)
            .map_err(|e| Problem::bad_request(format!("after: {e}")))
    }
}

/// `/projects/{project}/apps/{app}`.
pub struct App(pub AppKey);

impl FromRequestParts<AppState> for App {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let (project, name): (String, String) = path(parts, state).await?;
        let key = format!("{project}/{name}");
        key.parse()
            .map(App)
            .map_err(|e| Problem::bad_request(format!("there can be no app {key}: {e}")))
    }
}

/// `/sources/{name}` and `/hooks/{source}`.
pub struct SourceParam(pub SourceName);

impl FromRequestParts<AppState> for SourceParam {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let name: String = path(parts, state).await?;
        SourceName::new(name)
            .map(SourceParam)
            .map_err(|e| Problem::bad_request(format!("there can be no such source: {e}")))
    }
}

/// `/sources/{name}/commits/{commit}`: a hash, or its beginning.
pub struct CommitParam(pub SourceName, pub String);

impl FromRequestParts<AppState> for CommitParam {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let (name, commit): (String, String) = path(parts, state).await?;
        let name = SourceName::new(name)
            .map_err(|e| Problem::bad_request(format!("there can be no such source: {e}")))?;
        let commit = commit.to_ascii_lowercase();
        let is_hash = commit.chars().all(|c| c.is_ascii_hexdigit());
        if !is_hash || !(7..=64).contains(&commit.len()) {
            return Err(Problem::bad_request(
                "a commit is named by its hash, or at least 7 digits of it",
            ));
        }
        Ok(CommitParam(name, commit))
    }
}

/// `/nodes/{name}`.
pub struct NodeParam(pub NodeName);

impl FromRequestParts<AppState> for NodeParam {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let name: String = path(parts, state).await?;
        NodeName::new(name)
            .map(NodeParam)
            .map_err(|e| Problem::bad_request(format!("there can be no such node: {e}")))
    }
}

/// `/tokens/{name}`.
pub struct TokenParam(pub String);

impl FromRequestParts<AppState> for TokenParam {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let name: String = path(parts, state).await?;
        check_label(&name)
            .map(|()| TokenParam(name))
            .map_err(|e| Problem::bad_request(format!("there can be no such token: {e}")))
    }
}
