//! Rows of `nodes` and `node_images`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::encode::{amount, from_amount, from_word, json, json_opt, name, text, time, word};
use super::write::{Statement, Step};
use crate::model::quantity::Resources;
use crate::model::{Change, ImageState, Node, NodeFacts, NodeName, SchedulingNote};

/// Replaces what was known of their images, too.
pub(super) fn put<'a>(changes: &[&Change]) -> sqlx::Result<Vec<Step<'a>>> {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let (mut cpus, mut memories, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut versions, mut schedulings) = (Vec::new(), Vec::new());
    let (mut livenesses, mut heard, mut registered) = (Vec::new(), Vec::new(), Vec::new());
    let mut notes = Vec::new();
    let mut images = Images::default();
    for change in changes {
        let Change::PutNode(node) = change else {
            continue;
        };
        names.push(node.name.as_str());
        addresses.push(text(&node.facts.address));
        cpus.push(amount(node.facts.capacity.cpu_millis));
        memories.push(amount(node.facts.capacity.memory_bytes));
        attributes.push(json(&node.facts.attributes)?);
        versions.push(text(&node.facts.agent_version));
        schedulings.push(word(&node.scheduling)?);
        notes.push(json_opt(node.scheduling_note.as_ref())?);
        livenesses.push(word(&node.liveness)?);
        heard.push(time(node.last_heard));
        registered.push(time(node.registered_at));
        for (image, state) in &node.images {
            images.push(&node.name, image, state)?;
        }
    }
    let put = sqlx::query(
        "INSERT INTO nodes (name, address, cpu_millis, memory_bytes, attributes, agent_version,
             scheduling, liveness, heard_at, registered_at, scheduling_note)
         SELECT name, address, cpu_millis, memory_bytes, attributes::jsonb, agent_version,
             scheduling, liveness, heard_at, registered_at, note::jsonb
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
             $7::text[], $8::text[], $9::timestamptz[], $10::timestamptz[],
             $11::text[])
             AS u(name, address, cpu_millis, memory_bytes, attributes, agent_version, scheduling,
                 liveness, heard_at, registered_at, note)
         ON CONFLICT (name) DO UPDATE SET
             address = excluded.address, cpu_millis = excluded.cpu_millis,
             memory_bytes = excluded.memory_bytes, attributes = excluded.attributes,
             agent_version = excluded.agent_version, scheduling = excluded.scheduling,
             liveness = excluded.liveness, heard_at = excluded.heard_at,
             registered_at = excluded.registered_at,
             scheduling_note = excluded.scheduling_note",
    )
    .bind(&names)
    .bind(addresses)
    .bind(cpus)
    .bind(memories)
    .bind(attributes)
    .bind(versions)
    .bind(schedulings)
    .bind(livenesses)
    .bind(heard)
    .bind(registered)
    .bind(notes);
    let forget = sqlx::query("DELETE FROM node_images WHERE node = ANY($1)").bind(&names);
    let mut steps = vec![Step::exactly(changes.len(), put), Step::any(forget)];
    if !images.nodes.is_empty() {
        steps.push(Step::any(images.put()));
    }
    Ok(steps)
}

#[derive(Default)]
struct Images {
    nodes: Vec<String>,
    images: Vec<String>,
    states: Vec<String>,
}

impl Images {
    fn push(&mut self, node: &NodeName, image: &str, state: &ImageState) -> sqlx::Result<()> {
        self.nodes.push(node.to_string());
        self.images.push(text(image));
        self.states.push(json(state)?);
        Ok(())
    }

    fn put(self) -> Statement {
        sqlx::query(
            "INSERT INTO node_images (node, image, state)
             SELECT node, image, state::jsonb
             FROM unnest($1::text[], $2::text[], $3::text[]) AS u(node, image, state)
             ON CONFLICT (node, image) DO UPDATE SET state = excluded.state",
        )
        .bind(self.nodes)
        .bind(self.images)
        .bind(self.states)
    }
}

pub(super) fn put_images(changes: &[&Change]) -> sqlx::Result<Statement> {
    let mut images = Images::default();
    for change in changes {
        if let Change::SetImage {
            node,
            image,
            state: Some(state),
        } = change
        {
            images.push(node, image, state)?;
        }
    }
    Ok(images.put())
}

