//! Rows of `apps`: what Git declares of an app, and what was decided of it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::encode::{amount, from_amount, json, json_opt, name, text, time};
use super::schedule::AppPatch;
use super::write::Statement;
use crate::model::{
    App, AppKey, AppSpec, Change, CommitId, Declared, Invalid, ReleaseId, RolloutId, Scale,
    SpecDigest, Suspension,
};

/// Counts itself in the app's version, so that what is only declared is written once.
pub(super) fn declare(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut keys, mut sources, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    let (mut commits, mut digests, mut ats) = (Vec::new(), Vec::new(), Vec::new());
    let mut specs = Vec::new();
    for change in changes {
        let Change::Declare {
            app,
            source,
            path,
            declared,
        } = change
        else {
            continue;
        };
        keys.push(app.to_string());
        sources.push(source.as_str());
        paths.push(text(path));
        commits.push(declared.commit.0.as_str());
        digests.push(declared.digest.0.as_str());
        ats.push(time(declared.at));
        specs.push(json(&*declared.spec)?);
    }
    Ok(sqlx::query(
        "INSERT INTO apps (key, source, path, declared_commit, declared_digest, declared_at,
             declared_spec, version)
         SELECT key, source, path, commit, digest, at, spec::json, 1
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
             $6::timestamptz[], $7::text[]) AS u(key, source, path, commit, digest, at, spec)
         ON CONFLICT (key) DO UPDATE SET
             source = excluded.source, path = excluded.path,
             declared_commit = excluded.declared_commit,
             declared_digest = excluded.declared_digest,
             declared_at = excluded.declared_at,
             declared_spec = excluded.declared_spec,
             invalid = NULL, version = apps.version + 1",
    )
    .bind(keys)
    .bind(sources)
    .bind(paths)
    .bind(commits)
    .bind(digests)
    .bind(ats)
    .bind(specs))
}

/// The app may not exist: then nothing changes.
pub(super) fn set_invalid(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::SetInvalid { app, invalid } = change else {
            continue;
        };
        keys.push(app.to_string());
        values.push(json_opt(invalid.as_ref())?);
    }
    Ok(sqlx::query(
        "UPDATE apps SET invalid = u.invalid::jsonb, version = version + 1
         FROM unnest($1::text[], $2::text[]) AS u(key, invalid) WHERE apps.key = u.key",
    )
    .bind(keys)
    .bind(values))
}

pub(super) fn undeclare(changes: &[&Change]) -> sqlx::Result<Statement> {
    Ok(sqlx::query(
        "UPDATE apps SET declared_commit = NULL, declared_digest = NULL, declared_at = NULL,
             declared_spec = NULL, invalid = NULL
         WHERE key = ANY($1)",
    )
    .bind(keys_of(changes)))
}

/// All that belongs to them goes along.
pub(super) fn remove(changes: &[&Change]) -> sqlx::Result<Statement> {
    Ok(sqlx::query("DELETE FROM apps WHERE key = ANY($1)").bind(keys_of(changes)))
}

fn keys_of(changes: &[&Change]) -> Vec<String> {
    changes
        .iter()
        .filter_map(|c| c.app().map(AppKey::to_string))
        .collect()
}

pub(super) fn set_suspension(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::SetSuspension { app, suspension } = change else {
            continue;
        };
        keys.push(app.to_string());
        values.push(json_opt(suspension.as_ref())?);
    }
    Ok(sqlx::query(
        "UPDATE apps SET suspension = u.suspension::jsonb
         FROM unnest($1::text[], $2::text[]) AS u(key, suspension) WHERE apps.key = u.key",
    )
    .bind(keys)
    .bind(values))
}

pub(super) fn set_scale(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::SetScale { app, scale } = change else {
            continue;
        };
        keys.push(app.to_string());
        values.push(json_opt(scale.as_ref())?);
    }
    Ok(sqlx::query(
        "UPDATE apps SET scale = u.scale::jsonb
         FROM unnest($1::text[], $2::text[]) AS u(key, scale) WHERE apps.key = u.key",
    )
    .bind(keys)
    .bind(values))
}

/// Once per commit; each app must exist.
pub(super) fn patch(patches: &[(&AppKey, AppPatch)]) -> Statement {
    let (mut keys, mut steps) = (Vec::new(), Vec::new());
    let (mut targets, mut rollouts) = (Vec::new(), Vec::new());
    let mut incarnations = Vec::new();
    for (key, patch) in patches {
        keys.push(key.to_string());
        steps.push(patch.steps);
        targets.push(patch.target.map(|r| r.0));
        rollouts.push(patch.rollout.map(|r| r.0));
        incarnations.push(patch.incarnation.map(amount));
    }
    sqlx::query(
        "UPDATE apps SET version = version + u.steps, target = coalesce(u.target, apps.target),
             rollout = coalesce(u.rollout, apps.rollout),
             incarnation = coalesce(u.incarnation, apps.incarnation)
         FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::uuid[], $5::bigint[])
             AS u(key, steps, target, rollout, incarnation)
         WHERE apps.key = u.key",
    )
    .bind(keys)
    .bind(steps)
    .bind(targets)
    .bind(rollouts)
    .bind(incarnations)
}

#[derive(sqlx::FromRow)]
struct Row {
    key: String,
    source: String,
    path: String,
    declared_commit: Option<String>,
    declared_digest: Option<String>,
    declared_at: Option<DateTime<Utc>>,
    declared_spec: Option<Json<AppSpec>>,
    invalid: Option<Json<Invalid>>,
    suspension: Option<Json<Suspension>>,
    scale: Option<Json<Scale>>,
    incarnation: i64,
    target: Option<Uuid>,
    rollout: Option<Uuid>,
    version: i64,
}

/// An app's own row; what belongs to it is read from the other tables.
pub(super) struct Stored {
    pub app: App,
    /// The rollout that is its last or active one.
    pub rollout: Option<RolloutId>,
}

impl TryFrom<Row> for Stored {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Stored, sqlx::Error> {
        let mut app = App::new(
            name("apps.key", &row.key)?,
            name("apps.source", &row.source)?,
            row.path,
        );
        app.declared = match (
            row.declared_commit,
            row.declared_digest,
            row.declared_at,
            row.declared_spec,
        ) {
            (Some(commit), Some(digest), Some(at), Some(spec)) => Some(Declared {
                commit: CommitId(commit),
                digest: SpecDigest(digest),
                spec: Arc::new(spec.0),
                at: at.into(),
            }),
            // All or none: `apps_declared_whole`.
            _ => None,
        };
        app.invalid = row.invalid.map(|i| i.0);
        app.suspended = row.suspension.map(|s| s.0);
        app.scale = row.scale.map(|s| s.0);
        app.incarnation = from_amount("apps.incarnation", row.incarnation)?;
        app.target = row.target.map(ReleaseId);
        app.version = from_amount("apps.version", row.version)?;
        Ok(Stored {
            app,
            rollout: row.rollout.map(RolloutId),
        })
    }
}

pub(super) async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<Stored>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT key, source, path, declared_commit, declared_digest, declared_at, declared_spec,
             invalid, suspension, scale, incarnation, target, rollout, version FROM apps",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Stored::try_from).collect()
}
