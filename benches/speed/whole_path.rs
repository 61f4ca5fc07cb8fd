//! The whole path, with simulated agents: a commit, the plan, the commit to Postgres, what
//! each node is told, and what the nodes answer.
//!
//! Cost model: an instance costs a placement, some rows and some kilobytes to its node; a
//! node is told all of its set again with each batch of apps that touches it. So the time
//! grows as the number of instances, and a little faster while batches touch all nodes.

use std::time::Duration;

use evenkeel::model::{CommitId, Snapshot};

use crate::cluster::{Cluster, LONG};
use crate::fleet::until;
use crate::table::Figure;

const NODES: [usize; 3] = [100, 1_000, 5_000];
const PER_NODE: usize = 20;
const REPLICAS: usize = 500;
const LEAST: f64 = 2_000.0;
/// Of the time per instance, from the smallest cluster to the largest.
const GROWTH: f64 = 2.0;

const UPDATED: usize = 16;
const UPDATED_NODES: usize = 500;

pub async fn measure() -> Vec<Figure> {
    let mut rates = Vec::new();
    let mut notes = Vec::new();
    for nodes in NODES {
        let (took, note) = place(nodes).await;
        rates.push((nodes * PER_NODE) as f64 / took.as_secs_f64());
        notes.push(format!(
            "{:.1} s at {nodes} nodes ({note})",
            took.as_secs_f64()
        ));
    }
    let instances = NODES[2] * PER_NODE;
    let mut figures = vec![
        Figure::rate(
            &format!(
                "{instances} instances to {} nodes, commit to told",
                NODES[2]
            ),
            rates[2],
            LEAST,
            notes.join("; "),
        ),
        Figure::growth(
            &format!("an instance on {} nodes / on {}", NODES[2], NODES[0]),
            rates[0] / rates[2],
            GROWTH,
            "time per instance, commit to told",
        ),
    ];
    figures.extend(update().await);
    figures
}

/// An app of 500 that is healthy as soon as it runs.
fn spec(app: usize, version: usize) -> (String, String) {
    let text = format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: app-{app:04}}}
spec:
  image: registry.local/app-{app:04}:{version}
  env: {{LOG: info, DATABASE_URL: "postgres://db.local/app-{app:04}"}}
  replicas: {REPLICAS}
  resources: {{requests: {{cpu: 100m, memory: 128Mi}}}}
  ports: [{{name: http, port: 8080}}]
  health: {{readiness: {{http: {{port: http, path: /healthz}}}}}}
  rollout: {{maxSurge: 10%, minHealthyTime: 0s}}
  placement: {{constraints: [{{attribute: disk, operator: in, values: [ssd, hdd]}}]}}
"#
    );
    (format!("apps/app-{app:04}.yaml"), text)
}

fn commit(cluster: &Cluster, apps: usize, version: usize) -> CommitId {
    let files: Vec<(String, String)> = (0..apps).map(|app| spec(app, version)).collect();
    let files: Vec<(&str, Option<&str>)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    CommitId(cluster.commit(&files))
}

async fn place(nodes: usize) -> (Duration, String) {
    let cluster = Cluster::start(nodes).await;
    let instances = nodes * PER_NODE;
    commit(&cluster, instances.div_ceil(REPLICAS), 1);
    let before = cluster.cpu();
    let begun = std::time::Instant::now();
    cluster.follow().await;
    until("all to be told", LONG, || cluster.fleet.told() == instances).await;
    let took = begun.elapsed();
    let shares = shares(before, cluster.cpu());
    cluster.end().await;
    (took, shares)
}

/// Processor time, in words.
fn shares(before: [Duration; 3], after: [Duration; 3]) -> String {
    let used = |n: usize| (after[n] - before[n]).as_secs_f64();
    format!(
        "processor: Evenkeel {:.1} s, Postgres {:.1} s, agents {:.1} s",
        used(0),
        used(1),
        used(2)
    )
}

async fn update() -> Vec<Figure> {
    let cluster = Cluster::start(UPDATED_NODES).await;
    let first = commit(&cluster, UPDATED, 1);
    cluster.follow().await;
    until("the first release", LONG, || runs(&cluster, &first)).await;
    let before = cluster.cpu();
    let next = commit(&cluster, UPDATED, 2);
    let took = until("the second release", LONG, || runs(&cluster, &next)).await;
    let after = cluster.cpu();
    cluster.end().await;
    let used = |n: usize| (after[n] - before[n]).as_secs_f64();
    let all: f64 = (0..3).map(used).sum();
    let name = format!("{UPDATED} apps x {REPLICAS} updated at once, 10 % surge, 0 s start");
    vec![
        Figure::told(
            &name,
            took.as_secs_f64(),
            "s",
            format!(
                "commit to stable, {:.0} instances/s; {}",
                (UPDATED * REPLICAS) as f64 / took.as_secs_f64(),
                shares(before, after)
            ),
        ),
        Figure::told(
            "of the processor time of that, in Evenkeel",
            100.0 * used(0) / all,
            "%",
            format!("with Postgres {:.0} %", 100.0 * (used(0) + used(1)) / all),
        ),
    ]
}

/// All apps run the commit, and nothing else is left.
fn runs(cluster: &Cluster, commit: &CommitId) -> bool {
    let done = |snapshot: &Snapshot| {
        snapshot.apps.len() == UPDATED
            && snapshot.apps.values().all(|app| {
                let at = app.target_release().map(|r| &r.commit);
                at == Some(commit)
                    && app.active_rollout().is_none()
                    && app.instances.len() == REPLICAS
            })
    };
    cluster.handle.read(done).unwrap_or(false)
}
