//! Rows of `releases`, and of `quarantine`, which speaks of their digests.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::encode::{amount, bad, from_amount, from_word, json, name, text, time, word};
use super::write::{Statement, Step};
use crate::model::{
    AppKey, AppSpec, Change, CommitId, Evidence, Rejection, Release, ReleaseId, ReleaseState,
    RolloutId, SpecDigest, Timestamp, WorkloadDigest,
};

fn state_columns(state: ReleaseState) -> (&'static str, Option<DateTime<Utc>>) {
    match state {
        ReleaseState::New => ("new", None),
        ReleaseState::Stable { at } => ("stable", Some(time(at))),
        ReleaseState::Rejected { at } => ("rejected", Some(time(at))),
    }
}

fn state_from(state: &str, at: Option<DateTime<Utc>>) -> sqlx::Result<ReleaseState> {
    let at = at.map(Timestamp::from);
    match (state, at) {
        ("new", None) => Ok(ReleaseState::New),
        ("stable", Some(at)) => Ok(ReleaseState::Stable { at }),
        ("rejected", Some(at)) => Ok(ReleaseState::Rejected { at }),
        _ => Err(bad("releases.state", state)),
    }
}

/// Those that are made of what their app declares, as most are: their spec is copied where it is.
pub(super) fn copy(changes: &[&Change]) -> sqlx::Result<Statement> {
    insert(changes, Specs::AsDeclared)
}

/// Those that are not there yet, with their specs.
pub(super) fn send(changes: &[&Change]) -> sqlx::Result<Statement> {
    insert(changes, Specs::Sent)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Specs {
    /// Only releases whose digest is the one that their app declares are written.
    AsDeclared,
    Sent,
}

fn insert(changes: &[&Change], from: Specs) -> sqlx::Result<Statement> {
    let (mut ids, mut apps, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut commits, mut digests, mut workloads) = (Vec::new(), Vec::new(), Vec::new());
    let (mut specs, mut created) = (Vec::new(), Vec::new());
    let (mut states, mut state_ats, mut images) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let Change::AddRelease(release) = change else {
            continue;
        };
        ids.push(release.id.0);
        apps.push(release.app.to_string());
        numbers.push(amount(release.number));
        commits.push(release.commit.0.as_str());
        digests.push(release.spec_digest.0.as_str());
        workloads.push(release.workload_digest.0.as_str());
        specs.push(match from {
            Specs::AsDeclared => None,
            Specs::Sent => Some(json(&*release.spec)?),
        });
        created.push(time(release.created_at));
        let (state, at) = state_columns(release.state);
        states.push(state);
        state_ats.push(at);
        images.push(release.pinned_image.as_deref());
    }
    let (spec, which) = match from {
        Specs::AsDeclared => (
            "declared_spec",
            "JOIN apps ON apps.key = u.app AND apps.declared_digest = u.spec_digest",
        ),
        Specs::Sent => (
            "u.spec::json",
            "WHERE NOT EXISTS (SELECT FROM releases WHERE releases.id = u.id)",
        ),
    };
    Ok(sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO releases (id, app, number, commit, spec_digest, workload_digest, spec,
             created_at, state, state_at, pinned_image)
         SELECT id, app, number, commit, spec_digest, workload_digest, {spec}, created_at,
             state, state_at, pinned_image
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
             $7::text[], $8::timestamptz[], $9::text[], $10::timestamptz[], $11::text[])
             AS u(id, app, number, commit, spec_digest, workload_digest, spec, created_at,
                 state, state_at, pinned_image)
         {which}"
    )))
    .bind(ids)
    .bind(apps)
    .bind(numbers)
    .bind(commits)
    .bind(digests)
    .bind(workloads)
    .bind(specs)
    .bind(created)
    .bind(states)
    .bind(state_ats)
    .bind(images))
}

pub(super) fn set_state(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps) = (Vec::new(), Vec::new());
    let (mut states, mut ats) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::SetReleaseState {
            app,
            release,
            state,
        } = change
        else {
            continue;
        };
        ids.push(release.0);
        apps.push(app.to_string());
        let (state, at) = state_columns(*state);
        states.push(state);
        ats.push(at);
    }
    Ok(sqlx::query(
        "UPDATE releases SET state = u.state, state_at = u.at
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
             AS u(id, app, state, at)
         WHERE releases.id = u.id AND releases.app = u.app",
    )
    .bind(ids)
    .bind(apps)
    .bind(states)
    .bind(ats))
}

pub(super) fn pin_image(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps, mut images) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let Change::PinImage {
            app,
            release,
            image,
        } = change
        else {
            continue;
        };
        ids.push(release.0);
        apps.push(app.to_string());
        images.push(text(image));
    }
    Ok(sqlx::query(
        "UPDATE releases SET pinned_image = u.image
         FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u(id, app, image)
         WHERE releases.id = u.id AND releases.app = u.app",
    )
    .bind(ids)
    .bind(apps)
    .bind(images))
}

