//! Rows of `sources`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::encode::{amount, from_amount, json, json_opt, name, time_opt};
use super::outbox;
use super::write::{Statement, Step};
use crate::model::source::Held;
use crate::model::{Change, CommitId, Problem, Source, SourceSpec, SyncOutcome};

/// Few and rare: one after the other.
pub(super) fn put<'a>(changes: &[&Change]) -> sqlx::Result<Vec<Step<'a>>> {
    let mut steps = Vec::new();
    for change in changes {
        let Change::PutSource(source) = change else {
            continue;
        };
        let spec = json(&source.spec)?;
        let forget = outbox::forget_other_forge(&source.spec.name, &spec);
        steps.push(Step::any(forget));
        let put = sqlx::query(
            "INSERT INTO sources (name, spec, declared_by, suspended, last_attempt_at, last_seen,
                 last_applied, last_applied_at, outcome, problems, ignored_documents, held)
             VALUES ($1, $2::jsonb, $3, $4, $5, $6, $7, $8, $9::jsonb, $10::jsonb, $11, $12::jsonb)
             ON CONFLICT (name) DO UPDATE SET
                 spec = excluded.spec, declared_by = excluded.declared_by,
                 suspended = excluded.suspended, last_attempt_at = excluded.last_attempt_at,
                 last_seen = excluded.last_seen, last_applied = excluded.last_applied,
                 last_applied_at = excluded.last_applied_at, outcome = excluded.outcome,
                 problems = excluded.problems, ignored_documents = excluded.ignored_documents,
                 held = excluded.held",
        )
        .bind(source.spec.name.as_str())
        .bind(spec)
        .bind(source.declared_by.as_ref().map(|s| s.as_str()))
        .bind(source.suspended)
        .bind(time_opt(source.last_attempt_at))
        .bind(source.last_seen.as_ref().map(|c| c.0.as_str()))
        .bind(source.last_applied.as_ref().map(|c| c.0.as_str()))
        .bind(time_opt(source.last_applied_at))
        .bind(json(&source.outcome)?)
        .bind(json(&source.problems)?)
        .bind(amount(u64::from(source.ignored_documents)))
        .bind(json_opt(source.held.as_ref())?);
        steps.push(Step::exactly(1, put));
    }
    Ok(steps)
}

pub(super) fn remove(changes: &[&Change]) -> sqlx::Result<Statement> {
    let names: Vec<&str> = changes
        .iter()
        .filter_map(|change| match change {
            Change::RemoveSource(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    Ok(sqlx::query("DELETE FROM sources WHERE name = ANY($1)").bind(names))
}

#[derive(sqlx::FromRow)]
struct Row {
    spec: Json<SourceSpec>,
    declared_by: Option<String>,
    suspended: bool,
    last_attempt_at: Option<DateTime<Utc>>,
    last_seen: Option<String>,
    last_applied: Option<String>,
    last_applied_at: Option<DateTime<Utc>>,
    outcome: Json<SyncOutcome>,
    problems: Json<Vec<Problem>>,
    ignored_documents: i64,
    held: Option<Json<Held>>,
}

impl TryFrom<Row> for Source {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Source, sqlx::Error> {
        Ok(Source {
            spec: row.spec.0,
            declared_by: row
                .declared_by
                .map(|n| name("sources.declared_by", &n))
                .transpose()?,
            suspended: row.suspended,
            last_attempt_at: row.last_attempt_at.map(Into::into),
            last_seen: row.last_seen.map(CommitId),
            last_applied: row.last_applied.map(CommitId),
            last_applied_at: row.last_applied_at.map(Into::into),
            outcome: row.outcome.0,
            problems: row.problems.0,
            ignored_documents: from_amount("sources.ignored_documents", row.ignored_documents)?,
            held: row.held.map(|h| h.0),
        })
    }
}

pub(super) async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<Source>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT spec, declared_by, suspended, last_attempt_at, last_seen, last_applied,
             last_applied_at, outcome, problems, ignored_documents, held FROM sources",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Source::try_from).collect()
}
