//! Who may ask.
//!
//! Two tokens: the admin's for operators, the agents' for the agent endpoints
//! and nothing else. Compared in constant time, as digests, so that neither
//! content nor length shows.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::{AppState, Problem};

/// The name under which the admin's token acts.
pub const ADMIN: &str = "admin";

const BEARER: &str = "Bearer realm=\"evenkeel\"";
const BASIC: &str =
    "Basic realm=\"Evenkeel: any user, the admin's token as password\", charset=\"UTF-8\"";

/// Digests of the tokens; the tokens themselves are not kept.
pub struct Tokens {
    admin: [u8; 32],
    agents: [u8; 32],
}

impl Tokens {
    /// White space around a token (the line feed of its file) does not count.
    pub fn new(admin: &str, agents: &str) -> Tokens {
        Tokens {
            admin: digest(admin),
            agents: digest(agents),
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.trim().as_bytes()).into()
}

fn matches(given: &str, expected: &[u8; 32]) -> bool {
    // An empty token would match an empty token file.
    !given.trim().is_empty() && bool::from(digest(given).ct_eq(expected))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn basic_password(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// Lets operators in.
pub async fn operator(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        Some(token) if matches(token, &state.tokens.admin) => next.run(request).await,
        Some(token) if matches(token, &state.tokens.agents) => {
            Problem::forbidden("the agents' token opens the agent endpoints only")
                .with_hint("use the admin's token")
                .into_response()
        }
        Some(_) => Problem::unauthorized("the token is wrong", BEARER).into_response(),
        None => Problem::unauthorized("a token is missing", BEARER).into_response(),
    }
}

/// Lets agents in.
pub async fn agent(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        Some(token) if matches(token, &state.tokens.agents) => next.run(request).await,
        Some(token) if matches(token, &state.tokens.admin) => {
            Problem::forbidden("the agent endpoints take the agents' token only")
                .with_hint("the agents' token is in DATA_DIR/agent-token")
                .into_response()
        }
        Some(_) => Problem::unauthorized("the token is wrong", BEARER).into_response(),
        None => Problem::unauthorized("a token is missing", BEARER).into_response(),
    }
}

/// Lets people with a browser look: Basic with the token as password, or Bearer. Basic is
/// taken here only, where nothing can be changed: browsers send it along with requests that
/// other sites make them send.
pub async fn browser(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let given = match bearer(request.headers()) {
        Some(token) => Some(token.to_owned()),
        None => basic_password(request.headers()),
    };
    match given {
        Some(token) if matches(&token, &state.tokens.admin) => next.run(request).await,
        Some(_) => Problem::unauthorized("the token is wrong", BASIC).into_response(),
        None => Problem::unauthorized("a token is missing", BASIC).into_response(),
    }
}
