//! Work that must not grow with what it has nothing to do with: planning one app that has
//! nothing to do, and what follows from one instance's report, among ever more apps.
//!
//! Cost model: both look at one app and at one node, found by name.

use std::time::{Duration, Instant};

use evenkeel::clock;
use evenkeel::model::{AppKey, Change};
use evenkeel::plan::NOBODY;
use evenkeel::plan::observe::plan_report;
use evenkeel::plan::statuses::next_statuses;
use evenkeel::plan::{IdSource, PlanInput, Scope, Settings, plan, plan_after};

use crate::one_change::World;
use crate::samples::Spread;
use crate::table::Figure;

const APPS: [usize; 3] = [100, 1_000, 10_000];
/// A longer way to a name, and caches that no longer hold all.
const EVEN: f64 = 2.0;
const TURNS: usize = 2_000;
/// Apps that are looked at, of however many: else the figure would be of the processor's
/// caches.
const LOOKED_AT: usize = 100;

pub async fn measure() -> Vec<Figure> {
    let dir = tempfile::tempdir().unwrap();
    let (mut plans, mut reports) = (Vec::new(), Vec::new());
    for apps in APPS {
        let mut world = World::build(dir.path(), apps).await;
        plans.push(nothing_to_do(&world));
        reports.push(one_report(&mut world));
    }
    let listed = |each: &[f64]| {
        let words = APPS.iter().zip(each);
        let words: Vec<String> = words
            .map(|(apps, time)| format!("{:.1} us at {apps}", time * 1e6))
            .collect();
        words.join(", ")
    };
    let figure = |what: &str, each: &[f64]| {
        let name = format!("{what}, among {} apps / among {}", APPS[2], APPS[0]);
        Figure::growth(&name, each[2] / each[0], EVEN, listed(each))
    };
    vec![
        figure("a plan that changes nothing", &plans),
        figure("an instance's report, plan and all", &reports),
    ]
}

/// Median seconds of a turn.
fn median(mut turn: impl FnMut(usize) -> Duration) -> f64 {
    Spread::of((0..TURNS).map(|n| turn(n).as_secs_f64())).median
}

fn nothing_to_do(world: &World) -> f64 {
    let step = world.snapshot.apps.len() / LOOKED_AT;
    let keys = world.snapshot.apps.keys().step_by(step).cloned();
    let keys: Vec<AppKey> = keys.take(LOOKED_AT).collect();
    let settings = Settings::default();
    let mut ids = IdSource::new(1);
    median(|turn| {
        let app = [keys[turn % LOOKED_AT].clone()].into();
        let begun = Instant::now();
        let plan = plan(&input(world, &Scope::Apps(&app), &settings), &mut ids);
        let took = begun.elapsed();
        assert!(plan.changes.is_empty());
        took
    })
}

/// Of an instance that was started again, as a controller takes it in: what it changes,
/// what follows, what forges are told, and the image in memory.
fn one_report(world: &mut World) -> f64 {
    let settings = Settings::default();
    let mut ids = IdSource::new(1);
    let mut restarts = 0;
    let mut reports: Vec<_> = (0..World::NODES).map(|n| world.report_of(n)).collect();
    reports.iter_mut().for_each(|r| r.instances.truncate(1));
    median(|turn| {
        restarts += 1;
        let report = &mut reports[turn % World::NODES];
        report.instances[0].restarts = restarts;
        let begun = Instant::now();
        let news = plan_report(clock::now(), &world.snapshot, report);
        let apps = news
            .changes
            .iter()
            .filter_map(Change::app)
            .cloned()
            .collect();
        let follows = plan_after(
            &input(world, &Scope::Apps(&apps), &settings),
            &news.changes,
            &mut ids,
        );
        let told = next_statuses("bench", &world.snapshot, &news.changes);
        world.snapshot.apply_all(&news.changes).unwrap();
        let took = begun.elapsed();
        assert_eq!(
            (news.changes.len(), follows.changes.len(), told.len()),
            (1, 0, 0)
        );
        took
    })
}

fn input<'a>(world: &'a World, scope: &Scope<'a>, settings: &'a Settings) -> PlanInput<'a> {
    PlanInput {
        now: clock::now(),
        since: evenkeel::model::Timestamp(0),
        heard: &NOBODY,
        snapshot: &world.snapshot,
        scope: *scope,
        settings,
    }
}