pub(super) fn forget(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::ForgetRelease { app, release } = change else {
            continue;
        };
        ids.push(release.0);
        apps.push(app.to_string());
    }
    Ok(sqlx::query(
        "DELETE FROM releases USING unnest($1::uuid[], $2::text[]) AS u(id, app)
         WHERE releases.id = u.id AND releases.app = u.app",
    )
    .bind(ids)
    .bind(apps))
}

/// A verdict is rare: one statement each.
pub(super) fn quarantine<'a>(changes: &[&Change]) -> sqlx::Result<Vec<Step<'a>>> {
    let mut steps = Vec::new();
    for change in changes {
        let Change::Quarantine { app, rejection } = change else {
            continue;
        };
        let put = sqlx::query(
            "INSERT INTO quarantine (app, digest, commit, release, rollout, rejected_at, verdict,
                 reason, evidence, back_to)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10)
             ON CONFLICT (app, digest) DO UPDATE SET
                 commit = excluded.commit, release = excluded.release,
                 rollout = excluded.rollout, rejected_at = excluded.rejected_at,
                 verdict = excluded.verdict, reason = excluded.reason,
                 evidence = excluded.evidence, back_to = excluded.back_to",
        )
        .bind(app.to_string())
        .bind(rejection.digest.0.as_str())
        .bind(rejection.commit.0.as_str())
        .bind(rejection.release.0)
        .bind(rejection.rollout.map(|r| r.0))
        .bind(time(rejection.at))
        .bind(word(&rejection.verdict)?)
        .bind(text(&rejection.reason))
        .bind(json(&rejection.evidence)?)
        .bind(rejection.back_to.map(|r| r.0));
        steps.push(Step::exactly(1, put));
    }
    Ok(steps)
}

pub(super) fn unquarantine(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut apps, mut digests) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::Unquarantine { app, digest } = change else {
            continue;
        };
        apps.push(app.to_string());
        digests.push(digest.0.as_str());
    }
    Ok(sqlx::query(
        "DELETE FROM quarantine USING unnest($1::text[], $2::text[]) AS u(app, digest)
         WHERE quarantine.app = u.app AND quarantine.digest = u.digest",
    )
    .bind(apps)
    .bind(digests))
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    app: String,
    number: i64,
    commit: String,
    spec_digest: String,
    workload_digest: String,
    spec: Json<AppSpec>,
    created_at: DateTime<Utc>,
    state: String,
    state_at: Option<DateTime<Utc>>,
    pinned_image: Option<String>,
}

impl TryFrom<Row> for Release {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Release, sqlx::Error> {
        Ok(Release {
            id: ReleaseId(row.id),
            app: name("releases.app", &row.app)?,
            number: from_amount("releases.number", row.number)?,
            commit: CommitId(row.commit),
            spec_digest: SpecDigest(row.spec_digest),
            workload_digest: WorkloadDigest(row.workload_digest),
            spec: Arc::new(row.spec.0),
            created_at: row.created_at.into(),
            state: state_from(&row.state, row.state_at)?,
            pinned_image: row.pinned_image,
        })
    }
}

/// All, or those of one app with the newest first.
pub(super) async fn of(
    conn: &mut PgConnection,
    app: Option<&AppKey>,
) -> sqlx::Result<Vec<Release>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, app, number, commit, spec_digest, workload_digest, spec, created_at, state,
             state_at, pinned_image
         FROM releases WHERE $1::text IS NULL OR app = $1 ORDER BY app, number DESC",
    )
    .bind(app.map(AppKey::to_string))
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Release::try_from).collect()
}

#[derive(sqlx::FromRow)]
struct QuarantineRow {
    app: String,
    digest: String,
    commit: String,
    release: Uuid,
    rollout: Option<Uuid>,
    rejected_at: DateTime<Utc>,
    verdict: String,
    reason: String,
    evidence: Json<Evidence>,
    back_to: Option<Uuid>,
}

pub(super) async fn all_quarantined(
    conn: &mut PgConnection,
) -> sqlx::Result<Vec<(AppKey, Rejection)>> {
    let rows: Vec<QuarantineRow> = sqlx::query_as(
        "SELECT app, digest, commit, release, rollout, rejected_at, verdict, reason, evidence,
             back_to
         FROM quarantine",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                name("quarantine.app", &row.app)?,
                Rejection {
                    digest: SpecDigest(row.digest),
                    commit: CommitId(row.commit),
                    release: ReleaseId(row.release),
                    rollout: row.rollout.map(RolloutId),
                    at: row.rejected_at.into(),
                    verdict: from_word("quarantine.verdict", row.verdict)?,
                    reason: row.reason,
                    evidence: row.evidence.0,
                    back_to: row.back_to.map(ReleaseId),
                },
            ))
        })
        .collect()
}
