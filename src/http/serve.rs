//! Connections: how many, how slow, and how they end.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::paced::Paced;
use super::{AppState, router};

/// What a listener puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// From opening a connection, or the end of the last answer, to the end of the next
    /// request's head; so also how long an idle connection is kept.
    pub header_read: Duration,
    /// Largest head of a request: its line, and all headers together.
    pub head_bytes: usize,
    /// For an answer whose reader takes no byte of it.
    pub write_stall: Duration,
    /// For answers under way when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // Thousands of agents, each with a stream and a report at a time.
            connections: 16_384,
            header_read: Duration::from_secs(30),
            // A token, cookies of a proxy's: a tenth of it does.
            head_bytes: 64 * 1024,
            // Somebody may look at a page of output for a while before the next.
            write_stall: Duration::from_secs(300),
            drain: Duration::from_secs(5),
        }
    }
}

/// Headers of one request.
const MAX_HEADERS: usize = 100;
/// After a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves until `cancel`; then ends streams, lets answers finish, and returns.
pub async fn serve(listener: TcpListener, state: AppState, cancel: CancellationToken) {
    serve_with(listener, state, cancel, Limits::default()).await;
}

/// The same with limits of the caller's.
pub async fn serve_with(
    listener: TcpListener,
    mut state: AppState,
    cancel: CancellationToken,
    limits: Limits,
) {
    state.stopping = cancel.clone();
    let tokens = Arc::clone(&state.tokens);
    let keeping = state.store.clone();
    let service = TowerToHyperService::new(router(state));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(limits.head_bytes)
        .max_headers(MAX_HEADERS)
        .header_read_timeout(limits.header_read);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(128)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let builder = Arc::new(builder);
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let kill = CancellationToken::new();
    if let Some(store) = keeping {
        connections.spawn(tokens.keep(store, cancel.clone()));
    }

    loop {
        let place = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let stream = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            },
        };
        let (builder, service) = (Arc::clone(&builder), service.clone());
        let (cancel, kill) = (cancel.clone(), kill.clone());
        let _ = stream.set_nodelay(true);
        let stream = Paced::new(stream, limits.write_stall);
        connections.spawn(async move {
            let _place = place;
            kill.run_until_cancelled(connection(stream, &builder, service, cancel))
                .await;
        });
    }

    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait())
        .await
        .is_err()
    {
        kill.cancel();
        connections.wait().await;
    }
}

async fn connection(
    stream: Paced<TcpStream>,
    builder: &auto::Builder<TokioExecutor>,
    service: TowerToHyperService<axum::Router>,
    cancel: CancellationToken,
) {
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The other end's doing, most of the time: left, or too slow.
        tracing::debug!(%error, "a connection ended early");
    }
}
