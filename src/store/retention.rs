//! Forgetting: what only history needs goes after a while, in small batches.
//!
//! Releases and quarantine are not its business: the planner forgets releases
//! through `Change::ForgetRelease`, so that image and database agree, and the
//! schema refuses to lose one that a target or an instance needs.

use std::time::Duration;

use super::{Epoch, Error, Store};

/// Rows that one statement removes at most.
const BATCH: i64 = 2000;
/// Batches per kind and run: bounds how long a run takes.
const BATCHES: usize = 10;

/// Messages to forges that are kept once they are sent, whatever their age.
const MESSAGES_KEPT: i64 = 20_000;

/// How much history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    pub events_max_age: Duration,
    pub events_max_count: u64,
    /// Rollouts per app; the last or active one is always kept.
    pub rollouts_per_app: u32,
    pub commits_per_source: u32,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            events_max_age: Duration::from_secs(30 * 24 * 3600),
            events_max_count: 200_000,
            rollouts_per_app: 50,
            commits_per_source: 200,
        }
    }
}

/// What one run removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub events: u64,
    pub rollouts: u64,
    pub commits: u64,
    pub messages: u64,
    /// A bound of this run was reached: call again soon.
    pub more: bool,
}

/// What a batch removes; each statement takes (bound, batch size).
const OLD_EVENTS: &str = "DELETE FROM events WHERE id IN (
         SELECT id FROM events
         WHERE at < clock_timestamp() - make_interval(secs => $1::float8)
         ORDER BY id LIMIT $2)";
const SURPLUS_EVENTS: &str = "DELETE FROM events WHERE id IN (
         SELECT id FROM events
         WHERE id <= (SELECT id FROM events ORDER BY id DESC OFFSET $1::bigint LIMIT 1)
         ORDER BY id LIMIT $2)";
const SURPLUS_ROLLOUTS: &str = "DELETE FROM rollouts WHERE id IN (
         SELECT id FROM (
             SELECT id, app, row_number() OVER (PARTITION BY app ORDER BY number DESC) AS place
             FROM rollouts
         ) ranked
         WHERE place > $1::bigint
             AND NOT EXISTS (SELECT FROM apps WHERE apps.rollout = ranked.id
                 AND apps.key = ranked.app)
         LIMIT $2)";
const SURPLUS_COMMITS: &str = "DELETE FROM commits WHERE number IN (
         SELECT number FROM (
             SELECT number, source, commit,
                 row_number() OVER (PARTITION BY source ORDER BY number DESC) AS place
             FROM commits
         ) ranked
         WHERE place > $1::bigint
             AND NOT EXISTS (SELECT FROM sources WHERE sources.name = ranked.source
                 AND ranked.commit IN (sources.last_applied, sources.last_seen))
         LIMIT $2)";

/// What waits is given up by its sender long before it is old.
const OLD_MESSAGES: &str = "DELETE FROM outbox WHERE id IN (
         SELECT id FROM outbox
         WHERE created_at < clock_timestamp() - make_interval(secs => $1::float8)
         ORDER BY id LIMIT $2)";
const SURPLUS_MESSAGES: &str = "DELETE FROM outbox WHERE id IN (
         SELECT id FROM outbox
         WHERE state <> 'queued'
             AND id <= (SELECT id FROM outbox ORDER BY id DESC OFFSET $1::bigint LIMIT 1)
         ORDER BY id LIMIT $2)";

impl Store {
    /// One bounded run.
    pub async fn collect(&self, epoch: Epoch, retention: &Retention) -> Result<Collected, Error> {
        let age = Bound::Seconds(retention.events_max_age.as_secs_f64());
        let count = Bound::Rows(i64::try_from(retention.events_max_count).unwrap_or(i64::MAX));
        let rollouts = Bound::Rows(i64::from(retention.rollouts_per_app.max(1)));
        let commits = Bound::Rows(i64::from(retention.commits_per_source.max(1)));
        let old = self
            .collect_one(epoch, "collect: old events", OLD_EVENTS, age)
            .await?;
        let surplus = self
            .collect_one(epoch, "collect: surplus events", SURPLUS_EVENTS, count)
            .await?;
        let rollouts = self
            .collect_one(epoch, "collect: rollouts", SURPLUS_ROLLOUTS, rollouts)
            .await?;
        let commits = self
            .collect_one(epoch, "collect: commits", SURPLUS_COMMITS, commits)
            .await?;
        let old_messages = self
            .collect_one(epoch, "collect: old messages", OLD_MESSAGES, age)
            .await?;
        let messages = Bound::Rows(MESSAGES_KEPT);
        let messages = self
            .collect_one(epoch, "collect: messages", SURPLUS_MESSAGES, messages)
            .await?;
        Ok(Collected {
            messages: old_messages.0 + messages.0,
            events: old.0 + surplus.0,
            rollouts: rollouts.0,
            commits: commits.0,
            more: old.1 || surplus.1 || rollouts.1 || commits.1 || old_messages.1 || messages.1,
        })
    }

    /// A transaction per batch, so that nobody waits for a long one.
    async fn collect_one(
        &self,
        epoch: Epoch,
        operation: &'static str,
        statement: &'static str,
        bound: Bound,
    ) -> Result<(u64, bool), Error> {
        let mut removed = 0;
        for _ in 0..BATCHES {
            let batch = self
                .write_fenced(operation, epoch, async |conn| {
                    let query = sqlx::query(statement);
                    let query = match bound {
                        Bound::Seconds(seconds) => query.bind(seconds),
                        Bound::Rows(rows) => query.bind(rows),
                    };
                    let done = query.bind(BATCH).execute(conn).await?;
                    Ok(done.rows_affected())
                })
                .await?;
            removed += batch;
            if batch < BATCH as u64 {
                return Ok((removed, false));
            }
        }
        Ok((removed, true))
    }
}

#[derive(Clone, Copy)]
enum Bound {
    Seconds(f64),
    Rows(i64),
}
