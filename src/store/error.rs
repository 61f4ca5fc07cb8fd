//! What can go wrong between Evenkeel and its database, told apart by what the
//! caller must do about it.

use crate::model::{Epoch, Generation};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// `operation` is a short text such as `commit` or `load: apps`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else leads, or nobody: nothing was written. Stop acting.
    #[error(
        "{operation}: epoch {} no longer leads (the lease is at epoch {})",
        held.0,
        current.0
    )]
    StaleEpoch {
        operation: &'static str,
        held: Epoch,
        current: Epoch,
    },
    /// The decision was made on another state than the stored one: nothing was written. Reload.
    #[error(
        "{operation}: decided on generation {}, but the database is at {}",
        base.0,
        current.0
    )]
    StaleGeneration {
        operation: &'static str,
        base: Generation,
        current: Generation,
    },
    /// The database does not answer, or not in time: nothing was written. Try again later.
    #[error("{operation}: the database is unavailable: {reason}")]
    Unavailable {
        operation: &'static str,
        reason: String,
        #[source]
        source: Option<Cause>,
    },
    /// The connection was lost after `COMMIT` was sent: it may or may not have happened. Reload.
    #[error("{operation}: the connection was lost during COMMIT, the outcome is unknown")]
    OutcomeUnknown {
        operation: &'static str,
        #[source]
        source: Option<Cause>,
    },
    /// A rule of the schema forbids it: nothing was written. A bug in what was asked for.
    #[error("{operation}: the constraint {constraint} forbids it")]
    Constraint {
        operation: &'static str,
        constraint: String,
        #[source]
        source: Cause,
    },
    /// A change names rows that are not there: nothing was written. The image in
    /// memory and the database have drifted apart, or the change is wrong. Reload.
    #[error("{operation}: {expected} rows should have changed, {affected} did")]
    Diverged {
        operation: &'static str,
        expected: u64,
        affected: u64,
    },
    /// Stored data cannot be read back.
    #[error("{operation}: stored data cannot be read: {what}")]
    Corrupt {
        operation: &'static str,
        what: String,
        #[source]
        source: Option<Cause>,
    },
    /// The database answers, but will never serve us like this (credentials, name of the
    /// database, version, TLS): a person must act.
    #[error("{operation}: the database refuses us: {reason}")]
    Refused {
        operation: &'static str,
        reason: String,
        #[source]
        source: Option<Cause>,
    },
    /// The schema could not be brought to this program's version.
    #[error("migrate: {reason}")]
    Migration {
        reason: String,
        #[source]
        source: Option<Cause>,
    },
    /// Anything else the database said: a bug.
    #[error("{operation}: the database reports an error that should not happen")]
    Unexpected {
        operation: &'static str,
        #[source]
        source: Cause,
    },
}

impl Error {
    /// Whether the same call may succeed later with nothing changed by a person or by a reload.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }

    pub(super) fn timed_out(operation: &'static str, limit: std::time::Duration) -> Error {
        Error::Unavailable {
            operation,
            reason: format!("no answer within {} ms", limit.as_millis()),
            source: None,
        }
    }

    pub(super) fn corrupt(operation: &'static str, what: impl Into<String>) -> Error {
        Error::Corrupt {
            operation,
            what: what.into(),
            source: None,
        }
    }

    /// Sorts a driver's error by what the caller can do.
    pub(super) fn from_sqlx(operation: &'static str, error: sqlx::Error) -> Error {
        use sqlx::Error as E;
        match &error {
            E::Database(db) => {
                let code = db.code().unwrap_or_default().into_owned();
                let constraint = db.constraint().map(str::to_owned);
                let message = db.message().to_owned();
                Error::from_sqlstate(operation, &code, constraint, message, error)
            }
            E::Io(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed => {
                Error::Unavailable {
                    operation,
                    reason: error.to_string(),
                    source: Some(Box::new(error)),
                }
            }
            // A peer that stops in the middle of a message.
            E::Protocol(_) => Error::Unavailable {
                operation,
                reason: error.to_string(),
                source: Some(Box::new(error)),
            },
            E::Tls(_) | E::Configuration(_) => Error::Refused {
                operation,
                reason: error.to_string(),
                source: Some(Box::new(error)),
            },
            E::ColumnDecode { .. } | E::Decode(_) => Error::Corrupt {
                operation,
                what: error.to_string(),
                source: Some(Box::new(error)),
            },
            _ => Error::Unexpected {
                operation,
                source: Box::new(error),
            },
        }
    }

    /// Classes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn from_sqlstate(
        operation: &'static str,
        code: &str,
        constraint: Option<String>,
        message: String,
        error: sqlx::Error,
    ) -> Error {
        let source: Cause = Box::new(error);
        match (code, code.get(..2).unwrap_or_default()) {
            (_, "23") => Error::Constraint {
                operation,
                constraint: constraint.unwrap_or_else(|| format!("SQLSTATE {code}")),
                source,
            },
            // Connection lost, resources used up (disk, memory, connections), operator
            // intervention (shutdown, cancel, timeouts), system errors, serialization and
            // deadlocks, a lock not had in time, and a server that is read-only (a standby
            // after a failover).
            (_, "08" | "40" | "53" | "57" | "58") | ("55P03" | "25006" | "25P03" | "25P04", _) => {
                Error::Unavailable {
                    operation,
                    reason: message,
                    source: Some(source),
                }
            }
            (_, "28") | ("3D000" | "42501", _) => Error::Refused {
                operation,
                reason: message,
                source: Some(source),
            },
            ("XX001" | "XX002", _) => Error::Corrupt {
                operation,
                what: message,
                source: Some(source),
            },
            _ => Error::Unexpected { operation, source },
        }
    }
}
