//! `ETag` of what is read, and 304 for who has it already.
//!
//! A tag is made of the answer's own bytes, so that no change can go unseen, whatever it
//! comes from. Documents with a version have it in front, `"VERSION-HASH"`: by it `If-Match`
//! tells what an operator had seen (see [`super::if_match`]).

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Problem;

/// Bytes of the digest that are told.
const HASH_BYTES: usize = 12;
/// Kept by who asked alone, and asked for again each time.
const CACHED: HeaderValue = HeaderValue::from_static("private, no-cache");
/// The same path shows others something else, or as a stream.
const VARIES: HeaderValue = HeaderValue::from_static("authorization, accept");

#[derive(Clone, Copy)]
struct Version(u64);

/// A JSON answer that tells its version.
pub struct Document<T>(pub u64, pub T);

impl<T: Serialize> IntoResponse for Document<T> {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.1).into_response();
        response.extensions_mut().insert(Version(self.0));
        response
    }
}

/// Tags JSON that is whole in memory; streams and everything else are left as they are.
pub async fn tag(request: Request, next: Next) -> Response {
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let size = response.body().size_hint().exact();
    let json = media_type(response.headers()) == Some("application/json");
    let (true, true, StatusCode::OK, Some(size)) = (looks, json, response.status(), size) else {
        return response;
    };
    let version = response.extensions().get::<Version>().copied();
    let (mut parts, body) = response.into_parts();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let Ok(bytes) = to_bytes(body, size).await else {
        return Problem::internal("an answer could not be put together").into_response();
    };
    let digest = Sha256::digest(&bytes);
    let hash = hex::encode(&digest[..HASH_BYTES]);
    let tag = match version {
        Some(Version(version)) => format!("\"{version}-{hash}\""),
        None => format!("\"{hash}\""),
    };
    let Ok(value) = HeaderValue::from_str(&tag) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    parts.headers.insert(header::ETAG, value);
    parts.headers.insert(header::CACHE_CONTROL, CACHED);
    parts.headers.insert(header::VARY, VARIES);
    if known.is_some_and(|known| names(&known, &tag)) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// Whether a list of tags holds this one, by weak comparison (RFC 9110, 13.1.2).
fn names(list: &HeaderValue, tag: &str) -> bool {
    let Ok(list) = list.to_str() else {
        return false;
    };
    list.split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_every_form_of_the_header() {
        let names = |list: &'static str| names(&HeaderValue::from_static(list), "\"7-ab\"");
        for list in ["\"7-ab\"", "W/\"7-ab\"", "\"x\", \"7-ab\"", "*"] {
            assert!(names(list), "{list}");
        }
        for list in ["", "\"7-a\"", "7-ab", "\"7-ab"] {
            assert!(!names(list), "{list}");
        }
    }
}
