//! Which points are killed at, at which of their hits, and what is said about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use evenkeel::failpoint::Op;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::life::{Kind, Layout, Outcome, Plan, run};
use crate::engine;
use crate::registry::Registry;

/// Runs at the same time.
fn at_once() -> usize {
    number("CRASH_AT_ONCE").unwrap_or(8) as usize
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
    async fn run(&self, script: Script, points: &[String]) -> Result<Outcome, String> {
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
            points: points.to_vec(),
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

/// A life, and the points (`NAME:N`) at which it is cut short.
type Group = (Script, Vec<String>);

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_changes_nothing() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    engine::ensure_image(engine::SHARED).await;
    let began = Instant::now();
    let bench = Arc::new(Bench {
        registry: Registry::start().await,
        room: Semaphore::new(at_once()),
        next: std::sync::atomic::AtomicU32::new(0),
    });
    let calm = Arc::new(calm(&bench).await);
    let groups = match one_life(&calm) {
        Some(lives) => lives,
        None => groups(choose(&calm), together()),
    };
    let wanted: usize = groups.iter().map(|(_, points)| points.len()).sum();
    let mut tasks = JoinSet::new();
    for group in groups {
        let (bench, calm) = (Arc::clone(&bench), Arc::clone(&calm));
        tasks.spawn(async move { judged(&bench, &calm, group).await });
    }
    let mut rows = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let group = done.unwrap();
        for row in &group {
            println!("{:<9} {:?} {}", row.said(), row.script, row.point);
            if let Some(why) = &row.problem {
                println!("{why}");
            }
        }
        rows.extend(group);
    }
    let problems = table(&mut rows);
    let lives = rows.len();
    println!("{wanted} crashes in {:.0} s", began.elapsed().as_secs_f32());
    assert!(lives >= wanted, "{lives} of {wanted} were told of");
    assert!(
        problems.is_empty(),
        "{} differ:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// What came of one crash.
struct Row {
    script: Script,
    point: String,
    /// What it made different.
    problem: Option<String>,
    /// The first hit of a point is always there to be died at; how many more there are
    /// depends on timing.
    reached: bool,
}

impl Row {
    fn said(&self) -> &'static str {
        match (&self.problem, self.reached) {
            (Some(_), _) => "DIFFERS",
            (None, true) => "same",
            (None, false) => "passed by",
        }
    }
}

/// Runs a group. Where something differs, each of its points alone says whose fault it is;
/// what was passed by is run alone as well.
async fn judged(bench: &Bench, calm: &BTreeMap<Script, Outcome>, group: Group) -> Vec<Row> {
    let (script, points) = group;
    let outcome = bench.run(script, &points).await;
    let row = |point: &String, problem| Row {
        script,
        point: point.clone(),
        problem,
        reached: true,
    };
    if let Ok(outcome) = &outcome {
        let took = outcome.took.as_secs_f32();
        println!("lived    {script:?} {took:.1} s: {}", points.join(","));
    }
    let (died, problem) = match &outcome {
        Err(why) => (Vec::new(), Some(why.clone())),
        Ok(outcome) => (outcome.died.clone(), differs(&calm[&script], outcome)),
    };
    let mut rows: Vec<Row> = Vec::new();
    if let (Some(why), [_, _, ..]) = (&problem, points.as_slice()) {
        let why = format!("together with others: {why}");
        rows.push(row(&points.join(","), Some(why)));
    }
    let alone = points.len() == 1;
    for point in &points {
        if died.contains(point) && (problem.is_none() || alone) {
            rows.push(row(point, problem.clone()));
            continue;
        }
        if alone && let Err(why) = &outcome {
            rows.push(row(point, Some(why.clone())));
            continue;
        }
        rows.push(by_itself(bench, calm, script, point).await);
    }
    rows
}

/// On a busy machine another course of things may pass a point by.
async fn by_itself(
    bench: &Bench,
    calm: &BTreeMap<Script, Outcome>,
    script: Script,
    point: &String,
) -> Row {
    let mut row = Row {
        script,
        point: point.clone(),
        problem: None,
        reached: false,
    };
    for _ in 0..3 {
        match bench.run(script, std::slice::from_ref(point)).await {
            Err(why) => row.problem = Some(why),
            Ok(outcome) if outcome.died.is_empty() => continue,
            Ok(outcome) => row.problem = differs(&calm[&script], &outcome),
        }
        row.reached = true;
        return row;
    }
    if point.ends_with(":1") {
        row.problem = Some("it was never reached".to_owned());
    }
    row
}

/// Prints what was killed where, a line for each point; returns what differs.
fn table(rows: &mut [Row]) -> Vec<String> {
    rows.sort_by(|a, b| (a.script, &a.point).cmp(&(b.script, &b.point)));
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for row in rows.iter() {
        let (name, hit) = row.point.rsplit_once(':').unwrap_or((&row.point, ""));
        let (kind, layout) = row.script;
        let line = lines.entry(name).or_default();
        line.push_str(&format!("  {kind:?}/{layout:?}:{hit} {}", row.said()));
    }
    for (name, line) in lines {
        println!("{name:<30}{line}");
    }
    let told = |row: &Row| {
        let why = row.problem.as_ref()?;
        Some(format!("{} {:?}: {why}", row.point, row.script))
    };
    rows.iter().filter_map(told).collect()
}

/// Each script without a crash.
async fn calm(bench: &Arc<Bench>) -> BTreeMap<Script, Outcome> {
    let mut tasks = JoinSet::new();
    for script in SCRIPTS {
        let bench = Arc::clone(bench);
        tasks.spawn(async move { (script, bench.run(script, &[]).await) });
    }
    let mut calm = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (script, outcome) = done.unwrap();
        let outcome = outcome.unwrap_or_else(|why| panic!("{script:?} without a crash: {why}"));
        assert!(outcome.died.is_empty());
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

/// `CRASH_ONLY=POINT:HIT,POINT:HIT`: one life of each script that comes by all of them, with
/// these crashes; CRASH_TIMES=20 of them.
fn one_life(calm: &BTreeMap<Script, Outcome>) -> Option<Vec<Group>> {
    let only = std::env::var("CRASH_ONLY").ok()?;
    let points: Vec<String> = only.split(',').map(str::to_owned).collect();
    let name = |point: &String| point.split(':').next().unwrap_or_default().to_owned();
    let reaches = |outcome: &Outcome| {
        let mut names = points.iter().map(name);
        names.all(|name| outcome.reached.contains_key(&name))
    };
    (points.len() > 1).then(|| {
        let lives = calm.iter().filter(|(_, outcome)| reaches(outcome));
        let times = number("CRASH_TIMES").unwrap_or(1) as usize;
        let life = |script| std::iter::repeat_n((script, points.clone()), times);
        lives.flat_map(|(script, _)| life(*script)).collect()
    })
}

/// What is killed where. A point that no script reaches is a hole in the scripts.
fn choose(calm: &BTreeMap<Script, Outcome>) -> Vec<(Script, String)> {
    let all = all_of_them();
    let only = std::env::var("CRASH_ONLY").unwrap_or_default();
    // `POINT:HIT`: that one alone, in every script that comes by so often.
    let (only, one) = match only.split_once(':') {
        Some((point, hit)) => (point, Some(hit.parse::<u32>().unwrap())),
        None => (only.as_str(), None),
    };
    let seed = number("CRASH_SEED").unwrap_or(1);
    let mut kills: Vec<(Script, String)> = Vec::new();
    for op in Op::ALL {
        for side in ["pre", "post"] {
            let point = format!("{}-{side}", op.name());
            if super::housekeeping::OPS.contains(op) || !point.contains(only) {
                continue;
            }
            let reaching: Vec<(Script, u32)> = calm
                .iter()
                .filter_map(|(script, outcome)| Some((*script, *outcome.reached.get(&point)?)))
                .collect();
            assert!(!reaching.is_empty(), "no script reaches {point}");
            if all {
                for (script, most) in reaching {
                    let hits = match one {
                        Some(hit) => Vec::from_iter((hit <= most).then_some(hit)),
                        None => all_hits(most),
                    };
                    let hits = hits.into_iter();
                    kills.extend(hits.map(|hit| (script, format!("{point}:{hit}"))));
                }
            } else {
                let dice = mix(seed ^ mix(kills.len() as u64));
                let (script, most) = reaching[(dice % reaching.len() as u64) as usize];
                // Those that come in any course of things, also after other crashes.
                let hit = 1 + mix(dice) % u64::from(most.clamp(1, 2));
                kills.push((script, format!("{point}:{hit}")));
            }
        }
    }
    kills
}

fn all_of_them() -> bool {
    std::env::var("CRASH_POINTS").is_ok_and(|v| v == "all")
}

/// Crashes of one life: one, where all are gone through.
fn together() -> usize {
    let otherwise = if all_of_them() { 1 } else { 8 };
    number("CRASH_TOGETHER").unwrap_or(otherwise).max(1) as usize
}

/// Shares them out among lives of at most so many crashes. Neighbours, such as both sides of
/// a call that is made once, go to different lives.
fn groups(kills: Vec<(Script, String)>, together: usize) -> Vec<Group> {
    let mut by_script: BTreeMap<Script, Vec<String>> = BTreeMap::new();
    for (script, point) in kills {
        by_script.entry(script).or_default().push(point);
    }
    let mut groups = Vec::new();
    for (script, points) in by_script {
        let lives = points.len().div_ceil(together).max(2);
        let life = |n| points.iter().skip(n).step_by(lives).cloned().collect();
        groups.extend((0..lives).map(|n| (script, life(n))));
    }
    groups.retain(|(_, points): &Group| !points.is_empty());
    groups
}

/// What crashes made different; `None`: nothing.
fn differs(calm: &Outcome, outcome: &Outcome) -> Option<String> {
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
