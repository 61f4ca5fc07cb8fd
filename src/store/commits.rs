//! Rows of `commits`: revisions of sources that were seen. History only: nothing
//! is decided from it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::encode::{from_amount, json, name, text, time};
use super::read::page;
use super::{Error, Store};
use crate::model::{CommitId, Epoch, Problem, SourceName, Timestamp};

/// Problems kept per commit; the rest is only counted.
const MAX_PROBLEMS: usize = 100;

/// A revision of a source that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRecord {
    pub source: SourceName,
    pub commit: CommitId,
    pub author: String,
    /// First line of its message.
    pub subject: String,
    /// When it was made, by its committer's clock.
    pub committed_at: Timestamp,
    pub seen_at: Timestamp,
    /// Whether its tree had no problems; `None`: not read.
    pub valid: Option<bool>,
    /// All of them, even where `problems` was cut.
    pub problem_count: u32,
    pub problems: Vec<Problem>,
}

#[derive(sqlx::FromRow)]
struct Row {
    source: String,
    commit: String,
    author: String,
    subject: String,
    committed_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    valid: Option<bool>,
    problem_count: i64,
    problems: Json<Vec<Problem>>,
}

impl TryFrom<Row> for CommitRecord {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<CommitRecord, sqlx::Error> {
        Ok(CommitRecord {
            source: name("commits.source", &row.source)?,
            commit: CommitId(row.commit),
            author: row.author,
            subject: row.subject,
            committed_at: row.committed_at.into(),
            seen_at: row.seen_at.into(),
            valid: row.valid,
            problem_count: from_amount("commits.problem_count", row.problem_count)?,
            problems: row.problems.0,
        })
    }
}

impl Store {
    /// Newest seen first.
    pub async fn commits(
        &self,
        source: &SourceName,
        limit: u32,
    ) -> Result<Vec<CommitRecord>, Error> {
        self.commits_after(source, None, limit).await
    }

    /// Those that were seen before commit `after`; none if that is forgotten already.
    pub async fn commits_after(
        &self,
        source: &SourceName,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CommitRecord>, Error> {
        self.read("commits", async |conn| {
            let rows: Vec<Row> = sqlx::query_as(
                "SELECT source, commit, author, subject, committed_at, seen_at, valid,
                     problem_count, problems
                 FROM commits WHERE source = $1 AND ($3::text IS NULL OR number < (
                     SELECT number FROM commits WHERE source = $1 AND commit = $3))
                 ORDER BY number DESC LIMIT $2",
            )
            .bind(source.as_str())
            .bind(page(limit))
            .bind(after)
            .fetch_all(conn)
            .await?;
            rows.into_iter().map(CommitRecord::try_from).collect()
        })
        .await
    }

    /// Those whose hash begins so, at most two: more than one is ambiguous.
    pub async fn commit_by_prefix(
        &self,
        source: &SourceName,
        prefix: &str,
    ) -> Result<Vec<CommitRecord>, Error> {
        self.read("commit by prefix", async |conn| {
            let rows: Vec<Row> = sqlx::query_as(
                "SELECT source, commit, author, subject, committed_at, seen_at, valid,
                     problem_count, problems
                 FROM commits WHERE source = $1 AND starts_with(commit, $2)
                 ORDER BY number DESC LIMIT 2",
            )
            .bind(source.as_str())
            .bind(prefix)
            .fetch_all(conn)
            .await?;
            rows.into_iter().map(CommitRecord::try_from).collect()
        })
        .await
    }

    /// Adds them, oldest first, or updates what is known of them. At most 100 problems of
    /// each are kept. `Constraint`: its source is not there (any more).
    pub async fn record_commits(
        &self,
        epoch: Epoch,
        commits: &[CommitRecord],
    ) -> Result<(), Error> {
        self.write_fenced("record commits", epoch, async |conn| {
            for commit in commits {
                record(conn, commit).await?;
            }
            Ok(())
        })
        .await
    }
}

async fn record(conn: &mut PgConnection, commit: &CommitRecord) -> sqlx::Result<()> {
    let kept = commit.problems.len().min(MAX_PROBLEMS);
    sqlx::query(
        "INSERT INTO commits (source, commit, author, subject, committed_at, seen_at, valid,
             problem_count, problems)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb)
         ON CONFLICT (source, commit) DO UPDATE SET
             author = excluded.author, subject = excluded.subject,
             committed_at = excluded.committed_at, valid = excluded.valid,
             problem_count = excluded.problem_count, problems = excluded.problems",
    )
    .bind(commit.source.as_str())
    .bind(commit.commit.0.as_str())
    .bind(text(&commit.author))
    .bind(text(&commit.subject))
    .bind(time(commit.committed_at))
    .bind(time(commit.seen_at))
    .bind(commit.valid)
    .bind(i64::from(commit.problem_count))
    .bind(json(&commit.problems[..kept])?)
    .execute(conn)
    .await?;
    Ok(())
}
