//! Rows of `instances`, and of `homes`, where their volumes are. The controller's columns and the node's word (`status`)
//! are written by different statements, so neither can undo the other.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::encode::{amount, bad, from_amount, json, json_opt, name, text, time};
use super::write::Statement;
use crate::model::quantity::Resources;
use crate::model::spec::Protocol;
use crate::model::{
    AppKey, Change, Goal, Instance, InstanceId, InstanceStatus, NodeName, ReleaseId, WorkloadDigest,
};

type GoalColumns = (&'static str, Option<DateTime<Utc>>, Option<String>);

fn goal_columns(goal: &Goal) -> GoalColumns {
    match goal {
        Goal::Run => ("run", None, None),
        Goal::Stop { at, reason } => ("stop", Some(time(*at)), Some(text(reason))),
    }
}

pub(super) fn add(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    let (mut releases, mut workloads, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut created, mut reasons) = (Vec::new(), Vec::new());
    let (mut cpus, mut memories) = (Vec::new(), Vec::new());
    let (mut ports, mut volumes) = (Vec::new(), Vec::new());
    let (mut goals, mut stop_ats, mut stop_reasons) = (Vec::new(), Vec::new(), Vec::new());
    let (mut statuses, mut incarnations) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::AddInstance(instance) = change else {
            continue;
        };
        ids.push(instance.id.0);
        apps.push(instance.app.to_string());
        slots.push(i64::from(instance.slot));
        releases.push(instance.release.0);
        workloads.push(instance.workload.0.as_str());
        incarnations.push(amount(instance.incarnation));
        nodes.push(instance.node.as_str());
        created.push(time(instance.created_at));
        reasons.push(text(&instance.reason));
        cpus.push(amount(instance.requests.cpu_millis));
        memories.push(amount(instance.requests.memory_bytes));
        ports.push(json(&instance.host_ports)?);
        volumes.push(json(&instance.volumes)?);
        let (goal, at, reason) = goal_columns(&instance.goal);
        goals.push(goal);
        stop_ats.push(at);
        stop_reasons.push(reason);
        statuses.push(json_opt(instance.status.as_ref())?);
    }
    Ok(sqlx::query(
        "INSERT INTO instances (id, app, slot, release, workload_digest, node, created_at, reason,
             cpu_millis, memory_bytes, host_ports, volumes, goal, stop_at, stop_reason, status,
             incarnation)
         SELECT id, app, slot, release, workload_digest, node, created_at, reason, cpu_millis,
             memory_bytes, host_ports::json, volumes::json, goal, stop_at, stop_reason,
             status::json, incarnation
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::text[],
             $7::timestamptz[], $8::text[], $9::bigint[], $10::bigint[], $11::text[],
             $12::text[], $13::text[], $14::timestamptz[], $15::text[], $16::text[], $17::bigint[])
             AS u(id, app, slot, release, workload_digest, node, created_at, reason, cpu_millis,
                 memory_bytes, host_ports, volumes, goal, stop_at, stop_reason, status,
                 incarnation)",
    )
    .bind(ids)
    .bind(apps)
    .bind(slots)
    .bind(releases)
    .bind(workloads)
    .bind(nodes)
    .bind(created)
    .bind(reasons)
    .bind(cpus)
    .bind(memories)
    .bind(ports)
    .bind(volumes)
    .bind(goals)
    .bind(stop_ats)
    .bind(stop_reasons)
    .bind(statuses)
    .bind(incarnations))
}

pub(super) fn set_goal(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps) = (Vec::new(), Vec::new());
    let (mut goals, mut ats, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let Change::SetGoal {
            app,
            instance,
            goal,
        } = change
        else {
            continue;
        };
        ids.push(instance.0);
        apps.push(app.to_string());
        let (goal, at, reason) = goal_columns(goal);
        goals.push(goal);
        ats.push(at);
        reasons.push(reason);
    }
    Ok(sqlx::query(
        "UPDATE instances SET goal = u.goal, stop_at = u.at, stop_reason = u.reason
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
             AS u(id, app, goal, at, reason)
         WHERE instances.id = u.id AND instances.app = u.app",
    )
    .bind(ids)
    .bind(apps)
    .bind(goals)
    .bind(ats)
    .bind(reasons))
}

