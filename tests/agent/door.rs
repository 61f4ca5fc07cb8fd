//! What a probe knocks at: a server whose answer the test sets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Router;
use axum::http::StatusCode;
use evenkeel::agent::runtime::fake::Script;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Door {
    address: String,
    status: Arc<AtomicU16>,
    _stop: DropGuard,
}

impl Door {
    /// Answers 200.
    pub async fn open() -> Door {
        let status = Arc::new(AtomicU16::new(200));
        let shown = Arc::clone(&status);
        let app = Router::new().fallback(move || {
            let status = StatusCode::from_u16(shown.load(Ordering::SeqCst)).unwrap();
            async move { (status, if status.is_success() { "yes" } else { "no" }) }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = axum::serve(listener, app) => {}
                () = stopped.cancelled() => {}
            }
        });
        Door {
            address,
            status,
            _stop: stop.drop_guard(),
        }
    }

    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// A fake instance whose port `http` is this door.
    pub fn script(&self) -> Script {
        Script {
            ports: BTreeMap::from([("http".to_owned(), self.address.clone())]),
            ..Script::default()
        }
    }
}