pub(super) fn drop_images(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut nodes, mut images) = (Vec::new(), Vec::new());
    for change in changes {
        let Change::SetImage { node, image, .. } = change else {
            continue;
        };
        nodes.push(node.as_str());
        images.push(text(image));
    }
    Ok(sqlx::query(
        "DELETE FROM node_images USING unnest($1::text[], $2::text[]) AS u(node, image)
         WHERE node_images.node = u.node AND node_images.image = u.image",
    )
    .bind(nodes)
    .bind(images))
}

pub(super) fn set_liveness(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut names, mut livenesses, mut heard) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let Change::SetLiveness {
            node,
            liveness,
            last_heard,
        } = change
        else {
            continue;
        };
        names.push(node.as_str());
        livenesses.push(word(liveness)?);
        heard.push(time(*last_heard));
    }
    Ok(sqlx::query(
        "UPDATE nodes SET liveness = u.liveness, heard_at = u.heard_at
         FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS u(name, liveness, heard_at)
         WHERE nodes.name = u.name",
    )
    .bind(names)
    .bind(livenesses)
    .bind(heard))
}

pub(super) fn set_scheduling(changes: &[&Change]) -> sqlx::Result<Statement> {
    let (mut names, mut schedulings, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let Change::SetScheduling {
            node,
            scheduling,
            note,
        } = change
        else {
            continue;
        };
        notes.push(json_opt(note.as_ref())?);
        names.push(node.as_str());
        schedulings.push(word(scheduling)?);
    }
    Ok(sqlx::query(
        "UPDATE nodes SET scheduling = u.scheduling, scheduling_note = u.note::jsonb
         FROM unnest($1::text[], $2::text[], $3::text[]) AS u(name, scheduling, note)
         WHERE nodes.name = u.name",
    )
    .bind(names)
    .bind(schedulings)
    .bind(notes))
}

pub(super) fn remove(changes: &[&Change]) -> sqlx::Result<Statement> {
    let mut names = Vec::new();
    for change in changes {
        let Change::RemoveNode { node } = change else {
            continue;
        };
        names.push(node.as_str());
    }
    Ok(sqlx::query("DELETE FROM nodes WHERE name = ANY($1)").bind(names))
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    address: String,
    cpu_millis: i64,
    memory_bytes: i64,
    attributes: Json<BTreeMap<String, String>>,
    agent_version: String,
    scheduling: String,
    liveness: String,
    heard_at: DateTime<Utc>,
    registered_at: DateTime<Utc>,
    scheduling_note: Option<Json<SchedulingNote>>,
}

impl TryFrom<Row> for Node {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Node, sqlx::Error> {
        Ok(Node {
            name: name("nodes.name", &row.name)?,
            facts: NodeFacts {
                address: row.address,
                capacity: Resources {
                    cpu_millis: from_amount("nodes.cpu_millis", row.cpu_millis)?,
                    memory_bytes: from_amount("nodes.memory_bytes", row.memory_bytes)?,
                },
                attributes: row.attributes.0,
                agent_version: row.agent_version,
            },
            scheduling: from_word("nodes.scheduling", row.scheduling)?,
            scheduling_note: row.scheduling_note.map(|n| n.0),
            liveness: from_word("nodes.liveness", row.liveness)?,
            last_heard: row.heard_at.into(),
            registered_at: row.registered_at.into(),
            images: BTreeMap::new(),
        })
    }
}

/// With their images.
pub(super) async fn all(conn: &mut PgConnection) -> sqlx::Result<BTreeMap<NodeName, Node>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT name, address, cpu_millis, memory_bytes, attributes, agent_version, scheduling,
             liveness, heard_at, registered_at, scheduling_note FROM nodes",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut nodes = BTreeMap::new();
    for row in rows {
        let node = Node::try_from(row)?;
        nodes.insert(node.name.clone(), node);
    }
    let images: Vec<(String, String, Json<ImageState>)> =
        sqlx::query_as("SELECT node, image, state FROM node_images")
            .fetch_all(conn)
            .await?;
    for (node, image, state) in images {
        if let Some(node) = nodes.get_mut(&name::<NodeName>("node_images.node", &node)?) {
            node.images.insert(image, state.0);
        }
    }
    Ok(nodes)
}
