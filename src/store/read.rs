//! Reads outside a commit: one session, one deadline, nothing kept.

use sqlx::PgConnection;

use super::session::{Session, within};
use super::{Error, Store, releases, rollouts};
use crate::failpoint::{self, Op};
use crate::model::{AppKey, Release, Rollout, RolloutId};

/// Most rows that one list call returns: a full page, and the one that tells of the next.
pub const MAX_PAGE: u32 = 1001;

/// A caller's limit as SQL takes it.
pub(super) fn page(limit: u32) -> i64 {
    match limit {
        0 => i64::from(MAX_PAGE),
        n => i64::from(n.min(MAX_PAGE)),
    }
}

impl Store {
    pub(super) async fn read<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, Error> {
        let mut session = self.session(operation).await?;
        let result = match session.conn() {
            Ok(conn) => {
                within(operation, self.options.read_timeout(), async {
                    work(conn).await.map_err(|e| Error::from_sqlx(operation, e))
                })
                .await
            }
            Err(e) => Err(e),
        };
        session.finish(result)
    }

    /// One statement that changes what is not the cluster's state.
    pub(super) async fn write<T>(
        &self,
        op: Op,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, Error> {
        failpoint::around_async(op, self.read(operation, work)).await
    }

    pub(super) async fn session(&self, operation: &'static str) -> Result<Session, Error> {
        Session::open(&self.pool, operation, self.options.acquire_timeout).await
    }

    /// Newest first.
    pub async fn releases(&self, app: &AppKey) -> Result<Vec<Release>, Error> {
        self.read("releases", async |conn| releases::of(conn, Some(app)).await)
            .await
    }

    /// Newest first; the app's last or active one is the first.
    pub async fn rollouts(&self, app: &AppKey, limit: u32) -> Result<Vec<Rollout>, Error> {
        self.rollouts_after(app, None, limit).await
    }

    /// Those that began before rollout `after`; none if that is forgotten already.
    pub async fn rollouts_after(
        &self,
        app: &AppKey,
        after: Option<RolloutId>,
        limit: u32,
    ) -> Result<Vec<Rollout>, Error> {
        self.read("rollouts", async |conn| {
            rollouts::newest(conn, app, after, page(limit)).await
        })
        .await
    }
}
