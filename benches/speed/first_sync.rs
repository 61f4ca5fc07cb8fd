//! The first sync of many apps, whose commit is here already: from the source being added
//! until all apps are read, declared, planned and placed in Postgres.
//!
//! What agents then tell of the instances is not part of it: they take a while to start, as
//! containers do. A second run, in which all of them start at once, is told beside it.
//!
//! Cost model: each app is read, parsed and checked once, and written once, some rows per
//! app in statements of a thousand; so the time grows as the number of apps.

use std::time::{Duration, Instant};

use evenkeel::api::agent::Report;
use evenkeel::model::Snapshot;
use uuid::Uuid;

use crate::cluster::{Cluster, LONG};
use crate::fleet::{self, until};
use crate::samples::Spread;
use crate::table::Figure;
use crate::{cpu, tree};

const APPS: [usize; 3] = [100, 1_000, 10_000];
const NODES: usize = 100;
const LEAST: f64 = 5_000.0;
/// What does not depend on the number of apps may vary by that much.
const EVEN: f64 = 1.5;
const REPORTS: usize = 200;
/// Longer than any first sync: what agents tell of their instances is another figure.
const STARTING: Duration = Duration::from_secs(10);

struct Measured {
    fetch: Duration,
    took: Duration,
    /// Processor time of this process and of Postgres.
    cpu: [Duration; 2],
    memory: f64,
    /// Seconds in which a new leader reads all of it.
    load: f64,
    report: f64,
    report_cpu: f64,
}

pub async fn measure() -> Vec<Figure> {
    let mut each = Vec::new();
    for apps in APPS {
        each.push(of(apps, STARTING).await);
    }
    let answered = of(APPS[2], Duration::ZERO).await;
    let [_, middle, large] = &each[..] else {
        return Vec::new();
    };
    let rate = |m: &Measured, apps: usize| apps as f64 / m.took.as_secs_f64();
    let listed = |pick: &dyn Fn(&Measured) -> String| {
        let words = APPS.iter().zip(&each);
        let words: Vec<String> = words
            .map(|(apps, m)| format!("{} at {apps}", pick(m)))
            .collect();
        words.join(", ")
    };
    vec![
        Figure::rate(
            &format!("first sync of {} apps, parse to commit", APPS[2]),
            rate(large, APPS[2]),
            LEAST,
            format!(
                "{}; of the last {:.1} s: Evenkeel {:.1} s, Postgres {:.1} s of processor",
                listed(&|m| format!("{:.2} s", m.took.as_secs_f64())),
                large.took.as_secs_f64(),
                large.cpu[0].as_secs_f64(),
                large.cpu[1].as_secs_f64(),
            ),
        ),
        Figure::told(
            "the same while agents report each instance at once",
            rate(&answered, APPS[2]),
            "/s",
            format!("{:.2} s", answered.took.as_secs_f64()),
        ),
        Figure::growth(
            &format!("an app of {} / an app of {}", APPS[2], APPS[1]),
            rate(middle, APPS[1]) / rate(large, APPS[2]),
            EVEN,
            "time per app".to_owned(),
        ),
        Figure::told(
            &format!("fetch of the commit with {} apps, before that", APPS[2]),
            large.fetch.as_secs_f64(),
            "s",
            listed(&|m| format!("{:.2} s", m.fetch.as_secs_f64())),
        ),
        Figure::told(
            "memory per app in the controller",
            large.memory / 1024.0,
            "KiB",
            listed(&|m| format!("{:.1} KiB", m.memory / 1024.0)),
        ),
        Figure::told(
            &format!("{} apps read from Postgres, as a new leader does", APPS[2]),
            large.load,
            "s",
            listed(&|m| format!("{:.3} s", m.load)),
        ),
        Figure::growth(
            &format!("a health report among {} apps / among {}", APPS[2], APPS[0]),
            large.report / each[0].report,
            EVEN,
            listed(&|m| {
                let (wall, cpu) = (m.report * 1e3, m.report_cpu * 1e3);
                format!("{wall:.2} ms ({cpu:.2} ms of processor)")
            }),
        ),
    ]
}

async fn of(apps: usize, starting: Duration) -> Measured {
    let cluster = Cluster::starting_in(starting, NODES).await;
    let files: Vec<(String, String)> = (0..apps)
        .map(|app| (tree::path(app), tree::spec(app, 1)))
        .collect();
    let files: Vec<(&str, Option<&str>)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    cluster.commit(&files);
    drop(files);
    let fetch = cluster.fetch().await;
    let (before, cpu) = (resident(), cluster.cpu());
    let begun = Instant::now();
    cluster.follow().await;
    let placed = || {
        let count = |s: &Snapshot| {
            s.apps.len() == apps && s.apps.values().all(|app| !app.instances.is_empty())
        };
        cluster.handle.read(count).unwrap_or(false)
    };
    until("all apps", LONG, placed).await;
    let took = begun.elapsed();
    let now = cluster.cpu();
    let proven = || {
        let stable = |s: &Snapshot| {
            let rests = |app: &evenkeel::model::App| app.active_rollout().is_none();
            s.apps.values().all(rests)
        };
        cluster.handle.read(stable).unwrap_or(false)
    };
    until("the apps' health", LONG, proven).await;
    let memory = (resident() - before) / apps as f64;
    let begun = Instant::now();
    let loaded = cluster.store.load().await.unwrap();
    let load = begun.elapsed().as_secs_f64();
    assert_eq!(loaded.apps.len(), apps);
    drop(loaded);
    let (report, report_cpu) = reports(&cluster).await;
    cluster.end().await;
    Measured {
        fetch,
        took,
        cpu: [now[0] - cpu[0], now[1] - cpu[1]],
        memory,
        load,
        report,
        report_cpu,
    }
}

/// One instance's readiness comes and goes: seconds until that is in Postgres, and of the
/// processor.
async fn reports(cluster: &Cluster) -> (f64, f64) {
    let any = |s: &Snapshot| {
        let mut instances = s.apps.values().flat_map(|app| app.instances.values());
        instances.next().map(|i| (i.id, i.node.clone()))
    };
    let (id, name) = cluster.handle.read(any).unwrap().unwrap();
    let facts = cluster.handle.read(|s| s.nodes[&name].facts.clone());
    let mut report = Report {
        node: name,
        // A later process of its agent.
        session: Uuid::from_u128(7 << 64),
        sequence: 0,
        facts: facts.unwrap(),
        applied: None,
        full: true,
        instances: Vec::new(),
        images: Default::default(),
        notes: Vec::new(),
    };
    let mut walls = Vec::new();
    let begun = cpu::of_this_process();
    for turn in 0..REPORTS {
        report.sequence += 1;
        let mut seen = fleet::instance(id, true);
        seen.restarts = turn as u32 + 1;
        report.instances = vec![seen];
        let begun = Instant::now();
        cluster.handle.report(report.clone()).await.unwrap();
        walls.push(begun.elapsed().as_secs_f64());
    }
    let cpu = (cpu::of_this_process() - begun).as_secs_f64() / REPORTS as f64;
    (Spread::of(walls).median, cpu)
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0
}
