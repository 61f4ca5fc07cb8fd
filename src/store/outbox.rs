//! Rows of `outbox`: messages that wait to be sent, in order per commit and context, and per
//! pull request.
//!
//! [`super::Store::commit`] adds them, and [`super::Store::add_outbox`] what no change of the
//! cluster causes. At most one per commit and context waits: a newer one takes the place of
//! what was not sent yet. Taking one out puts off its next attempt,
//! so that a sender that dies loses nothing and blocks nothing. Times are the database's.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::encode::{amount, from_amount, from_word, json, name, text};
use super::read::page;
use super::write::Statement;
use super::{Epoch, Error, Store};
use crate::model::{CommitId, CommitStatus, OutboxEntry, PullComment, SourceName, Timestamp};

/// A message that is to be sent now.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub id: i64,
    pub source: SourceName,
    pub message: Message,
    /// This one included.
    pub attempts: u32,
    /// Since it was written.
    pub age: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Status {
        commit: CommitId,
        context: String,
        status: CommitStatus,
    },
    Comment {
        pull_request: u64,
        comment: PullComment,
    },
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
             WHERE NOT EXISTS (
                     SELECT FROM latest WHERE body = $4::jsonb AND state IN ('queued', 'sent')
                 )
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

/// What another forge was told, this one was not: it may be said again. `spec` is the
/// source's new one, as JSON.
pub(super) fn forget_other_forge(source: &SourceName, spec: &str) -> Statement {
    sqlx::query(
        "UPDATE outbox SET state = 'superseded' WHERE source = $1 AND state = 'sent'
             AND EXISTS (SELECT FROM sources WHERE name = $1
                 AND spec->'forge' IS DISTINCT FROM ($2::jsonb)->'forge')",
    )
    .bind(source.as_str().to_owned())
    .bind(spec.to_owned())
}

/// The latest takes the place of what was said before of this pull request.
async fn add_comment(
    conn: &mut PgConnection,
    source: &SourceName,
    pull_request: u64,
    comment: &PullComment,
) -> sqlx::Result<()> {
    let context = format!("pull/{pull_request}");
    let added: Option<i64> = sqlx::query_scalar(
        "WITH latest AS (
             SELECT body, state FROM outbox
             WHERE source = $1 AND commit = '' AND context = $2 ORDER BY id DESC LIMIT 1
         )
         INSERT INTO outbox (source, commit, context, kind, pull_request, body)
         SELECT $1, '', $2, 'comment', $3, $4::jsonb
         WHERE NOT EXISTS (
             SELECT FROM latest WHERE body = $4::jsonb AND state IN ('queued', 'sent')
         )
         RETURNING id",
    )
    .bind(source.as_str())
    .bind(&context)
    .bind(amount(pull_request))
    .bind(json(comment)?)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(id) = added else { return Ok(()) };
    sqlx::query(
        "UPDATE outbox SET state = 'superseded'
         WHERE source = $1 AND commit = '' AND context = $2 AND id < $3 AND state = 'queued'",
    )
    .bind(source.as_str())
    .bind(&context)
    .bind(id)
    .execute(conn)
    .await
    .map(|_| ())
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    source: String,
    commit: String,
    context: String,
    pull_request: Option<i64>,
    body: Json<serde_json::Value>,
    attempts: i64,
    age: f64,
}

impl TryFrom<Row> for Outgoing {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Outgoing, sqlx::Error> {
        Ok(Outgoing {
            id: row.id,
            source: name("outbox.source", &row.source)?,
            message: match row.pull_request {
                None => Message::Status {
                    commit: CommitId(row.commit),
                    context: row.context,
                    status: body(row.body.0)?,
                },
                Some(number) => Message::Comment {
                    pull_request: from_amount("outbox.pull_request", number)?,
                    comment: body(row.body.0)?,
                },
            },
            attempts: from_amount("outbox.attempts", row.attempts)?,
            age: Duration::try_from_secs_f64(row.age.max(0.0)).unwrap_or_default(),
        })
    }
}

fn body<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> sqlx::Result<T> {
    serde_json::from_value(value).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

/// A status that was said of a commit, and how that went.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub context: String,
    pub status: CommitStatus,
    pub delivery: Delivery,
    pub attempts: u32,
    pub last_error: Option<String>,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    Queued,
    Sent,
    Failed,
    Superseded,
}

#[derive(sqlx::FromRow)]
struct ToldRow {
    context: String,
    body: Json<CommitStatus>,
    state: String,
    attempts: i64,
    last_error: Option<String>,
    created_at: DateTime<Utc>,
}

impl TryFrom<ToldRow> for Told {
    type Error = sqlx::Error;
    fn try_from(row: ToldRow) -> Result<Told, sqlx::Error> {
        Ok(Told {
            context: row.context,
            status: row.body.0,
            delivery: from_word("outbox.state", row.state)?,
            attempts: from_amount("outbox.attempts", row.attempts)?,
            last_error: row.last_error,
            at: row.created_at.into(),
        })
    }
}

