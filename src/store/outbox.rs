//! Rows of `outbox`: messages that wait to be sent, in order per commit and context.
//!
//! [`super::Store::commit`] adds them. At most one per commit and context waits: a newer
//! one takes the place of what was not sent yet. Taking one out puts off its next attempt,
//! so that a sender that dies loses nothing and blocks nothing. Times are the database's.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::types::Json;

use super::encode::{from_amount, json, name, text};
use super::{Epoch, Error, Store};
use crate::model::{CommitId, CommitStatus, OutboxEntry, SourceName};

/// A message that is to be sent now.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub id: i64,
    pub source: SourceName,
    pub commit: CommitId,
    pub context: String,
    pub status: CommitStatus,
    /// This one included.
    pub attempts: u32,
    /// Since it was written.
    pub age: Duration,
}

/// Adds those that say something new; returns how many did.
pub(super) async fn add(conn: &mut PgConnection, entries: &[OutboxEntry]) -> sqlx::Result<u64> {
    let mut added = 0;
    // A commit that changes many apps still has one status: few entries, one statement each.
    for entry in entries {
        let id: Option<i64> = sqlx::query_scalar(
            "WITH latest AS (
                 SELECT body, state FROM outbox WHERE source = $1 AND commit = $2 AND context = $3
                 ORDER BY id DESC LIMIT 1
             )
             INSERT INTO outbox (source, commit, context, body)
             SELECT $1, $2, $3, $4::jsonb
             WHERE NOT EXISTS (SELECT FROM latest WHERE body = $4::jsonb AND state <> 'failed')
                 AND (NOT $5 OR EXISTS (SELECT FROM latest WHERE body->>'state' = 'pending'))
             RETURNING id",
        )
        .bind(entry.source.as_str())
        .bind(entry.commit.0.as_str())
        .bind(text(&entry.context))
        .bind(json(&entry.status)?)
        .bind(entry.follow_up)
        .fetch_optional(&mut *conn)
        .await?;
        let Some(id) = id else {
            // Said again because the source's settings changed: that may be what was missing.
            sqlx::query(
                "UPDATE outbox SET next_attempt_at = clock_timestamp()
                 WHERE source = $1 AND commit = $2 AND context = $3 AND state = 'queued'",
            )
            .bind(entry.source.as_str())
            .bind(entry.commit.0.as_str())
            .bind(text(&entry.context))
            .execute(&mut *conn)
            .await?;
            continue;
        };
        added += 1;
        sqlx::query(
            "UPDATE outbox SET state = 'superseded'
             WHERE source = $1 AND commit = $2 AND context = $3 AND id < $4 AND state = 'queued'",
        )
        .bind(entry.source.as_str())
        .bind(entry.commit.0.as_str())
        .bind(text(&entry.context))
        .bind(id)
        .execute(&mut *conn)
        .await?;
    }
    Ok(added)
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    source: String,
    commit: String,
    context: String,
    body: Json<CommitStatus>,
    attempts: i64,
    age: f64,
}

impl TryFrom<Row> for Outgoing {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Outgoing, sqlx::Error> {
        Ok(Outgoing {
            id: row.id,
            source: name("outbox.source", &row.source)?,
            commit: CommitId(row.commit),
            context: row.context,
            status: row.body.0,
            attempts: from_amount("outbox.attempts", row.attempts)?,
            age: Duration::try_from_secs_f64(row.age.max(0.0)).unwrap_or_default(),
        })
    }
}

impl Store {
    /// Takes out what is due, one message of each source, oldest first; nothing of the
    /// sources in `busy`, of `limit` others at most. Each counts as an attempt, and is due again after `retry_after`
    /// unless it was reported back by then.
    pub async fn claim_outbox(
        &self,
        epoch: Epoch,
        busy: &[SourceName],
        limit: usize,
        retry_after: Duration,
    ) -> Result<Vec<Outgoing>, Error> {
        let busy: Vec<&str> = busy.iter().map(SourceName::as_str).collect();
        self.write_fenced("claim outbox", epoch, async |conn| {
            let rows: Vec<Row> = sqlx::query_as(
                "UPDATE outbox SET attempts = attempts + 1,
                     next_attempt_at = clock_timestamp() + make_interval(secs => $2)
                 WHERE id IN (
                     SELECT DISTINCT ON (source) id FROM outbox
                     WHERE state = 'queued' AND next_attempt_at <= clock_timestamp()
                         AND source <> ALL($1)
                     ORDER BY source, id
                     LIMIT $3
                 )
                 RETURNING id, source, commit, context, body, attempts,
                     extract(epoch FROM clock_timestamp() - created_at)::float8 AS age",
            )
            .bind(busy)
            .bind(retry_after.as_secs_f64())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(conn)
            .await?;
            rows.into_iter().map(Outgoing::try_from).collect()
        })
        .await
    }

    /// Until the next message is due; `None`: none waits.
    pub async fn outbox_due_in(&self) -> Result<Option<Duration>, Error> {
        let seconds: Option<f64> = self
            .read("outbox due", async |conn| {
                sqlx::query_scalar(
                    "SELECT extract(epoch FROM min(next_attempt_at) - clock_timestamp())::float8
                     FROM outbox WHERE state = 'queued'",
                )
                .fetch_one(conn)
                .await
            })
            .await?;
        Ok(seconds.map(|s| Duration::try_from_secs_f64(s.max(0.0)).unwrap_or_default()))
    }

    /// It has arrived, also if a newer one has taken its place meanwhile.
    pub async fn outbox_sent(&self, epoch: Epoch, id: i64) -> Result<(), Error> {
        self.write_fenced("outbox sent", epoch, async |conn| {
            sqlx::query("UPDATE outbox SET state = 'sent', last_error = NULL WHERE id = $1")
                .bind(id)
                .execute(conn)
                .await
                .map(|_| ())
        })
        .await
    }

    /// It has not arrived: tried again after `again`, or given up where that is `None`.
    pub async fn outbox_failed(
        &self,
        epoch: Epoch,
        id: i64,
        error: &str,
        again: Option<Duration>,
    ) -> Result<(), Error> {
        self.write_fenced("outbox failed", epoch, async |conn| {
            sqlx::query(
                "UPDATE outbox SET last_error = $2,
                     state = CASE WHEN state = 'queued' AND $3::float8 IS NULL THEN 'failed'
                         ELSE state END,
                     next_attempt_at = clock_timestamp()
                         + make_interval(secs => coalesce($3::float8, 0))
                 WHERE id = $1",
            )
            .bind(id)
            .bind(text(error))
            .bind(again.map(|d| d.as_secs_f64()))
            .execute(conn)
            .await
            .map(|_| ())
        })
        .await
    }
}
