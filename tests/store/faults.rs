//! A database that goes away in the worst moments. A proxy stands between.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use evenkeel::model::*;
use evenkeel::store::{ConnectOptions, Error, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::builders::*;
use super::pg;
use super::support::*;

pub const PASS: u8 = 0;
/// The connection breaks before the server sees COMMIT.
pub const CUT_BEFORE_COMMIT: u8 = 1;
/// The server sees COMMIT, and its answer is lost.
pub const CUT_AFTER_COMMIT: u8 = 2;
/// Nothing gets through any more, and nothing ends.
const FREEZE: u8 = 3;

pub struct Proxy {
    dir: tempfile::TempDir,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    pub fn start(url: &str) -> Proxy {
        let (_, rest) = url.split_once("host=").unwrap();
        let target = format!("{}/.s.PGSQL.5432", rest.split('&').next().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let mode = Arc::new(AtomicU8::new(PASS));
        let shared = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&target).await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&shared)));
            }
        });
        Proxy { dir, mode }
    }

    pub fn url(&self, url: &str) -> String {
        let (before, rest) = url.split_once("host=").unwrap();
        let after = rest.split_once('&').unwrap().1;
        let dir: &Path = self.dir.path();
        format!("{before}host={}&{after}", dir.display())
    }

    pub fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

async fn forward(mut client: UnixStream, mut server: UnixStream, mode: Arc<AtomicU8>) {
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            Ok(n) = client.read(&mut from_client) => {
                let bytes = &from_client[..n];
                let commits = bytes.windows(6).any(|w| w == b"COMMIT");
                match mode.load(Ordering::SeqCst) {
                    CUT_BEFORE_COMMIT if commits => return,
                    CUT_AFTER_COMMIT if commits => {
                        server.write_all(bytes).await.unwrap();
                        // Its answer proves that it is done; nobody else hears it.
                        let _ = server.read(&mut from_server).await;
                        return;
                    }
                    FREEZE => std::future::pending().await,
                    _ => {}
                }
                if n == 0 || server.write_all(bytes).await.is_err() {
                    return;
                }
            }
            Ok(n) = server.read(&mut from_server) => {
                if n == 0 || client.write_all(&from_server[..n]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

async fn behind_proxy(options: ConnectOptions) -> (Leader, Proxy) {
    let database = pg::database().await;
    let proxy = Proxy::start(&database.url);
    let store = Store::connect(&proxy.url(&database.url), options)
        .await
        .unwrap();
    (lead(store, database.url).await, proxy)
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_told_as_unknown() {
    for (mode, written) in [(CUT_BEFORE_COMMIT, false), (CUT_AFTER_COMMIT, true)] {
        let (leader, proxy) = behind_proxy(pg::options()).await;
        let changes = [Change::PutSource(Box::new(source(0)))];
        proxy.set(mode);
        let outcome = leader.try_commit(&changes, &[]).await;
        assert!(
            matches!(outcome, Err(Error::OutcomeUnknown { .. })),
            "{outcome:?}"
        );
        proxy.set(PASS);
        // The same store recovers by itself, and a reload tells.
        let loaded = leader.store.load().await.unwrap();
        assert_eq!(loaded.generation.0, i64::from(written));
        assert_eq!(loaded.sources.len(), usize::from(written));
    }
}

#[tokio::test]
async fn a_frozen_connection_ends_at_its_deadline_and_writes_nothing() {
    let options = ConnectOptions {
        statement_timeout: Duration::from_millis(200),
        transaction_timeout: Duration::from_millis(400),
        acquire_timeout: Duration::from_millis(400),
        ..pg::options()
    };
    let (leader, proxy) = behind_proxy(options).await;
    proxy.set(FREEZE);
    let begun = std::time::Instant::now();
    let changes = [Change::PutSource(Box::new(source(0)))];
    let outcome = leader.try_commit(&changes, &[]).await;
    assert!(
        matches!(outcome, Err(Error::Unavailable { .. })),
        "{outcome:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    proxy.set(PASS);
    leader.check().await;
    leader.try_commit(&changes, &[]).await.unwrap();
}

/// A caller that is cancelled in the middle leaves no transaction behind.
#[tokio::test]
async fn a_cancelled_commit_frees_the_lease() {
    let (mut leader, proxy) = behind_proxy(pg::options()).await;
    proxy.set(FREEZE);
    let changes = [Change::PutSource(Box::new(source(0)))];
    let cancelled =
        tokio::time::timeout(Duration::from_millis(100), leader.try_commit(&changes, &[]));
    assert!(cancelled.await.is_err());
    proxy.set(PASS);
    leader.commit(&changes, &[]).await;
    leader.check().await;
}
