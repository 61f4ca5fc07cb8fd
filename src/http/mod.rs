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

mod act;
mod agents;
mod apps;
mod auth;
mod commit;
mod credentials;
mod describe;
mod docs;
mod document;
mod etag;
mod events;
mod exec;
mod extract;
mod forward;
mod health;
mod hooks;
mod if_match;
mod logs;
mod metrics;
mod nodes;
mod paced;
mod page;
mod plan;
mod problem;
mod route;
mod routes;
mod serve;
mod sources;
mod tokens;
mod verbs;
mod wait;

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

pub use auth::Caller;
pub use credentials::Tokens;
pub use document::document;
pub use problem::Problem;
pub use serve::{Limits, serve, serve_with};

use crate::controller::Handle;
use crate::store::Store;

/// Largest body an operator or a forge may send. GitHub caps deliveries at 25 MiB, but
/// what counts for us (a push event) stays below this by far.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// Largest report of an agent: some thousand instances with their last lines of output.
const MAX_REPORT_BYTES: usize = 32 * 1024 * 1024;

/// What handlers need; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    handle: Handle,
    store: Option<Store>,
    tokens: Arc<Tokens>,
    forwarder: forward::Forwarder,
    hooks: Arc<hooks::Hooks>,
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
            hooks: Arc::default(),
            stopping: CancellationToken::new(),
        }
    }

    fn store(&self) -> Result<&Store, Problem> {
        self.store.as_ref().ok_or_else(Problem::no_database)
    }
}

/// All routes, as `GET /api/v1/apps`.
pub fn routes() -> Vec<String> {
    let named = |route: route::Route| format!("{} {}", route.method, route.path);
    routes::all().into_iter().map(named).collect()
}

/// All routes, ready to answer.
pub fn router(state: AppState) -> Router {
    let router = routes::all()
        .into_iter()
        .fold(Router::new(), |router, route| route.serve(router, &state));
    router
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .with_state(state)
}
