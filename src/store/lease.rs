//! Leadership: one row, by the database's clock, so that no two hosts need to
//! agree about the time.
//!
//! The epoch is a key of the row. A commit holds `FOR KEY SHARE` on it: that
//! keeps a new epoch from beginning while a commit of the old one is under way,
//! and lets the leader itself renew meanwhile.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::session::within;
use super::{Epoch, Error, Store};
use crate::failpoint::Op;
use crate::model::Timestamp;

/// A leadership as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who leads: unique per process.
    pub holder: String,
    /// Where followers reach the leader.
    pub address: String,
    /// Grows with every acquisition.
    pub epoch: Epoch,
    /// Time left when the database answered; count it from before the call.
    pub expires_in: Duration,
    /// The database's clock when it answered.
    pub now: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    holder: String,
    address: String,
    epoch: i64,
    expires_in: f64,
    now: DateTime<Utc>,
}

impl From<Row> for Lease {
    fn from(row: Row) -> Lease {
        Lease {
            holder: row.holder,
            address: row.address,
            epoch: Epoch(row.epoch),
            expires_in: Duration::try_from_secs_f64(row.expires_in).unwrap_or_default(),
            now: Timestamp::from(row.now),
        }
    }
}

impl Store {
    /// Takes the lease if nobody holds it, it has expired, or `holder` has it already. One that
    /// runs on for longer than any is given is of a time before the clock was put back: who died
    /// then must not lead until that time comes again, and who lives has an older epoch now.
    /// Each acquisition is a new epoch. `None`: somebody else leads.
    pub async fn acquire_lease(
        &self,
        holder: &str,
        address: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, Error> {
        self.write(Op::StoreLeaseAcquire, "acquire lease", async |conn| {
            let row: Option<Row> = sqlx::query_as(
                "UPDATE lease SET holder = $1, address = $2, epoch = epoch + 1,
                     expires_at = clock_timestamp() + make_interval(secs => $3)
                 WHERE holder IS NULL OR holder = $1 OR expires_at <= clock_timestamp()
                     OR expires_at > clock_timestamp() + 2 * make_interval(secs => $3)
                 RETURNING holder, address, epoch,
                     extract(epoch FROM expires_at - clock_timestamp())::float8 AS expires_in,
                     clock_timestamp() AS now",
            )
            .bind(holder)
            .bind(address)
            .bind(ttl.as_secs_f64())
            .fetch_optional(conn)
            .await?;
            Ok(row.map(Lease::from))
        })
        .await
    }

    /// Prolongs it to `ttl` from now. `StaleEpoch`: it was lost.
    ///
    /// An expired lease that nobody took is still ours: no other epoch has begun.
    pub async fn renew_lease(&self, epoch: Epoch, ttl: Duration) -> Result<Lease, Error> {
        let renewed = self
            .write(Op::StoreLeaseRenew, "renew lease", async |conn| {
                let row: Option<Row> = sqlx::query_as(
                    "UPDATE lease SET expires_at = clock_timestamp() + make_interval(secs => $2)
                     WHERE epoch = $1 AND holder IS NOT NULL
                     RETURNING holder, address, epoch,
                         extract(epoch FROM expires_at - clock_timestamp())::float8 AS expires_in,
                     clock_timestamp() AS now",
                )
                .bind(epoch.0)
                .bind(ttl.as_secs_f64())
                .fetch_optional(conn)
                .await?;
                Ok(row.map(Lease::from))
            })
            .await?;
        match renewed {
            Some(lease) => Ok(lease),
            None => Err(self.stale("renew lease", epoch).await?),
        }
    }

    /// Gives it up, so that another can lead at once. `StaleEpoch`: it was lost already.
    pub async fn release_lease(&self, epoch: Epoch) -> Result<(), Error> {
        let released = self
            .write(Op::StoreLeaseRelease, "release lease", async |conn| {
                let done = sqlx::query(
                    "UPDATE lease SET holder = NULL, address = '', expires_at = '-infinity'
                     WHERE epoch = $1 AND holder IS NOT NULL",
                )
                .bind(epoch.0)
                .execute(conn)
                .await?;
                Ok(done.rows_affected())
            })
            .await?;
        match released {
            0 => Err(self.stale("release lease", epoch).await?),
            _ => Ok(()),
        }
    }

    /// Ends a held leadership so that the next one is later than `seen`: nodes refuse
    /// every earlier one. `StaleEpoch`: it was lost already.
    pub async fn outrun_epoch(&self, held: Epoch, seen: Epoch) -> Result<(), Error> {
        let moved = self
            .write(Op::StoreLeaseOutrun, "outrun epoch", async |conn| {
                let done = sqlx::query(
                    "UPDATE lease SET holder = NULL, address = '', expires_at = '-infinity',
                         epoch = greatest(epoch, $2)
                     WHERE epoch = $1 AND holder IS NOT NULL",
                )
                .bind(held.0)
                .bind(seen.0)
                .execute(conn)
                .await?;
                Ok(done.rows_affected())
            })
            .await?;
        match moved {
            0 => Err(self.stale("outrun epoch", held).await?),
            _ => Ok(()),
        }
    }

    /// Who leads now; `None`: nobody, or the lease has expired.
    pub async fn current_lease(&self) -> Result<Option<Lease>, Error> {
        self.read("current lease", async |conn| {
            let row: Option<Row> = sqlx::query_as(
                "SELECT holder, address, epoch,
                     extract(epoch FROM expires_at - clock_timestamp())::float8 AS expires_in,
                     clock_timestamp() AS now
                 FROM lease WHERE holder IS NOT NULL AND expires_at > clock_timestamp()",
            )
            .fetch_optional(conn)
            .await?;
            Ok(row.map(Lease::from))
        })
        .await
    }

    async fn stale(&self, operation: &'static str, held: Epoch) -> Result<Error, Error> {
        let current = self
            .read(operation, async |conn| {
                sqlx::query_scalar("SELECT epoch FROM lease")
                    .fetch_one(conn)
                    .await
            })
            .await?;
        Ok(Error::StaleEpoch {
            operation,
            held,
            current: Epoch(current),
        })
    }
}

/// Inside a transaction: refuses any epoch but the leader's, and keeps another from
/// beginning until the transaction ends.
pub(super) async fn fence(
    conn: &mut sqlx::PgConnection,
    operation: &'static str,
    held: Epoch,
    limit: Duration,
) -> Result<(), Error> {
    let (current, led): (i64, bool) = within(operation, limit, async {
        sqlx::query_as("SELECT epoch, holder IS NOT NULL FROM lease FOR KEY SHARE")
            .fetch_one(conn)
            .await
            .map_err(|e| Error::from_sqlx(operation, e))
    })
    .await?;
    if led && current == held.0 {
        return Ok(());
    }
    Err(Error::StaleEpoch {
        operation,
        held,
        current: Epoch(current),
    })
}
