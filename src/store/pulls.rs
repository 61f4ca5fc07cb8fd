//! Rows of `pulls`: open pull requests and the plans that were told of them. Nothing in the
//! cluster is decided from it.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

use super::encode::{amount, from_amount, json_opt, name, text, time};
use super::{Error, Store};
use crate::model::{CommitId, Epoch, SourceName, Timestamp};

/// A pull request as it was last planned.
#[derive(Clone, Debug, PartialEq)]
pub struct PullRecord {
    pub source: SourceName,
    pub number: u64,
    pub head: CommitId,
    /// Head of the followed branch that it was planned onto.
    pub base: CommitId,
    pub title: String,
    pub url: String,
    /// A `PreviewVerdict`'s word, or `notPlanned`.
    pub verdict: String,
    pub summary: String,
    /// The preview; `None`: none could be made.
    pub plan: Option<Value>,
    /// Digest of what was told.
    pub told: String,
    pub commented: bool,
    pub planned_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    source: String,
    number: i64,
    head: String,
    base: String,
    title: String,
    url: String,
    verdict: String,
    summary: String,
    plan: Option<Json<Value>>,
    told: String,
    commented: bool,
    planned_at: DateTime<Utc>,
}

impl TryFrom<Row> for PullRecord {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<PullRecord, sqlx::Error> {
        Ok(PullRecord {
            source: name("pulls.source", &row.source)?,
            number: from_amount("pulls.number", row.number)?,
            head: CommitId(row.head),
            base: CommitId(row.base),
            title: row.title,
            url: row.url,
            verdict: row.verdict,
            summary: row.summary,
            plan: row.plan.map(|plan| plan.0),
            told: row.told,
            commented: row.commented,
            planned_at: row.planned_at.into(),
        })
    }
}

impl Store {
    /// All of a source, by number; they are bounded by who writes them.
    pub async fn pulls(&self, source: &SourceName) -> Result<Vec<PullRecord>, Error> {
        self.read("pulls", async |conn| {
            let rows: Vec<Row> = sqlx::query_as(
                "SELECT source, number, head, base, title, url, verdict, summary, plan, told,
                     commented, planned_at
                 FROM pulls WHERE source = $1 ORDER BY number",
            )
            .bind(source.as_str())
            .fetch_all(conn)
            .await?;
            rows.into_iter().map(PullRecord::try_from).collect()
        })
        .await
    }

    /// Adds it or takes the place of what was known. `Constraint`: its source is gone.
    pub async fn put_pull(&self, epoch: Epoch, pull: &PullRecord) -> Result<(), Error> {
        self.write_fenced("put pull", epoch, async |conn| {
            sqlx::query(
                "INSERT INTO pulls (source, number, head, base, title, url, verdict, summary,
                     plan, told, commented, planned_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11, $12)
                 ON CONFLICT (source, number) DO UPDATE SET
                     head = excluded.head, base = excluded.base, title = excluded.title,
                     url = excluded.url, verdict = excluded.verdict, summary = excluded.summary,
                     plan = excluded.plan, told = excluded.told, commented = excluded.commented,
                     planned_at = excluded.planned_at",
            )
            .bind(pull.source.as_str())
            .bind(amount(pull.number))
            .bind(pull.head.0.as_str())
            .bind(pull.base.0.as_str())
            .bind(text(&pull.title))
            .bind(text(&pull.url))
            .bind(pull.verdict.as_str())
            .bind(text(&pull.summary))
            .bind(json_opt(pull.plan.as_ref())?)
            .bind(pull.told.as_str())
            .bind(pull.commented)
            .bind(time(pull.planned_at))
            .execute(conn)
            .await
            .map(|_| ())
        })
        .await
    }

    pub async fn forget_pull(
        &self,
        epoch: Epoch,
        source: &SourceName,
        number: u64,
    ) -> Result<(), Error> {
        self.write_fenced("forget pull", epoch, async |conn| {
            sqlx::query("DELETE FROM pulls WHERE source = $1 AND number = $2")
                .bind(source.as_str())
                .bind(amount(number))
                .execute(conn)
                .await
                .map(|_| ())
        })
        .await
    }
}
