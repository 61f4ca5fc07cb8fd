//! A Postgres of Evenkeel's own, made from the server programs of this host.

use std::path::PathBuf;
use std::time::Duration;

/// What a private server needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder that belongs to the server alone (data, socket, logs). Made if missing; given
    /// to the server's user when we are root, so its parents must be enterable by it.
    pub dir: PathBuf,
    /// Folder with `postgres` and `initdb`; `None`: looked up.
    pub programs: Option<PathBuf>,
    /// From start to ready, crash recovery included.
    pub start_deadline: Duration,
    /// From the stop's request to the server's end; then it is killed.
    pub stop_deadline: Duration,
    /// `false` gives durability away for speed: tests only.
    pub durable: bool,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            programs: None,
            start_deadline: Duration::from_secs(120),
            stop_deadline: Duration::from_secs(30),
            durable: true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not built yet")]
    NotBuilt,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct PrivatePostgres {
    url: String,
}

impl PrivatePostgres {
    /// Starts it, making its data directory on the first run.
    pub async fn start(options: Options) -> Result<PrivatePostgres, Error> {
        let _ = options;
        Err(Error::NotBuilt)
    }

    /// For [`super::Store::connect`]: the database `evenkeel` over a Unix socket.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fast shutdown; waits for it.
    pub async fn stop(self) -> Result<(), Error> {
        Ok(())
    }
}
