//! The HTTP server: one file per resource, and what they share.
//!
//! Owns the router, access, limits, errors as problem documents, forwarding
//! from followers to the leader, and the plain page. Handlers read the image
//! through the controller's [`Handle`] and change it only by handing a pure
//! function of `plan::operate` to [`Handle::transact`]; they decide nothing.
//!
//! Invariants: everything but health and hooks needs a token; every body and
//! every wait is bounded; no lock and no database connection is held while a
//! client is written to.
//!
//! Deliberately absent: TLS (a proxy's job until agents need certificates of
//! their own), sessions, cookies.

mod agents;
mod apps;
mod auth;
mod events;
mod extract;
mod forward;
mod health;
mod hooks;
mod logs;
mod nodes;
mod page;
mod problem;
mod serve;
mod sources;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

pub use auth::Tokens;
pub use problem::Problem;
pub use serve::{Limits, serve, serve_with};

use crate::controller::Handle;
use crate::store::Store;

/// Largest body an operator or a forge may send. GitHub caps deliveries at 25 MiB, but
/// what counts for us (a push event) stays below this by far.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Largest report of an agent: some thousand instances with their last lines of output.
const MAX_REPORT_BYTES: usize = 32 * 1024 * 1024;
/// From the end of a request's head to the start of its answer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// What handlers need; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    handle: Handle,
    store: Option<Store>,
    tokens: Arc<Tokens>,
    forwarder: forward::Forwarder,
    /// Ends streams when the server stops.
    stopping: CancellationToken,
}

impl AppState {
    /// Without a `store`, what is not in memory (events, commits, past rollouts) answers 503.
    pub fn new(handle: Handle, store: Option<Store>, tokens: Tokens) -> AppState {
        AppState {
            handle,
            store,
            tokens: Arc::new(tokens),
            forwarder: forward::Forwarder::default(),
            stopping: CancellationToken::new(),
        }
    }

    fn store(&self) -> Result<&Store, Problem> {
        self.store.as_ref().ok_or_else(Problem::no_database)
    }
}

/// All routes.
pub fn router(state: AppState) -> Router {
    let operators = Router::new()
        .route("/apps", get(apps::list))
        .route("/projects/{project}/apps/{app}", get(apps::show))
        .route(
            "/projects/{project}/apps/{app}/releases",
            get(apps::releases),
        )
        .route(
            "/projects/{project}/apps/{app}/rollouts",
            get(apps::rollouts),
        )
        .route(
            "/projects/{project}/apps/{app}/instances",
            get(apps::instances),
        )
        .route("/projects/{project}/apps/{app}/why", get(apps::why))
        .route("/projects/{project}/apps/{app}/logs", get(logs::show))
        .route(
            "/projects/{project}/apps/{app}/rollback",
            post(verbs::rollback),
        )
        .route(
            "/projects/{project}/apps/{app}/release",
            post(verbs::release),
        )
        .route(
            "/projects/{project}/apps/{app}/suspend",
            post(verbs::suspend),
        )
        .route("/projects/{project}/apps/{app}/resume", post(verbs::resume))
        .route("/sources", get(sources::list).post(sources::add))
        .route(
            "/sources/{name}",
            get(sources::show).put(sources::put).delete(sources::remove),
        )
        .route("/sources/{name}/sync", post(sources::sync))
        .route("/sources/{name}/commits", get(sources::commits))
        .route("/sources/{name}/approve", post(sources::approve))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{name}", get(nodes::show))
        .route("/events", get(events::list))
        .layer(from_fn_with_state(state.clone(), forward::to_leader))
        .layer(from_fn_with_state(state.clone(), auth::operator));
    let agents = Router::new()
        .route("/agent/stream", get(agents::stream))
        .route(
            "/agent/reports",
            post(agents::report).layer(DefaultBodyLimit::max(MAX_REPORT_BYTES)),
        )
        .route(
            "/agent/streams/{id}",
            // As long as somebody follows the output; its lines are bounded one by one.
            post(agents::lines).layer(DefaultBodyLimit::disable()),
        )
        .layer(from_fn_with_state(state.clone(), forward::to_leader))
        .layer(from_fn_with_state(state.clone(), auth::agent));
    let hooks = Router::new()
        .route("/hooks/{source}", post(hooks::receive))
        .layer(from_fn_with_state(state.clone(), forward::to_leader));
    let metrics = Router::new()
        .route("/metrics", get(health::metrics))
        .layer(from_fn_with_state(state.clone(), auth::operator));
    let page = Router::new()
        .route("/", get(page::show))
        .layer(from_fn_with_state(state.clone(), auth::browser));

    Router::new()
        .nest("/api/v1", operators.merge(agents).merge(hooks))
        .merge(metrics)
        .merge(page)
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(from_fn(deadline))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state)
}

/// Bounds the time to the start of an answer. What is streamed after that has its own
/// rules, and so has the one request whose body is a stream.
async fn deadline(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    if request.uri().path().starts_with("/api/v1/agent/streams/") {
        return next.run(request).await;
    }
    match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::too_slow().into_response(),
    }
}
