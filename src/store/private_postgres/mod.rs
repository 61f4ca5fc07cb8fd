//! A Postgres of Evenkeel's own, made from the server programs of this host.
//!
//! Owns a folder (data, socket, log, lock) and the server that runs on it. The
//! server listens on a Unix socket only, in a folder that none but its user and
//! root can enter, so it needs no password. As root it runs as `postgres` or
//! `nobody`.
//!
//! Invariants: at most one evenkeel works on a folder (a file lock); at most one
//! server works on the data (leftovers of a killed run are shut down first); the
//! server ends with its owner, also when that is killed; it is started again
//! when it dies. Everything that blocks happens on one thread of its own, which
//! outlives any async runtime: the kernel ties the server's life to the thread
//! that started it.
//!
//! Deliberately absent: upgrades of the data between major versions, tuning,
//! backups. `--database-url` is for those who want them.

mod layout;
mod log;
mod orphans;
mod programs;
mod supervisor;

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use self::log::Log;
use self::supervisor::{Signal, Supervisor};

use crate::failpoint::{self, Op};

const DATABASE: &str = "evenkeel";
const SUPERUSER: &str = "evenkeel";

/// What a private server needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the server alone. Made if missing. When we are root, its parents must be
    /// enterable by the server's user.
    pub dir: PathBuf,
    /// Folder with `postgres` and `initdb`; `None`: looked up.
    pub programs: Option<PathBuf>,
    /// From start to ready, crash recovery included.
    pub start_deadline: Duration,
    /// From the stop's request to the server's end; then it is killed.
    pub stop_deadline: Duration,
    pub durability: Durability,
}

/// Whether data must survive a crash of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Full,
    /// For tests: survives the server's crash only, and is much faster.
    ServerCrashOnly,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            programs: None,
            start_deadline: Duration::from_secs(120),
            stop_deadline: Duration::from_secs(30),
            durability: Durability::Full,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no PostgreSQL server programs (postgres and initdb, version 13 or later) in {}; \
         install the package \"postgresql\", or use a database of your own with --database-url",
        searched.join(", ")
    )]
    ProgramsMissing { searched: Vec<String> },
    #[error(
        "the data in {} was made by PostgreSQL {data}, but this host has {}; install \
         PostgreSQL {data}, move the data over with pg_upgrade, or use --database-url",
        dir.display(),
        found.join(", ")
    )]
    VersionMismatch {
        dir: PathBuf,
        data: u32,
        found: Vec<String>,
    },
    #[error("another evenkeel works on {}", dir.display())]
    Busy { dir: PathBuf },
    #[error(
        "PostgreSQL refuses to run as root, so it runs as the user {user}, which may not enter \
         {} (mode {mode:04o}); allow it with \"chmod o+x\", or choose another --data-dir",
        path.display()
    )]
    NotEnterable {
        path: PathBuf,
        mode: u32,
        user: String,
    },
    #[error(
        "PostgreSQL refuses to run as root, and this host has no user \"postgres\" or \"nobody\""
    )]
    NoUser,
    #[error("{what} failed")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{what} failed: {output}")]
    Program { what: String, output: String },
    #[error("a PostgreSQL left over on {} does not stop (processes {pids:?})", dir.display())]
    LeftOver { dir: PathBuf, pids: Vec<i32> },
    #[error("PostgreSQL did not start: {reason}. Its last words:\n{log}")]
    Start { reason: String, log: String },
    #[error("the database could not be made")]
    Database(#[source] super::Error),
    #[error("the supervisor of PostgreSQL ended unexpectedly")]
    Supervisor,
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}

/// A running server. Dropping it stops the server and waits for that, up to
/// `stop_deadline` and a little; [`PrivatePostgres::stop`] does so without blocking.
#[derive(Debug)]
pub struct PrivatePostgres {
    url: String,
    data: PathBuf,
    control: mpsc::Sender<Signal>,
    supervisor: Option<JoinHandle<()>>,
}

impl PrivatePostgres {
    /// Starts it, making its data directory on the first run.
    pub async fn start(options: Options) -> Result<PrivatePostgres, Error> {
        let (control, signals) = mpsc::channel();
        let (prepared, is_prepared) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let own_control = control.clone();
        let supervisor = std::thread::Builder::new()
            .name("private-postgres".to_owned())
            .spawn(move || {
                let started = layout::prepare(&options).and_then(|layout| {
                    let log = Log::open(&layout.log)?;
                    Ok(Supervisor::new(options, layout, log, own_control, signals))
                });
                match started {
                    Ok(supervisor) => {
                        let _ = prepared.send(Ok(supervisor.address()));
                        supervisor.run(ready);
                    }
                    Err(error) => {
                        let _ = prepared.send(Err(error));
                    }
                }
            })
            .map_err(Error::io("starting a thread"))?;
        // From here on a drop of this future stops the server.
        let mut server = PrivatePostgres {
            url: String::new(),
            data: PathBuf::new(),
            control,
            supervisor: Some(supervisor),
        };
        let address = is_prepared.await.map_err(|_| Error::Supervisor)??;
        is_ready.await.map_err(|_| Error::Supervisor)??;
        server.data = address.data;
        server.url = format!(
            "postgres://{SUPERUSER}@localhost/{DATABASE}?host={}&sslmode=disable",
            address.socket_dir.display()
        );
        ensure_database(&server.url)
            .await
            .map_err(Error::Database)?;
        Ok(server)
    }

    /// For [`super::Store::connect`]: the database `evenkeel` over a Unix socket.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's main process; `None` while it is not running.
    pub fn server_pid(&self) -> Option<i32> {
        orphans::postmaster_pid(&self.data)
    }

    /// Fast shutdown; waits for it.
    pub async fn stop(mut self) -> Result<(), Error> {
        let _ = self.control.send(Signal::Stop);
        let Some(supervisor) = self.supervisor.take() else {
            return Ok(());
        };
        match tokio::task::spawn_blocking(move || supervisor.join()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Supervisor),
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let _ = self.control.send(Signal::Stop);
        if let Some(supervisor) = self.supervisor.take() {
            // Its waits all have deadlines. A panic there was already reported.
            let _ = supervisor.join();
        }
    }
}

async fn ensure_database(url: &str) -> Result<(), super::Error> {
    const OPERATION: &str = "make the database";
    let sql = |e| super::Error::from_sqlx(OPERATION, e);
    let server: PgConnectOptions = url.parse().map_err(sql)?;
    super::session::within(OPERATION, Duration::from_secs(30), async {
        let mut conn = server
            .database("postgres")
            .disable_statement_logging()
            .connect()
            .await
            .map_err(sql)?;
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(DATABASE)
                .fetch_one(&mut conn)
                .await
                .map_err(sql)?;
        if !exists {
            let make = sqlx::query("CREATE DATABASE evenkeel").execute(&mut conn);
            failpoint::around_async(Op::PostgresCreateDatabase, make)
                .await
                .map_err(sql)?;
        }
        Ok(())
    })
    .await
}
