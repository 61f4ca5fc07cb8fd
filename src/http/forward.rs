//! Followers answer reads and pass everything else on to the leader.

use std::sync::OnceLock;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{AppState, Problem};
use crate::controller::Role;

/// Marks a request that a follower passed on: it is never passed on twice.
const FORWARDED: HeaderName = HeaderName::from_static("x-evenkeel-forwarded");
/// To open a connection to the leader.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The connection to the leader, opened at first use.
#[derive(Clone, Default)]
pub struct Forwarder(std::sync::Arc<OnceLock<Option<reqwest::Client>>>);

impl Forwarder {
    fn client(&self) -> Option<&reqwest::Client> {
        self.0
            .get_or_init(|| {
                // Without `main` nobody has installed a provider; a second one is refused.
                let _ = rustls::crypto::ring::default_provider().install_default();
                reqwest::Client::builder()
                    .connect_timeout(CONNECT_DEADLINE)
                    .tcp_keepalive(Duration::from_secs(15))
                    .redirect(reqwest::redirect::Policy::none())
                    .no_proxy()
                    .build()
                    .map_err(|error| tracing::error!(%error, "no client for the leader"))
                    .ok()
            })
            .as_ref()
    }
}

/// Passes a request on where this controller does not lead.
pub async fn to_leader(
    State(state): State<AppState>,
    OriginalUri(uri): OriginalUri,
    request: Request,
    next: Next,
) -> Response {
    let status = state.handle.status();
    if status.role == Role::Leader {
        return next.run(request).await;
    }
    if request.headers().contains_key(FORWARDED) {
        return Problem::no_leader("this controller was taken for the leader, but does not lead")
            .into_response();
    }
    let Some(leader) = status.leader else {
        return Problem::no_leader("no controller leads at present").into_response();
    };
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let url = format!("{}{path}", leader.trim_end_matches('/'));
    forward(&state, &leader, url, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

/// The same for a read whose answer must not be older than the leader's own state: it says so
/// by `Cache-Control: no-cache` (RFC 9111, 5.2.1.4). A follower's is up to a second old.
pub async fn fresh(
    state: State<AppState>,
    uri: OriginalUri,
    request: Request,
    next: Next,
) -> Response {
    let asked = request.headers().get_all(header::CACHE_CONTROL).iter();
    let mut words = asked
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    if words.any(|word| word.trim().eq_ignore_ascii_case("no-cache")) {
        return to_leader(state, uri, request, next).await;
    }
    next.run(request).await
}

async fn forward(
    state: &AppState,
    leader: &str,
    url: String,
    request: Request,
) -> Result<Response, Problem> {
    let client = state
        .forwarder
        .client()
        .ok_or_else(|| Problem::no_leader("there is no client for the leader"))?;
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    drop_hop_by_hop(&mut headers);
    headers.remove(header::HOST);
    headers.insert(FORWARDED, header::HeaderValue::from_static("1"));
    let answer = client
        .request(parts.method, url)
        .headers(headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()))
        .send()
        .await
        .map_err(|error| {
            tracing::warn!(error = %error.without_url(), leader, "the leader cannot be reached");
            Problem::no_leader(format!("the leader at {leader} cannot be reached"))
        })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    drop_hop_by_hop(response.headers_mut());
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    Ok(response)
}

/// Headers that speak of one connection only (RFC 9110, 7.6.1).
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ] {
        headers.remove(name);
    }
}
