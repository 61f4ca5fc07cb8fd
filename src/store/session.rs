//! One use of one connection, with a deadline on everything.
//!
//! Invariant: a connection goes back to the pool only after its work ended in a
//! known state. When a deadline passes, the caller is cancelled, or the driver
//! reports a broken stream, the socket is closed instead, so that the server
//! rolls back and no later caller meets half an answer.

use std::future::Future;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

use super::Error;

pub(super) struct Session {
    operation: &'static str,
    trusted: bool,
    conn: Option<PoolConnection<Postgres>>,
}

impl Session {
    /// Waits for a connection for at most `limit`.
    pub(super) async fn open(
        pool: &PgPool,
        operation: &'static str,
        limit: Duration,
    ) -> Result<Session, Error> {
        let conn = within(operation, limit, async {
            pool.acquire()
                .await
                .map_err(|e| Error::from_sqlx(operation, e))
        })
        .await?;
        Ok(Session {
            operation,
            trusted: true,
            conn: Some(conn),
        })
    }

    pub(super) fn operation(&self) -> &'static str {
        self.operation
    }

    pub(super) fn conn(&mut self) -> Result<&mut PgConnection, Error> {
        match &mut self.conn {
            Some(conn) => Ok(conn),
            // Only `finish` takes it, and that ends the session.
            None => Err(Error::corrupt(self.operation, "the session has ended")),
        }
    }

    /// The connection's state is not known: it will be closed.
    pub(super) fn distrust(&mut self) {
        self.trusted = false;
    }

    /// Ends the session; the connection is kept only where its state is known.
    pub(super) fn finish<T>(mut self, result: Result<T, Error>) -> Result<T, Error> {
        let keep = match &result {
            Ok(_)
            | Err(
                Error::StaleEpoch { .. }
                | Error::StaleGeneration { .. }
                | Error::Constraint { .. }
                | Error::Diverged { .. },
            ) => true,
            Err(
                Error::Unavailable { .. }
                | Error::OutcomeUnknown { .. }
                | Error::Corrupt { .. }
                | Error::Refused { .. }
                | Error::Migration { .. }
                | Error::Unexpected { .. },
            ) => false,
        };
        if keep && self.trusted {
            // Returned to the pool by its own drop.
            drop(self.conn.take());
        }
        result
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            drop(conn.detach());
        }
    }
}

/// `work`, or `Unavailable` once `limit` has passed.
pub(super) async fn within<T>(
    operation: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::timed_out(operation, limit)),
    }
}