pub(super) fn set_requests(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps) = (Vec::new(), Vec::new());
    let (mut cpus, mut memories) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::SetRequests {
            app,
            instance,
            requests,
        } = change
        else {
            continue;
        };
        ids.push(instance.0);
        apps.push(app.to_string());
        cpus.push(amount(requests.cpu_millis));
        memories.push(amount(requests.memory_bytes));
    }
    Ok(sqlx::query(
        "UPDATE instances SET cpu_millis = u.cpu_millis, memory_bytes = u.memory_bytes
         FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[])
             AS u(id, app, cpu_millis, memory_bytes)
         WHERE instances.id = u.id AND instances.app = u.app",
    )
    .bind(ids)
    .bind(apps)
    .bind(cpus)
    .bind(memories))
}

pub(super) fn set_home(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut apps, mut slots, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let Change::SetHome { app, slot, node } = change else {
            continue;
        };
        apps.push(app.to_string());
        slots.push(i64::from(*slot));
        nodes.push(node.as_str());
    }
    Ok(sqlx::query(
        "INSERT INTO homes (app, slot, node)
         SELECT app, slot, node
         FROM unnest($1::text[], $2::bigint[], $3::text[]) AS u(app, slot, node)
         ON CONFLICT (app, slot) DO UPDATE SET node = excluded.node",
    )
    .bind(apps)
    .bind(slots)
    .bind(nodes))
}

pub(super) fn observe(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps, mut statuses) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let Change::Observe {
            app,
            instance,
            status,
        } = change
        else {
            continue;
        };
        ids.push(instance.0);
        apps.push(app.to_string());
        statuses.push(json(&**status)?);
    }
    Ok(sqlx::query(
        "UPDATE instances SET status = u.status::json
         FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u(id, app, status)
         WHERE instances.id = u.id AND instances.app = u.app",
    )
    .bind(ids)
    .bind(apps)
    .bind(statuses))
}

pub(super) fn forget(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut ids, mut apps) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::ForgetInstance { app, instance } = change else {
            continue;
        };
        ids.push(instance.0);
        apps.push(app.to_string());
    }
    Ok(sqlx::query(
        "DELETE FROM instances USING unnest($1::uuid[], $2::text[]) AS u(id, app)
         WHERE instances.id = u.id AND instances.app = u.app",
    )
    .bind(ids)
    .bind(apps))
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    app: String,
    slot: i64,
    release: Uuid,
    workload_digest: String,
    node: String,
    created_at: DateTime<Utc>,
    reason: String,
    cpu_millis: i64,
    memory_bytes: i64,
    host_ports: Json<Vec<(u16, Protocol)>>,
    volumes: Json<Vec<String>>,
    goal: String,
    stop_at: Option<DateTime<Utc>>,
    stop_reason: Option<String>,
    status: Option<Json<InstanceStatus>>,
    incarnation: i64,
}

impl TryFrom<Row> for Instance {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Instance, sqlx::Error> {
        let app: AppKey = name("instances.app", &row.app)?;
        Ok(Instance {
            id: InstanceId(row.id),
            app,
            slot: from_amount("instances.slot", row.slot)?,
            release: ReleaseId(row.release),
            workload: WorkloadDigest(row.workload_digest),
            incarnation: from_amount("instances.incarnation", row.incarnation)?,
            node: name("instances.node", &row.node)?,
            created_at: row.created_at.into(),
            reason: row.reason,
            requests: Resources {
                cpu_millis: from_amount("instances.cpu_millis", row.cpu_millis)?,
                memory_bytes: from_amount("instances.memory_bytes", row.memory_bytes)?,
            },
            host_ports: row.host_ports.0,
            volumes: row.volumes.0,
            goal: match (row.goal.as_str(), row.stop_at, row.stop_reason) {
                ("run", None, None) => Goal::Run,
                ("stop", Some(at), Some(reason)) => Goal::Stop {
                    at: at.into(),
                    reason,
                },
                _ => return Err(bad("instances.goal", row.goal)),
            },
            status: row.status.map(|s| s.0),
        })
    }
}

pub(super) async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<Instance>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, app, slot, release, workload_digest, node, created_at, reason, cpu_millis,
             memory_bytes, host_ports, volumes, goal, stop_at, stop_reason, status,
             incarnation
         FROM instances",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Instance::try_from).collect()
}

pub(super) async fn all_homes(
    conn: &mut PgConnection,
) -> sqlx::Result<Vec<(AppKey, u32, NodeName)>> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as("SELECT app, slot, node FROM homes")
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|(app, slot, node)| {
            Ok((
                name("homes.app", &app)?,
                from_amount("homes.slot", slot)?,
                name("homes.node", &node)?,
            ))
        })
        .collect()
}
