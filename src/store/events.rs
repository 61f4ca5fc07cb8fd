//! Rows of `events`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::types::Json;
use uuid::Uuid;

use super::encode::{bad, json, name, text, time};
use super::read::page;
use super::{Error, Store};
use crate::model::{
    Actor, AppKey, CommitId, Event, EventKind, Generation, InstanceId, NodeName, ProjectName,
    RolloutId, SourceName,
};

/// Filters are combined with "and". With `after_id` the oldest events above it
/// come first (following); without, the newest first (paging back with `before_id`).
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    pub after_id: Option<i64>,
    pub before_id: Option<i64>,
    pub app: Option<AppKey>,
    pub source: Option<SourceName>,
    pub kind: Option<EventKind>,
    /// What the reader may see; `None`: everything.
    pub seen: Option<Seen>,
    /// At most [`super::MAX_PAGE`]; 0 means that.
    pub limit: u32,
}

/// What an operator acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    App(AppKey),
    Source(SourceName),
    Node(NodeName),
}

/// Events of apps of these projects, and those of these sources that are of no app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub projects: BTreeSet<ProjectName>,
    pub sources: BTreeSet<SourceName>,
}

impl Seen {
    pub fn contains(&self, event: &Event) -> bool {
        match (&event.app, &event.source) {
            (Some(app), _) => self.projects.contains(&app.project),
            (None, Some(source)) => self.sources.contains(source),
            (None, None) => false,
        }
    }
}

/// Ids in the order of `events`. Commits are serialised by the cluster's row, so ids
/// also grow in the order in which events become visible.
pub(super) fn add<'a>(
    generation: Generation,
    cause: &str,
    events: &'a [Event],
) -> sqlx::Result<QueryScalar<'a, Postgres, i64, PgArguments>> {
    let (mut ats, mut actors, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    let (mut apps, mut sources, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rollouts, mut instances, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut messages, mut details) = (Vec::new(), Vec::new());
    for event in events {
        ats.push(time(event.at));
        actors.push(text(&String::from(event.actor.clone())));
        kinds.push(event.kind.as_str());
        apps.push(event.app.as_ref().map(AppKey::to_string));
        sources.push(event.source.as_ref().map(SourceName::as_str));
        commits.push(event.commit.as_ref().map(|c| c.0.as_str()));
        rollouts.push(event.rollout.map(|r| r.0));
        instances.push(event.instance.map(|i| i.0));
        nodes.push(event.node.as_ref().map(|n| n.as_str()));
        messages.push(text(&event.message));
        details.push(match &event.detail {
            Value::Null => None,
            detail => Some(json(detail)?),
        });
    }
    Ok(sqlx::query_scalar(
        "INSERT INTO events (generation, cause, at, actor, kind, app, source, commit, rollout,
             instance, node, message, detail)
         SELECT $1, $2, at, actor, kind, app, source, commit, rollout, instance, node, message,
             detail::jsonb
         FROM unnest($3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::text[], $9::uuid[], $10::uuid[], $11::text[], $12::text[], $13::text[])
             WITH ORDINALITY
             AS u(at, actor, kind, app, source, commit, rollout, instance, node, message, detail,
                 position)
         ORDER BY position
         RETURNING id",
    )
    .bind(generation.0)
    .bind(text(cause))
    .bind(ats)
    .bind(actors)
    .bind(kinds)
    .bind(apps)
    .bind(sources)
    .bind(commits)
    .bind(rollouts)
    .bind(instances)
    .bind(nodes)
    .bind(messages)
    .bind(details))
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    at: DateTime<Utc>,
    actor: String,
    kind: String,
    app: Option<String>,
    source: Option<String>,
    commit: Option<String>,
    rollout: Option<Uuid>,
    instance: Option<Uuid>,
    node: Option<String>,
    message: String,
    detail: Option<Json<Value>>,
}

impl TryFrom<Row> for Event {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Event, sqlx::Error> {
        Ok(Event {
            id: row.id,
            at: row.at.into(),
            actor: Actor::try_from(row.actor).map_err(|e| bad("events.actor", e))?,
            kind: name("events.kind", &row.kind)?,
            app: row.app.map(|a| name("events.app", &a)).transpose()?,
            source: row.source.map(|s| name("events.source", &s)).transpose()?,
            commit: row.commit.map(CommitId),
            rollout: row.rollout.map(RolloutId),
            instance: row.instance.map(InstanceId),
            node: row.node.map(|n| name("events.node", &n)).transpose()?,
            message: row.message,
            detail: row.detail.map_or(Value::Null, |d| d.0),
        })
    }
}

