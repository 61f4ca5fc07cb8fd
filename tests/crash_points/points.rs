//! Which points are killed at, at which of their hits, and what is said about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel::failpoint::Op;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::life::{Kind, Layout, Outcome, Plan, run};
use crate::engine;
use crate::registry::Registry;

/// Runs at the same time.
fn at_once() -> usize {
    number("CRASH_AT_ONCE").unwrap_or(6) as usize
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// The variants of the script. Each is gone through once without a crash.
const SCRIPTS: [(Kind, Layout); 3] = [
    (Kind::Containers, Layout::Together),
    (Kind::Containers, Layout::Apart),
    (Kind::Processes, Layout::Together),
];

type Script = (Kind, Layout);

struct Bench {
    registry: Registry,
    room: Semaphore,
    next: std::sync::atomic::AtomicU32,
}

impl Bench {
    async fn run(&self, script: Script, point: Option<String>) -> Result<Outcome, String> {
        let _room = self.room.acquire().await.unwrap();
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let docker = engine::client(engine::SHARED);
        let name = format!("crash/web{number}");
        let image = format!("{}/{name}:1", self.registry.address);
        if script.0 == Kind::Containers {
            self.registry.publish(&docker, &name, "1").await;
        }
        let plan = Plan {
            kind: script.0,
            layout: script.1,
            point,
        };
        let result = run(plan, &image).await;
        if script.0 == Kind::Containers {
            let options = bollard::query_parameters::RemoveImageOptionsBuilder::default().build();
            let _ = docker.remove_image(&image, Some(options), None).await;
        }
        result
    }
}

/// A small generator, so that a seed says it all.
fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Which of `most` hits: the first ones, where most differs, and some of the rest.
fn all_hits(most: u32) -> Vec<u32> {
    let mut hits = vec![1, 2, 3, most / 3, most / 2, most * 4 / 5];
    hits.retain(|hit| (1..=most).contains(hit));
    hits.sort_unstable();
    hits.dedup();
    hits
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_changes_nothing() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    engine::ensure_image(engine::SHARED).await;
    let bench = Arc::new(Bench {
        registry: Registry::start().await,
        room: Semaphore::new(at_once()),
        next: std::sync::atomic::AtomicU32::new(0),
    });
    let calm = calm(&bench).await;
    let plans = choose(&calm);
    println!("{} crashes", plans.len());
    let mut tasks = JoinSet::new();
    for (script, point, hit) in plans {
        let bench = Arc::clone(&bench);
        tasks.spawn(async move {
            let armed = format!("{point}:{hit}");
            let mut outcome = bench.run(script, Some(armed.clone())).await;
            // On a busy machine another course of things may pass a point by.
            for _ in 0..2 {
                if outcome.as_ref().is_ok_and(|o| o.deaths == 0) {
                    outcome = bench.run(script, Some(armed.clone())).await;
                }
            }
            (script, point, hit, outcome)
        });
    }
    let mut problems = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (script, point, hit, outcome) = done.unwrap();
        let title = format!("{point}:{hit} {script:?}");
        let problem = match outcome {
            Err(why) => Some(why),
            Ok(outcome) => judge(&calm[&script], &outcome, hit),
        };
        match &problem {
            None => println!("same     {title}"),
            Some(why) => println!("DIFFERS  {title}: {why}"),
        }
        problems.extend(problem.map(|why| format!("{title}: {why}")));
    }
    assert!(
        problems.is_empty(),
        "{} differ:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// Each script without a crash, twice: what differs between those is no crash's fault.
async fn calm(bench: &Arc<Bench>) -> BTreeMap<Script, Outcome> {
    let mut tasks = JoinSet::new();
    for script in SCRIPTS {
        let bench = Arc::clone(bench);
        tasks.spawn(async move { (script, bench.run(script, None).await) });
    }
    let mut calm = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (script, outcome) = done.unwrap();
        let outcome = outcome.unwrap_or_else(|why| panic!("{script:?} without a crash: {why}"));
        assert_eq!(outcome.deaths, 0);
        let end = serde_json::json!(outcome.end);
        println!(
            "calm     {script:?} in {:.1} s: {end}",
            outcome.took.as_secs_f32()
        );
        println!("reached  {:?}", outcome.reached);
        calm.insert(script, outcome);
    }
    calm
}

/// What is killed where. A point that no script reaches is a hole in the scripts.
fn choose(calm: &BTreeMap<Script, Outcome>) -> Vec<(Script, String, u32)> {
    let all = std::env::var("CRASH_POINTS").is_ok_and(|v| v == "all");
    let only = std::env::var("CRASH_ONLY").unwrap_or_default();
    let seed = number("CRASH_SEED").unwrap_or(1);
    let mut plans = Vec::new();
    for op in Op::ALL {
        for side in ["pre", "post"] {
            let point = format!("{}-{side}", op.name());
            if super::housekeeping::OPS.contains(op) || !point.contains(&only) {
                continue;
            }
            let reaching: Vec<(Script, u32)> = calm
                .iter()
                .filter_map(|(script, outcome)| Some((*script, *outcome.reached.get(&point)?)))
                .collect();
            assert!(!reaching.is_empty(), "no script reaches {point}");
            if all {
                for (script, most) in reaching {
                    let hits = all_hits(most).into_iter();
                    plans.extend(hits.map(|hit| (script, point.clone(), hit)));
                }
            } else {
                let dice = mix(seed ^ mix(plans.len() as u64));
                let (script, most) = reaching[(dice % reaching.len() as u64) as usize];
                let hits = all_hits(most);
                let hit = hits[(mix(dice) % hits.len() as u64) as usize];
                plans.push((script, point, hit));
            }
        }
    }
    plans
}

/// What a crash made different; `None`: nothing.
fn judge(calm: &Outcome, outcome: &Outcome, hit: u32) -> Option<String> {
    if outcome.deaths == 0 {
        // How often a later hit comes depends on timing; the first one always does.
        return (hit <= 1).then(|| "it was never reached".to_owned());
    }
    let differing: Vec<String> = calm
        .end
        .iter()
        .filter(|(topic, value)| outcome.end.get(*topic) != Some(*value))
        .map(|(topic, value)| {
            format!(
                "\n  {topic}: {value}\n  became {}",
                outcome.end.get(topic).cloned().unwrap_or_default()
            )
        })
        .collect();
    (!differing.is_empty()).then(|| differing.concat())
}
