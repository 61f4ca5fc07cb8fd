//! What a run ends with, without what differs anyway: ids, times, generations.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::life::{Layout, PULL, World};

/// Topic → what holds of it.
pub type End = BTreeMap<&'static str, Value>;

/// Events that follow from what was done. Not those about who leads and which node is seen:
/// a process that comes back tells those again.
const TOLD: [&str; 5] = ["app.", "rollout.", "release.", "instance.", "source."];

/// How often these are told depends on when somebody looked, with or without a crash.
const BY_TIMING: [&str; 3] = ["rollout.progress", "instance.ready", "instance.unready"];

pub async fn read(world: &World) -> Result<End, String> {
    let app = world.ask("projects/shop/apps/web").await?;
    let instances = app["instances"].as_array().cloned().unwrap_or_default();
    let mut instances: Vec<Value> = instances
        .iter()
        .map(|i| {
            json!([
                i["slot"],
                i["node"],
                i["commit"],
                i["phase"],
                i["ready"],
                i["restarts"]
            ])
        })
        .collect();
    instances.sort_by_key(Value::to_string);
    let mut end = End::from([
        (
            "app",
            json!({
                "sync": app["sync"], "health": app["health"], "git": app["git"]["commit"],
                "running": app["running"]["commit"], "replicas": app["replicas"],
                "rejected": [app["rejected"]["commit"], app["rejected"]["verdict"],
                    app["rejected"]["evidence"]["lastExit"]["code"]],
                "problems": app["problems"],
            }),
        ),
        ("instances", json!(instances)),
        (
            "rollouts",
            list(world, "projects/shop/apps/web/rollouts", |r| {
                json!([
                    r["kind"],
                    r["phase"],
                    r["from"]["commit"],
                    r["to"]["commit"]
                ])
            })
            .await?,
        ),
        (
            "releases",
            list(world, "projects/shop/apps/web/releases", |r| {
                json!([r["number"], r["commit"], r["state"], r["current"]])
            })
            .await?,
        ),
        (
            "commits",
            list(world, "sources/repo/commits", |c| {
                json!([c["id"], c["valid"], c["problemCount"]])
            })
            .await?,
        ),
        ("events", events(world).await?),
    ]);
    let source = world.ask("sources/repo").await?;
    end.insert(
        "source",
        json!([source["state"], source["lastApplied"], source["problems"]]),
    );
    let last = |commit: &String| world.forge.verdict(commit);
    end.insert(
        "told",
        world.commits.iter().map(|c| json!([c, last(c)])).collect(),
    );
    let proposal = world.proposal.as_deref().unwrap_or_default();
    let comment = world.forge.comment(PULL).unwrap_or_default();
    end.insert(
        "pull request",
        json!([
            world.forge.state(proposal),
            comment.lines().last(),
            pulls_kept(world)
        ]),
    );
    match &world.watch {
        Some(watch) => {
            end.insert("done", json!(watch.counts().await));
            end.insert("containers", json!(watch.containers().await));
        }
        None => {
            end.insert("done", diary(&world.diary()));
            end.insert("folders", folders(world));
        }
    }
    for value in end.values_mut() {
        *value = named(world, value);
    }
    Ok(end)
}

/// Commits by their place in the script.
fn named(world: &World, value: &Value) -> Value {
    let mut text = value.to_string();
    for (index, commit) in world.commits.iter().enumerate() {
        text = text.replace(commit.as_str(), &format!("commit {index}"));
    }
    serde_json::from_str(&text).unwrap()
}

async fn list(world: &World, path: &str, view: impl Fn(&Value) -> Value) -> Result<Value, String> {
    let page = world.ask(path).await?;
    let items = page["items"].as_array().ok_or_else(|| page.to_string())?;
    Ok(items.iter().map(view).collect())
}

async fn events(world: &World) -> Result<Value, String> {
    let page = world.ask("events?limit=1000").await?;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for event in page["items"].as_array().into_iter().flatten() {
        let kind = event["kind"].as_str().unwrap_or_default();
        if TOLD.iter().any(|start| kind.starts_with(start)) && !BY_TIMING.contains(&kind) {
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
    }
    Ok(json!(counts))
}

/// What the processes themselves wrote down: how often each was started and asked to end,
/// and by how many instances.
fn diary(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut counts: BTreeMap<String, (u32, Vec<&str>)> = BTreeMap::new();
    for line in text.lines() {
        let (what, instance) = line.rsplit_once(' ').unwrap_or((line, ""));
        let (count, instances) = counts.entry(what.to_owned()).or_default();
        *count += 1;
        if !instances.contains(&instance) {
            instances.push(instance);
        }
    }
    counts
        .into_iter()
        .map(|(what, (count, instances))| json!([what, count, instances.len()]))
        .collect()
}

/// Folders of instances that are left: live ones, and what should not be there.
fn folders(world: &World) -> Value {
    let agent = match world.plan.layout {
        Layout::Together => "data/agent/processes",
        Layout::Apart => "agent/agent/processes",
    };
    let mut live = 0;
    let mut strange = Vec::new();
    let entries = std::fs::read_dir(world.dir.path().join(agent));
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            strange.push(name);
        } else if entry.path().join("launch.json").exists() {
            live += 1;
        }
    }
    json!([live, strange])
}

/// Names of pull requests' commits that are left in mirrors.
fn pulls_kept(world: &World) -> Vec<String> {
    let mut kept = Vec::new();
    let mirrors = std::fs::read_dir(world.dir.path().join("data/mirrors")).unwrap();
    for mirror in mirrors.flatten() {
        let Ok(mirror) = git2::Repository::open_bare(mirror.path()) else {
            continue;
        };
        let names = mirror.references_glob("refs/evenkeel/*").unwrap();
        kept.extend(
            names
                .flatten()
                .filter_map(|r| Some(r.name().ok()?.to_owned())),
        );
    }
    kept
}

/// As if the database had been restored from another time.
pub async fn set_epoch(database: &str, epoch: i64) {
    let mut conn = PgConnection::connect(database).await.unwrap();
    sqlx::query("UPDATE lease SET epoch = $1")
        .bind(epoch)
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
}