impl Store {
    /// What was said of a commit, newest first.
    pub async fn told(
        &self,
        source: &SourceName,
        commit: &CommitId,
        limit: u32,
    ) -> Result<Vec<Told>, Error> {
        self.read("told", async |conn| {
            let rows: Vec<ToldRow> = sqlx::query_as(
                "SELECT context, body, state, attempts, last_error, created_at FROM outbox
                 WHERE source = $1 AND commit = $2 AND kind = 'status' ORDER BY id DESC LIMIT $3",
            )
            .bind(source.as_str())
            .bind(commit.0.as_str())
            .bind(page(limit))
            .fetch_all(conn)
            .await?;
            rows.into_iter().map(Told::try_from).collect()
        })
        .await
    }

    /// Says `announced` of a commit before it is applied. What was announced of others of the
    /// same context and came to no verdict ends with `overtaken`.
    pub async fn announce(
        &self,
        epoch: Epoch,
        source: &SourceName,
        commit: &CommitId,
        context: &str,
        announced: &CommitStatus,
        overtaken: &CommitStatus,
    ) -> Result<(), Error> {
        let entry = OutboxEntry {
            source: source.clone(),
            commit: commit.clone(),
            context: context.to_owned(),
            status: announced.clone(),
            follow_up: false,
        };
        self.write_fenced("announce", epoch, async |conn| {
            sqlx::query(
                "INSERT INTO outbox (source, commit, context, body)
                 SELECT source, commit, context, $5::jsonb FROM (
                     SELECT DISTINCT ON (commit) source, commit, context, body, state FROM outbox
                     WHERE source = $1 AND commit <> $2 AND context = $3 ORDER BY commit, id DESC
                 ) AS latest
                 WHERE body = $4::jsonb AND state <> 'queued'",
            )
            .bind(source.as_str())
            .bind(commit.0.as_str())
            .bind(text(context))
            .bind(json(announced)?)
            .bind(json(overtaken)?)
            .execute(&mut *conn)
            .await?;
            // What was never sent needs no end.
            sqlx::query(
                "UPDATE outbox SET state = 'superseded'
                 WHERE source = $1 AND commit <> $2 AND context = $3 AND state = 'queued'
                     AND body = $4::jsonb",
            )
            .bind(source.as_str())
            .bind(commit.0.as_str())
            .bind(text(context))
            .bind(json(announced)?)
            .execute(&mut *conn)
            .await?;
            add(conn, &[entry]).await.map(|_| ())
        })
        .await
    }

    /// Adds what is to be told to forges without the cluster's state being changed: statuses,
    /// and comments of pull requests by their number.
    pub async fn add_outbox(
        &self,
        epoch: Epoch,
        statuses: &[OutboxEntry],
        comments: &[(SourceName, u64, PullComment)],
    ) -> Result<(), Error> {
        self.write_fenced("add outbox", epoch, async |conn| {
            add(&mut *conn, statuses).await?;
            for (source, number, comment) in comments {
                add_comment(&mut *conn, source, *number, comment).await?;
            }
            Ok(())
        })
        .await
    }

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
                "UPDATE outbox SET attempts = attempts + 1, last_error = NULL,
                     next_attempt_at = clock_timestamp() + make_interval(secs => $2)
                 WHERE id IN (
                     SELECT DISTINCT ON (source) id FROM outbox
                     WHERE state = 'queued' AND next_attempt_at <= clock_timestamp()
                         AND source <> ALL($1)
                     ORDER BY source, id
                     LIMIT $3
                 )
                 RETURNING id, source, commit, context, pull_request, body, attempts,
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

    /// How many messages wait, and for how long the oldest has.
    pub async fn outbox_depth(&self) -> Result<(u64, Duration), Error> {
        let (waiting, age): (i64, f64) = self
            .read("outbox depth", async |conn| {
                sqlx::query_as(
                    "SELECT count(*), coalesce(
                         extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
                     FROM outbox WHERE state = 'queued'",
                )
                .fetch_one(conn)
                .await
            })
            .await?;
        let age = Duration::try_from_secs_f64(age.max(0.0)).unwrap_or_default();
        Ok((u64::try_from(waiting).unwrap_or(0), age))
    }

    /// What an earlier leader took out and never reported on is due now, not only when its
    /// claim runs out. What failed has an error, and keeps its pause.
    pub async fn outbox_take_back(&self, epoch: Epoch) -> Result<u64, Error> {
        self.write_fenced("take back outbox", epoch, async |conn| {
            sqlx::query(
                "UPDATE outbox SET next_attempt_at = clock_timestamp()
                 WHERE state = 'queued' AND attempts > 0 AND last_error IS NULL
                     AND next_attempt_at > clock_timestamp()",
            )
            .execute(conn)
            .await
            .map(|done| done.rows_affected())
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
