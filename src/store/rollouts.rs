//! Rows of `rollouts`: every rollout of every app; `apps.rollout` names the last.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::encode::{
    bad, from_amount, from_word, json, json_opt, name, text, time, time_opt, word,
};
use super::write::Statement;
use crate::model::{
    AppKey, Change, NodeName, Rejection, ReleaseId, Rollout, RolloutId, RolloutKind,
};

/// That each is now its app's last one is written with the app (`apps::patch`).
pub(super) fn put(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps) = (Vec::new(), Vec::new());
    let (mut kinds, mut rollbacks_of) = (Vec::new(), Vec::new());
    let (mut froms, mut tos) = (Vec::new(), Vec::new());
    let (mut strategies, mut replacements, mut phases) = (Vec::new(), Vec::new(), Vec::new());
    let (mut started, mut progress) = (Vec::new(), Vec::new());
    let (mut best, mut baking, mut finished) = (Vec::new(), Vec::new(), Vec::new());
    let (mut prepare, mut reasons) = (Vec::new(), Vec::new());
    let (mut outcomes, mut rejections) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::PutRollout(rollout) = change else {
            continue;
        };
        ids.push(rollout.id.0);
        apps.push(rollout.app.to_string());
        let (kind, of) = match rollout.kind {
            RolloutKind::Forward => ("forward", None),
            RolloutKind::Rollback { of } => ("rollback", of.map(|id| id.0)),
            RolloutKind::Restart => ("restart", None),
        };
        kinds.push(kind);
        rollbacks_of.push(of);
        froms.push(rollout.from.map(|id| id.0));
        tos.push(rollout.to.0);
        strategies.push(word(&rollout.strategy)?);
        replacements.push(word(&rollout.order)?);
        phases.push(word(&rollout.phase)?);
        started.push(time(rollout.started_at));
        progress.push(time(rollout.progress_at));
        best.push(i64::from(rollout.best_healthy));
        baking.push(time_opt(rollout.baking_since));
        finished.push(time_opt(rollout.finished_at));
        prepare.push(json(&rollout.prepare)?);
        reasons.push(text(&rollout.reason));
        outcomes.push(rollout.outcome.as_deref().map(text));
        rejections.push(json_opt(rollout.rejection.as_ref())?);
    }
    Ok(sqlx::query(
        "INSERT INTO rollouts (id, app, kind, rollback_of, from_release, to_release, strategy,
             replacement, phase, started_at, progress_at, best_healthy, baking_at, finished_at,
             prepare, reason, outcome, rejection)
         SELECT id, app, kind, rollback_of, from_release, to_release, strategy, replacement,
             phase, started_at, progress_at, best_healthy, baking_at, finished_at,
             prepare::json, reason, outcome, rejection::jsonb
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[],
             $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[],
             $12::bigint[], $13::timestamptz[], $14::timestamptz[], $15::text[], $16::text[],
             $17::text[], $18::text[])
             AS u(id, app, kind, rollback_of, from_release, to_release, strategy, replacement,
                 phase, started_at, progress_at, best_healthy, baking_at, finished_at, prepare,
                 reason, outcome, rejection)
         ON CONFLICT (id) DO UPDATE SET
             kind = excluded.kind, rollback_of = excluded.rollback_of,
             from_release = excluded.from_release, to_release = excluded.to_release,
             strategy = excluded.strategy, replacement = excluded.replacement,
             phase = excluded.phase, started_at = excluded.started_at,
             progress_at = excluded.progress_at, best_healthy = excluded.best_healthy,
             baking_at = excluded.baking_at, finished_at = excluded.finished_at,
             prepare = excluded.prepare, reason = excluded.reason,
             outcome = excluded.outcome, rejection = excluded.rejection
         WHERE rollouts.app = excluded.app",
    )
    .bind(ids)
    .bind(apps)
    .bind(kinds)
    .bind(rollbacks_of)
    .bind(froms)
    .bind(tos)
    .bind(strategies)
    .bind(replacements)
    .bind(phases)
    .bind(started)
    .bind(progress)
    .bind(best)
    .bind(baking)
    .bind(finished)
    .bind(prepare)
    .bind(reasons)
    .bind(outcomes)
    .bind(rejections))
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    app: String,
    kind: String,
    rollback_of: Option<Uuid>,
    from_release: Option<Uuid>,
    to_release: Uuid,
    strategy: String,
    replacement: String,
    phase: String,
    started_at: DateTime<Utc>,
    progress_at: DateTime<Utc>,
    best_healthy: i64,
    baking_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    prepare: Json<BTreeSet<NodeName>>,
    reason: String,
    outcome: Option<String>,
    rejection: Option<Json<Rejection>>,
}

impl TryFrom<Row> for Rollout {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Rollout, sqlx::Error> {
        let of = row.rollback_of.map(RolloutId);
        Ok(Rollout {
            id: RolloutId(row.id),
            app: name("rollouts.app", &row.app)?,
            kind: match row.kind.as_str() {
                "forward" => RolloutKind::Forward,
                "rollback" => RolloutKind::Rollback { of },
                "restart" => RolloutKind::Restart,
                other => return Err(bad("rollouts.kind", other)),
            },
            from: row.from_release.map(ReleaseId),
            to: ReleaseId(row.to_release),
            strategy: from_word("rollouts.strategy", row.strategy)?,
            order: from_word("rollouts.replacement", row.replacement)?,
            phase: from_word("rollouts.phase", row.phase)?,
            started_at: row.started_at.into(),
            progress_at: row.progress_at.into(),
            best_healthy: from_amount("rollouts.best_healthy", row.best_healthy)?,
            baking_since: row.baking_at.map(Into::into),
            finished_at: row.finished_at.map(Into::into),
            prepare: row.prepare.0,
            reason: row.reason,
            outcome: row.outcome,
            rejection: row.rejection.map(|r| r.0),
        })
    }
}

/// The last or active one of every app.
pub(super) async fn last_of_all(conn: &mut PgConnection) -> sqlx::Result<Vec<Rollout>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT r.id, r.app, r.kind, r.rollback_of, r.from_release, r.to_release, r.strategy,
             r.replacement, r.phase, r.started_at, r.progress_at, r.best_healthy, r.baking_at,
             r.finished_at, r.prepare, r.reason, r.outcome, r.rejection
         FROM apps JOIN rollouts r ON r.id = apps.rollout",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Rollout::try_from).collect()
}

pub(super) async fn newest(
    conn: &mut PgConnection,
    app: &AppKey,
    after: Option<RolloutId>,
    limit: i64,
) -> sqlx::Result<Vec<Rollout>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, app, kind, rollback_of, from_release, to_release, strategy, replacement,
             phase, started_at, progress_at, best_healthy, baking_at, finished_at, prepare,
             reason, outcome, rejection
         FROM rollouts WHERE app = $1 AND ($3::uuid IS NULL OR number < (
             SELECT number FROM rollouts WHERE app = $1 AND id = $3))
         ORDER BY number DESC LIMIT $2",
    )
    .bind(app.to_string())
    .bind(limit)
    .bind(after.map(|id| id.0))
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Rollout::try_from).collect()
}
