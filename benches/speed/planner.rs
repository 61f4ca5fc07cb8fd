//! The planner alone, on one core: a whole planning run that places many instances.
//!
//! Cost model: an instance is placed twice, once while the rollout is played forward and
//! once for good, each at the logarithm of the nodes; per app and run the nodes are looked
//! at once. What is timed is all of `plan`: the releases, the rollouts, the instances,
//! their events and reasons.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::manifest::{Content, Defaults, Lookup, validate_files};
use evenkeel::model::node::{NodeFacts, RUNTIME_DOCKER};
use evenkeel::model::quantity::Resources;
use evenkeel::model::{
    AppSpec, Change, CommitId, Declared, Liveness, Node, Scheduling, Snapshot, Timestamp,
};
use evenkeel::plan::NOBODY;
use evenkeel::plan::{IdSource, PlanInput, Scope, Settings, plan};

use crate::cpu;
use crate::samples::Spread;
use crate::table::Figure;

const NODES: [usize; 3] = [100, 1_000, 5_000];
/// Per node: 50,000 instances on the largest cluster.
const PER_NODE: usize = 10;
const REPLICAS: usize = 100;
const RUNS: usize = 5;
const LEAST: f64 = 100_000.0;
/// ln 5,000 / ln 100, and a little for caches that no longer hold all.
const GROWTH: f64 = 1.85 * 1.15;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub async fn measure() -> Vec<Figure> {
    tokio::task::spawn_blocking(run).await.unwrap()
}

pub fn run() -> Vec<Figure> {
    [("spread", "spread"), ("bin packing", "binpack")]
        .into_iter()
        .flat_map(|(name, strategy)| of(name, strategy))
        .collect()
}

fn of(name: &str, strategy: &str) -> Vec<Figure> {
    let mut each = Vec::new();
    let mut walls = Vec::new();
    for nodes in NODES {
        let (cluster, instances) = cluster(nodes, strategy);
        let mut cpus = Vec::new();
        // As many on each cluster: the thread's clock is coarse.
        let times = NODES[2] / nodes;
        for run in 0..RUNS {
            let all = || (0..times).for_each(|_| place_all(&cluster, instances, run));
            let ((), wall, cpu) = cpu::of_thread(all);
            let per = |time: Duration| time.as_secs_f64() / (instances * times) as f64;
            cpus.push(per(cpu));
            walls.push(per(wall));
        }
        each.push(Spread::of(cpus).median);
        if nodes != NODES[2] {
            walls.clear();
        }
    }
    let wall = 1.0 / Spread::of(walls).median;
    let times = |sizes: &[f64]| {
        let words: Vec<String> = NODES
            .iter()
            .zip(sizes)
            .map(|(nodes, time)| format!("{:.2} us at {nodes}", time * 1e6))
            .collect();
        words.join(", ")
    };
    let instances = NODES[2] * PER_NODE;
    vec![
        Figure::rate(
            &format!("planner, {instances} on {} nodes, {name}", NODES[2]),
            1.0 / each[2],
            LEAST,
            format!("of the thread's time, median of {RUNS}; {wall:.0}/s by the wall clock"),
        ),
        Figure::growth(
            &format!(
                "a placement at {} nodes / at {}, {name}",
                NODES[2], NODES[0]
            ),
            each[2] / each[0],
            GROWTH,
            times(&each),
        ),
    ]
}

fn place_all(cluster: &Snapshot, instances: usize, run: usize) {
    let settings = Settings::default();
    let input = PlanInput {
        now: NOW,
        since: Timestamp(0),
        heard: &NOBODY,
        snapshot: cluster,
        scope: Scope::All,
        settings: &settings,
    };
    let plan = plan(&input, &mut IdSource::new(run as u64));
    let placed = plan
        .changes
        .iter()
        .filter(|change| matches!(change, Change::AddInstance(_)))
        .count();
    assert_eq!(placed, instances, "all are placed");
}

/// Nodes of three kinds in 20 zones, and apps that are declared and run nowhere yet.
fn cluster(nodes: usize, strategy: &str) -> (Snapshot, usize) {
    let mut cluster = Snapshot::default();
    for number in 0..nodes {
        cluster
            .apply(&Change::PutNode(Box::new(node(number))))
            .unwrap();
    }
    let instances = nodes * PER_NODE;
    for app in 0..instances / REPLICAS {
        let spec = Arc::new(spec(app, strategy));
        let declare = Change::Declare {
            app: format!("shop/app-{app:04}").parse().unwrap(),
            source: "repo".parse().unwrap(),
            path: format!("apps/app-{app:04}.yaml"),
            declared: Declared {
                commit: CommitId("c0ffee00".repeat(5)),
                digest: spec.digest(),
                spec,
                at: NOW,
            },
        };
        cluster.apply(&declare).unwrap();
    }
    (cluster, instances)
}

pub fn node(number: usize) -> Node {
    let cores = [8, 16, 32][number % 3];
    Node {
        scheduling_note: None,
        name: format!("node-{number:05}").parse().unwrap(),
        facts: NodeFacts {
            address: format!("10.0.{}.{}", number / 250, number % 250),
            capacity: Resources {
                cpu_millis: cores * 1000,
                memory_bytes: cores << 32,
            },
            attributes: BTreeMap::from([
                (RUNTIME_DOCKER.to_owned(), "true".to_owned()),
                ("zone".to_owned(), format!("z{:02}", number % 20)),
                (
                    "disk".to_owned(),
                    ["ssd", "hdd"][usize::from(number % 4 == 3)].to_owned(),
                ),
            ]),
            agent_version: "bench".to_owned(),
        },
        scheduling: Scheduling::Active,
        liveness: Liveness::Ready,
        last_heard: NOW,
        registered_at: NOW,
        images: BTreeMap::new(),
    }
}

/// Ten kinds of apps, as the platform of a company has them: sizes differ, the constraint
/// does not.
fn spec(app: usize, strategy: &str) -> AppSpec {
    let text = format!(
        r#"
apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: app-{app:04}}}
spec:
  image: registry.local/app-{app:04}:1
  replicas: {REPLICAS}
  resources: {{requests: {{cpu: {}m, memory: {}Mi}}}}
  placement:
    strategy: {strategy}
    constraints: [{{attribute: disk, operator: "==", values: [ssd]}}]
"#,
        100 + 20 * (app % 10),
        128 + 32 * (app % 5),
    );
    parse(&text)
}

/// The only app that the text declares.
pub fn parse(text: &str) -> AppSpec {
    let file = (
        "app.yaml".to_owned(),
        Content::Bytes(text.as_bytes().to_vec()),
    );
    let defaults = Defaults::new("shop".parse().unwrap(), "");
    let checked = validate_files(&defaults, [file], &mut |_| Lookup::Missing);
    assert!(checked.problems.is_empty(), "{:?}", checked.problems);
    let (_, declaration) = checked.catalog.apps.into_iter().next().unwrap();
    (*declaration.spec).clone()
}