/// Adds the query's conditions to a `WHERE`.
fn narrow(sql: &mut sqlx::QueryBuilder<sqlx::Postgres>, query: &EventQuery) {
    if let Some(id) = query.after_id {
        sql.push(" AND id > ").push_bind(id);
    }
    if let Some(id) = query.before_id {
        sql.push(" AND id < ").push_bind(id);
    }
    if let Some(app) = &query.app {
        sql.push(" AND app = ").push_bind(app.to_string());
    }
    if let Some(source) = &query.source {
        sql.push(" AND source = ").push_bind(source.to_string());
    }
    if let Some(kind) = query.kind {
        sql.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(seen) = &query.seen {
        let projects: Vec<String> = seen.projects.iter().map(|p| p.to_string()).collect();
        let sources: Vec<String> = seen.sources.iter().map(|s| s.to_string()).collect();
        sql.push(" AND (split_part(app, '/', 1) = ANY(")
            .push_bind(projects)
            .push(") OR (app IS NULL AND source = ANY(")
            .push_bind(sources)
            .push(")))");
    }
}

impl Store {
    /// The last thing that an operator or a commit did to `subject` by a change of the state
    /// after generation `after`. What follows by itself is not counted, nor a command inside an
    /// instance: it changes nothing that anybody looks at.
    pub async fn last_act(
        &self,
        subject: &Subject,
        after: Generation,
    ) -> Result<Option<Event>, Error> {
        self.read("last act", async |conn| {
            let mut sql = sqlx::QueryBuilder::new(
                "SELECT id, at, actor, kind, app, source, commit, rollout, instance, node,
                     message, detail FROM events
                 WHERE (starts_with(actor, 'user:') OR starts_with(actor, 'git:'))
                     AND kind <> ",
            );
            sql.push_bind(EventKind::InstanceExec.as_str());
            sql.push(" AND generation > ").push_bind(after.0);
            match subject {
                Subject::App(app) => sql.push(" AND app = ").push_bind(app.to_string()),
                Subject::Source(source) => sql
                    .push(" AND app IS NULL AND source = ")
                    .push_bind(source.to_string()),
                Subject::Node(node) => sql
                    .push(" AND app IS NULL AND node = ")
                    .push_bind(node.to_string()),
            };
            sql.push(" ORDER BY id DESC LIMIT 1");
            let row: Option<Row> = sql.build_query_as().fetch_optional(conn).await?;
            row.map(Event::try_from).transpose()
        })
        .await
    }

    /// Ids of the oldest and the newest event that are kept; `None`: there are none.
    pub async fn events_kept(&self) -> Result<Option<(i64, i64)>, Error> {
        self.read("events kept", async |conn| {
            let (oldest, newest): (Option<i64>, Option<i64>) =
                sqlx::query_as("SELECT min(id), max(id) FROM events")
                    .fetch_one(conn)
                    .await?;
            Ok(oldest.zip(newest))
        })
        .await
    }

    /// Whether more than `many` events match.
    pub async fn more_events_than(&self, many: u32, query: &EventQuery) -> Result<bool, Error> {
        self.read("more events than", async |conn| {
            let mut sql = sqlx::QueryBuilder::new("SELECT id FROM events WHERE true");
            narrow(&mut sql, query);
            sql.push(" OFFSET ")
                .push_bind(i64::from(many))
                .push(" LIMIT 1");
            let found: Option<i64> = sql.build_query_scalar().fetch_optional(conn).await?;
            Ok(found.is_some())
        })
        .await
    }

    pub async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, Error> {
        self.read("events", async |conn| {
            let mut sql = sqlx::QueryBuilder::new(
                "SELECT id, at, actor, kind, app, source, commit, rollout, instance, node,
                     message, detail FROM events WHERE true",
            );
            narrow(&mut sql, query);
            sql.push(match query.after_id {
                Some(_) => " ORDER BY id LIMIT ",
                None => " ORDER BY id DESC LIMIT ",
            })
            .push_bind(page(query.limit));
            let rows: Vec<Row> = sql.build_query_as().fetch_all(conn).await?;
            rows.into_iter().map(Event::try_from).collect()
        })
        .await
    }
}
