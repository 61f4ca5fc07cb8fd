//! One fenced transaction: begin, check the epoch, work, commit, each with a
//! deadline, and an honest answer when the end is not known.

use sqlx::{Connection, PgConnection};

use super::session::{Session, within};
use super::{Epoch, Error, Store, lease};
use crate::failpoint::{self, Op};

impl Store {
    /// Runs `work` in a transaction that only the leader of `epoch` can commit.
    pub(super) async fn write_fenced<T>(
        &self,
        operation: &'static str,
        epoch: Epoch,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, Error> {
        self.transact(operation, epoch, async |conn| {
            work(conn).await.map_err(|e| Error::from_sqlx(operation, e))
        })
        .await
    }

    pub(super) async fn transact<T>(
        &self,
        operation: &'static str,
        epoch: Epoch,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut session = self.session(operation).await?;
        let result = self.run(&mut session, epoch, work).await;
        session.finish(result)
    }

    async fn run<T>(
        &self,
        session: &mut Session,
        epoch: Epoch,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let operation = session.operation();
        let limit = self.options.statement_timeout;
        let mut tx = within(operation, limit, async {
            let begin = session.conn()?.begin().await;
            begin.map_err(|e| Error::from_sqlx(operation, e))
        })
        .await?;
        let worked = within(operation, self.options.transaction_timeout, async {
            lease::fence(&mut tx, operation, epoch, limit).await?;
            work(&mut tx).await
        })
        .await;
        let value = match worked {
            Ok(value) => value,
            Err(error) => {
                // Whether or not it is heard, the server forgets it with the connection.
                return match within(operation, limit, async {
                    tx.rollback()
                        .await
                        .map_err(|e| Error::from_sqlx(operation, e))
                })
                .await
                {
                    Ok(()) => Err(error),
                    Err(_) => {
                        session.distrust();
                        Err(error)
                    }
                };
            }
        };
        // The server itself gives up first, so its word arrives before our deadline.
        let commit = failpoint::around_async(crash_point(operation), tx.commit());
        match tokio::time::timeout(limit + std::time::Duration::from_secs(5), commit).await {
            Ok(Ok(())) => Ok(value),
            Ok(Err(error)) => Err(commit_error(operation, error)),
            Err(_) => Err(Error::OutcomeUnknown {
                operation,
                source: None,
            }),
        }
    }
}

/// Of a fenced write. `tests/architecture.rs` holds the labels in use to those named here.
fn crash_point(operation: &str) -> Op {
    match operation {
        "add outbox" => Op::StoreOutboxAdd,
        "take back outbox" => Op::StoreOutboxTakeBack,
        "claim outbox" => Op::StoreOutboxClaim,
        "outbox sent" => Op::StoreOutboxSent,
        "outbox failed" => Op::StoreOutboxFailed,
        "record commits" => Op::StoreRecordCommits,
        "save deliveries" => Op::StoreSaveDeliveries,
        "put pull" => Op::StorePullPut,
        "forget pull" => Op::StorePullForget,
        history if history.starts_with("collect: ") => Op::StoreCollect,
        // Commits, and what is new beside them.
        _ => Op::StoreCommit,
    }
}

/// Only a refusal that Postgres gives before it writes the commit proves that nothing happened.
fn commit_error(operation: &'static str, error: sqlx::Error) -> Error {
    let refused = match &error {
        sqlx::Error::Database(db) => db
            .code()
            .is_some_and(|code| code.starts_with("23") || code.starts_with("40")),
        _ => false,
    };
    if refused {
        Error::from_sqlx(operation, error)
    } else {
        Error::OutcomeUnknown {
            operation,
            source: Some(Box::new(error)),
        }
    }
}
