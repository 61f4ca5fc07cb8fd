//! The only SQL: everything Evenkeel must not forget, in Postgres.
//!
//! Owns the schema (`migrations/`), the one transaction that moves the cluster
//! state ([`Store::commit`]), reading it back whole ([`Store::load`]), the lease,
//! events, commits seen, the outbox, retention, and a private server for `evenkeel up`
//! ([`private_postgres`]).
//!
//! Invariants: cluster state (so, all but tokens) is written by [`Store::commit`] alone, under the
//! leader's epoch and on the generation the decision was based on. Every
//! statement has a deadline on both sides. Times of the lease are the
//! database's. No secret value ever gets here: the types hold file names only.
//!
//! Deliberately absent: decisions, caching, retries of writes (the caller knows
//! whether its decision still holds), sending.

mod apps;
mod commit;
mod commits;
mod deliveries;
mod encode;
mod error;
mod events;
mod instances;
mod lease;
mod load;
mod nodes;
mod outbox;
pub mod private_postgres;
mod pulls;
mod read;
mod releases;
mod retention;
mod rollouts;
mod schedule;
mod session;
mod sources;
mod tokens;
mod transaction;
mod write;

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

pub use commit::{Commit, Committed};
pub use commits::CommitRecord;
pub use error::Error;
pub use events::{EventQuery, Seen, Subject};
pub use lease::Lease;
pub use outbox::{Delivery, Message, Outgoing, Told};
pub use pulls::PullRecord;
pub use read::MAX_PAGE;
pub use retention::{Collected, Retention};
pub use tokens::{Created, MAX_TOKENS, TokenQuery};

use crate::failpoint::{self, Op};
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
    /// For a commit or a load as a whole.
    pub transaction_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            max_connections: 10,
            connect_deadline: Duration::from_secs(30),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(15),
            transaction_timeout: Duration::from_secs(60),
        }
    }
}

/// The database. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    options: ConnectOptions,
}

/// The schema, step by step. Steps that were released never change; new ones are added.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Oldest server that has all that the schema uses.
const MIN_SERVER: u32 = 13;

/// For a migration as a whole: it may rewrite tables.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

impl ConnectOptions {
    fn read_timeout(&self) -> Duration {
        // The server's own deadline comes first: its message says more.
        self.statement_timeout + Duration::from_secs(5)
    }
}

