//! A real Postgres for tests: one private server per test process, a migrated
//! database of its own per test.
//!
//! Use from a test binary with `#[path = "../support/pg.rs"] mod pg;`, then
//! `pg::database().await`.

#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel::store::private_postgres::{Durability, Options, PrivatePostgres};
use evenkeel::store::{ConnectOptions, Store};
use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;

const PREFIX: &str = "evenkeel-test-pg-";

/// Never dropped: the server ends with this process, and its folder goes with the next run.
static SERVER: OnceCell<PrivatePostgres> = OnceCell::const_new();
static COUNTER: AtomicU32 = AtomicU32::new(0);

pub struct Database {
    pub store: Store,
    pub url: String,
}

/// Few connections: many tests share the server.
pub fn options() -> ConnectOptions {
    ConnectOptions {
        max_connections: 4,
        ..ConnectOptions::default()
    }
}

/// An empty, migrated database.
pub async fn database() -> Database {
    let url = url().await;
    let store = Store::connect(&url, options()).await.unwrap();
    Database { store, url }
}

/// The URL of an empty, migrated database.
pub async fn url() -> String {
    let server = SERVER.get_or_init(start).await;
    let name = format!("t{}", COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut admin = PgConnection::connect(&in_database(server.url(), "postgres"))
        .await
        .unwrap();
    let sql = format!("CREATE DATABASE {name} TEMPLATE evenkeel");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .execute(&mut admin)
        .await
        .unwrap();
    admin.close().await.unwrap();
    in_database(server.url(), &name)
}

/// The same server, another database.
pub fn in_database(url: &str, name: &str) -> String {
    url.replacen("/evenkeel?", &format!("/{name}?"), 1)
}

/// A server of a test's own, for tests that hurt it.
pub async fn start_in(dir: &Path) -> PrivatePostgres {
    let mut options = Options::new(dir);
    options.durability = Durability::ServerCrashOnly;
    options.start_deadline = Duration::from_secs(60);
    PrivatePostgres::start(options).await.unwrap()
}

async fn start() -> PrivatePostgres {
    remove_leftovers();
    let server = start_in(&base().join(format!("{PREFIX}{}", std::process::id()))).await;
    // The migrated database is the template of all others.
    let store = Store::connect(server.url(), options()).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    server
}

fn base() -> PathBuf {
    std::env::temp_dir()
}

/// Folders of test processes that are gone.
fn remove_leftovers() {
    for entry in std::fs::read_dir(base()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.strip_prefix(PREFIX)) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