impl Store {
    /// Connects, and retries until `options.connect_deadline` while the database is
    /// unavailable. `Refused` (credentials, no such database, too old) is said at once.
    pub async fn connect(url: &str, options: ConnectOptions) -> Result<Store, Error> {
        const OPERATION: &str = "connect";
        let server: PgConnectOptions = url.parse().map_err(|e| Error::from_sqlx(OPERATION, e))?;
        let statement_ms = options.statement_timeout.as_millis().to_string();
        let idle_ms = options.transaction_timeout.as_millis().to_string();
        let server = server
            .application_name("evenkeel")
            .options([
                ("statement_timeout", statement_ms.as_str()),
                ("lock_timeout", statement_ms.as_str()),
                // A client that froze must not hold the lease's row.
                ("idle_in_transaction_session_timeout", idle_ms.as_str()),
            ])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .connect_lazy_with(server);
        let store = Store { pool, options };
        let deadline = tokio::time::Instant::now() + store.options.connect_deadline;
        let mut pause = Duration::from_millis(50);
        loop {
            match store.check_server().await {
                Ok(()) => return Ok(store),
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) if tokio::time::Instant::now() + pause >= deadline => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(error = %error, "database not reachable yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    async fn check_server(&self) -> Result<(), Error> {
        // Not through the pool: it hides why a connection could not be had.
        let limit = self.options.acquire_timeout;
        let version: i32 = session::within("connect", limit, async {
            let sql = |e| Error::from_sqlx("connect", e);
            let mut conn = self.pool.connect_options().connect().await.map_err(sql)?;
            let version =
                sqlx::query_scalar("SELECT current_setting('server_version_num')::int / 10000")
                    .fetch_one(&mut conn)
                    .await
                    .map_err(sql)?;
            // Closing politely is not worth an error.
            let _ = conn.close().await;
            Ok(version)
        })
        .await?;
        if u32::try_from(version).unwrap_or(0) < MIN_SERVER {
            return Err(Error::Refused {
                operation: "connect",
                reason: format!(
                    "PostgreSQL {version} is too old, version {MIN_SERVER} or later is needed"
                ),
                source: None,
            });
        }
        Ok(())
    }

    /// Brings the schema to this program's version. Safe to call from many processes at
    /// once; refuses a database that a later version has migrated.
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut session = self.session("migrate").await?;
        let work = session::within("migrate", MIGRATION_TIMEOUT, async {
            let conn = session.conn()?;
            let run = async {
                sqlx::raw_sql("SET statement_timeout = '10min'; SET lock_timeout = '1min'")
                    .execute(&mut *conn)
                    .await?;
                // What `run` calls; the future of `run` itself is not `Send`.
                MIGRATIONS.run_direct(None, &mut *conn, false).await
            };
            run.await.map_err(migration_error)
        });
        let result = failpoint::around_async(Op::StoreMigrate, work).await;
        // Its settings are not for others.
        session.distrust();
        session.finish(result)
    }

    /// The cluster's identity, made by the first migration.
    pub async fn cluster_id(&self) -> Result<uuid::Uuid, Error> {
        self.read("cluster id", async |conn| {
            sqlx::query_scalar("SELECT id FROM cluster")
                .fetch_one(conn)
                .await
        })
        .await
    }

    /// Of the stored state: cheap, for those who follow without writing.
    pub async fn generation(&self) -> Result<Generation, Error> {
        self.read("generation", async |conn| {
            sqlx::query_scalar("SELECT generation FROM cluster")
                .fetch_one(conn)
                .await
        })
        .await
        .map(Generation)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn migration_error(error: MigrateError) -> Error {
    let reason = match error {
        MigrateError::Execute(e) => match Error::from_sqlx("migrate", e) {
            unavailable @ Error::Unavailable { .. } => return unavailable,
            other => {
                return Error::Migration {
                    reason: "the schema's version cannot be read".to_owned(),
                    source: Some(Box::new(other)),
                };
            }
        },
        MigrateError::ExecuteMigration(e, version) => {
            return match Error::from_sqlx("migrate", e) {
                unavailable @ Error::Unavailable { .. } => unavailable,
                other => Error::Migration {
                    reason: format!("step {version} failed; nothing of it was kept"),
                    source: Some(Box::new(other)),
                },
            };
        }
        MigrateError::VersionMissing(version) => format!(
            "the database is at step {version}, which this version of evenkeel does not know: \
             it was migrated by a later one. Run that one, or restore a backup"
        ),
        MigrateError::VersionMismatch(version) => {
            format!("step {version} was applied in another form than this version of evenkeel has")
        }
        other => {
            return Error::Migration {
                reason: "the steps cannot be run".to_owned(),
                source: Some(Box::new(other)),
            };
        }
    };
    Error::Migration {
        reason,
        source: None,
    }
}

/// Controllers spawn these: their futures must be `Send`. Compiled, never run.
#[cfg(test)]
#[allow(dead_code, clippy::too_many_arguments)]
fn futures_can_be_spawned(
    store: &'static Store,
    app: &'static crate::model::AppKey,
    source: &'static crate::model::SourceName,
    events: &'static EventQuery,
    retention: &'static Retention,
    commit: Commit<'static>,
    options: ConnectOptions,
) {
    fn check<T: Send>(_: T) {}
    check(Store::connect("", options));
    check(store.migrate());
    check(store.cluster_id());
    check(store.generation());
    check(store.load());
    check(store.commit(commit));
    check(store.acquire_lease("", "", Duration::ZERO));
    check(store.renew_lease(Epoch(0), Duration::ZERO));
    check(store.release_lease(Epoch(0)));
    check(store.outrun_epoch(Epoch(0), Epoch(0)));
    check(store.current_lease());
    check(store.events(events));
    check(store.commits(source, 0));
    check(store.record_commits(Epoch(0), &[]));
    check(store.releases(app));
    check(store.rollouts(app, 0));
    check(store.collect(Epoch(0), retention));
}
