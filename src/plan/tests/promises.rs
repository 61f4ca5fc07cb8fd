//! The design's invariants as properties, each over generated histories and each worded
//! from outside: what is seen before and after a planning run, not how it was decided.
//!
//! Numbers are those of the design page. Of the 13, here are 1 to 7, 9, 10 and 12; 13 and
//! once more 1 are in `properties`. What nodes promise (8, 10, 11) is with the agent: `admission`,
//! `step::tests::properties`, and, for marks of containers, `runtime::docker::labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::properties::{Step, go, steps};
use super::world::*;
use crate::model::node::ImageState;
use crate::model::quantity::{CountOrPercent, Resources};
use crate::model::snapshot::Observed;
use crate::model::spec::Strategy as RolloutStrategy;
use crate::model::*;
use crate::plan::preview::{PreviewInput, preview};
use crate::plan::sync::{SyncInput, plan_sync};

/// Few, since there are many properties; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = super::properties::config();
    let cases = if asked { config.cases } else { 24 };
    ProptestConfig { cases, ..config }
}

const MIN_HEALTHY: Duration = Duration::from_secs(4);

/// Rolling in all its forms; new instances must have been healthy for a while.
fn shaped(app: u8, version: u8, replicas: u8) -> AppSpec {
    let base = spec(&format!("app{app}:{version}"))
        .replicas(u32::from(replicas))
        .with(|s| s.rollout.min_healthy_time = MIN_HEALTHY)
        // Three of them fill a node, so that room runs out too.
        .with(|s| s.requests.memory_bytes = 1200 * MI);
    match (app + version / 3) % 4 {
        0 => base,
        1 => base.surge(0, 1),
        2 => base.with(|s| s.rollout.max_surge = CountOrPercent::Percent(100)),
        _ => base.host_port(8000 + u16::from(app)).surge(1, 1),
    }
}

fn trail(steps: &[Step]) -> Vec<Moment> {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.trail = Some(Vec::new());
    go(&mut world, steps, shaped);
    world.rounds(40);
    world.trail.take().unwrap_or_default()
}

/// Apps that are there before and after, and are wanted.
fn apps(moment: &Moment) -> impl Iterator<Item = (&App, &App, &Arc<Release>)> {
    moment.after.apps.values().filter_map(|after| {
        let before = moment.before.apps.get(&after.key)?;
        let target = after.target_release()?;
        after.declared.as_ref()?;
        Some((before, after, target))
    })
}

fn heard(snapshot: &Snapshot, instance: &Instance) -> bool {
    snapshot.observe(instance) != Observed::Unknown
}

/// Wanted, ready, and on a node that can be heard.
fn serves(snapshot: &Snapshot, instance: &Instance) -> bool {
    instance.wants_run() && instance.is_ready() && heard(snapshot, instance)
}

/// Those that this planning run stops although they serve.
fn taken<'a>(moment: &'a Moment, before: &'a App, after: &'a App) -> Vec<&'a Instance> {
    before
        .instances
        .values()
        .filter(|i| serves(&moment.before, i))
        .filter(|i| after.instances.get(&i.id).is_none_or(|i| !i.wants_run()))
        .collect()
}

fn floor(app: &App, release: &Release) -> usize {
    let replicas = app.replicas_of(release);
    let policy = &release.spec.rollout;
    let unavailable = policy.max_unavailable.of_rounding_down(replicas);
    replicas.saturating_sub(unavailable) as usize
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn p01_ready_and_total_stay_within_the_promise(steps in steps()) {
        for moment in trail(&steps) {
            for (before, after, release) in apps(&moment) {
                let left = after.instances.values().filter(|i| serves(&moment.before, i)).count();
                let stopped = taken(&moment, before, after).len();
                prop_assert!(stopped == 0 || left >= floor(after, release).min(left + stopped),
                    "{}: {left} serve, {} are promised", after.key, floor(after, release));
                let added = after.instances.keys().filter(|id| !before.instances.contains_key(id)).count();
                let exist = after.instances.values().filter(|i| !i.is_over() && heard(&moment.before, i)).count();
                let replicas = after.replicas_of(release);
                let most = replicas + release.spec.rollout.max_surge.of_rounding_up(replicas);
                prop_assert!(added == 0 || exist <= most as usize, "{}: {exist} exist, {most} may", after.key);
            }
        }
    }

    #[test]
    fn p02_old_ones_stop_only_for_new_ones_healthy_long_enough(steps in steps()) {
        for moment in trail(&steps) {
            for (before, after, release) in apps(&moment) {
                let old = |i: &&&Instance| i.workload != release.workload_digest;
                let stopped = taken(&moment, before, after);
                if stopped.iter().filter(old).count() == 0 {
                    continue;
                }
                let proven = after.instances.values().filter(|i| {
                    let since = i.status.as_ref().and_then(|s| s.ready_since);
                    let long = since.is_some_and(|at| at + MIN_HEALTHY <= moment.now);
                    serves(&moment.before, i) && (long || i.workload != release.workload_digest)
                }).count();
                prop_assert!(proven >= floor(after, release).min(proven + stopped.len()),
                    "{}: {proven} are proven, {} are promised", after.key, floor(after, release));
            }
        }
    }

    #[test]
    fn p03_images_are_everywhere_before_the_first_old_one_stops(steps in steps()) {
        for moment in trail(&steps) {
            for (before, after, release) in apps(&moment) {
                let Some(rollout) = after.rollout.as_ref().filter(|r| !r.is_rollback()) else { continue };
                let old = taken(&moment, before, after).into_iter().any(|i| i.workload != release.workload_digest);
                let Some(image) = release.image().filter(|_| old) else { continue };
                for node in &rollout.prepare {
                    let node = &moment.before.nodes[node];
                    prop_assert!(node.liveness != Liveness::Ready
                        || matches!(node.images.get(image), Some(ImageState::Present { .. })),
                        "{}: {image} is not on {} yet", after.key, node.name);
                }
            }
        }
    }

    #[test]
    fn p04_a_rollback_goes_to_the_latest_proven_release_and_is_never_rolled_back(steps in steps()) {
        let mut rollbacks: BTreeSet<RolloutId> = BTreeSet::new();
        for moment in trail(&steps) {
            for change in &moment.changes {
                let Change::PutRollout(rollout) = change else { continue };
                let RolloutKind::Rollback { of } = rollout.kind else { continue };
                if !rollbacks.insert(rollout.id) {
                    continue;
                }
                prop_assert!(of.is_none_or(|of| !rollbacks.contains(&of)), "a rollback is rolled back");
                let app = &moment.after.apps[&rollout.app];
                let to = &app.releases[&rollout.to];
                prop_assert!(to.is_stable(), "{}: back to what was never proven", app.key);
                prop_assert!(!app.quarantine.contains_key(&to.spec_digest));
                let newer = app.releases.values().any(|r| r.is_stable() && r.number > to.number
                    && !app.quarantine.contains_key(&r.spec_digest));
                prop_assert!(!newer, "{}: a later proven release was passed over", app.key);
            }
        }
    }

    #[test]
    fn p05_a_rejected_digest_is_not_tried_again(steps in steps()) {
        for moment in trail(&steps) {
            for change in &moment.changes {
                if let Change::AddInstance(instance) = change {
                    let app = &moment.before.apps[&instance.app];
                    let release = &moment.after.apps[&instance.app].releases[&instance.release];
                    prop_assert!(!app.quarantine.contains_key(&release.spec_digest),
                        "{}: {} is quarantined and started", app.key, release.commit.short());
                }
            }
        }
    }

    /// `fates`: per app 0 stays, 1 changes, 2 is gone, 3 is invalid, 4 is in a file that cannot be read.
    #[test]
    fn p06_what_cannot_be_read_is_never_a_delete(fates in prop::collection::vec(0..5u8, 1..9), empty in prop::bool::weighted(0.1)) {
        let mut world = World::new(&["a"]);
        let source = followed();
        world.apply(&[Change::PutSource(Box::new(Source::new(source.clone(), None)))]);
        let name = |n: usize| format!("app{n}");
        for n in 0..fates.len() {
            world.declare(&name(n), "1", spec("x:1"));
        }
        let mut catalog = Catalog { spec_files: fates.len(), ..Catalog::default() };
        for (n, fate) in fates.iter().enumerate() {
            let (app, path) = (key(&name(n)), format!("{}.yaml", name(n)));
            let spec = Arc::new(spec(if *fate == 1 { "x:2" } else { "x:1" }));
            match fate {
                0 | 1 => { catalog.apps.insert(app.clone(), Declaration { app, path, line: 1, digest: spec.digest(), spec }); }
                2 => {}
                3 => { catalog.invalid.insert(app, (path, Vec::new())); }
                _ => { catalog.unreadable.insert(path); }
            }
        }
        if empty {
            catalog = Catalog::default();
        }
        let decision = plan_sync(&SyncInput {
            now: world.now,
            snapshot: &world.snapshot,
            source: &source.name,
            commit: &commit("2"),
            catalog: &catalog,
            touched: None,
            settings: &world.settings,
        });
        let gone: BTreeSet<AppKey> = decision.changes.iter().filter_map(|c| match c {
            Change::Undeclare { app } => Some(app.clone()),
            _ => None,
        }).collect();
        let deleted: BTreeSet<AppKey> = (0..fates.len()).filter(|n| fates[*n] == 2 && !empty).map(|n| key(&name(n))).collect();
        let much = deleted.len() >= 3 && 2 * deleted.len() > fates.len();
        let expected = if much || catalog.spec_files == 0 { BTreeSet::new() } else { deleted };
        prop_assert_eq!(gone, expected);
    }

    #[test]
    fn p07_nothing_is_over_committed(steps in steps()) {
        for moment in trail(&steps) {
            let mut used: BTreeMap<&NodeName, Resources> = BTreeMap::new();
            let mut ports = BTreeSet::new();
            for instance in moment.after.apps.values().flat_map(|a| a.instances.values()) {
                let sum = used.entry(&instance.node).or_default();
                *sum = sum.plus(instance.requests);
                for port in &instance.host_ports {
                    prop_assert!(ports.insert((&instance.node, *port)), "{port:?} twice on {}", instance.node);
                }
            }
            for (node, sum) in used {
                let capacity = moment.after.nodes[node].facts.capacity;
                prop_assert!(sum.fits(capacity), "{node}: {sum:?} of {capacity:?}");
            }
        }
    }

    #[test]
    fn p09_what_needs_no_new_process_gets_none(steps in steps()) {
        for moment in trail(&steps) {
            for (before, after, release) in apps(&moment) {
                let wanted = after.replicas_of(release);
                for instance in taken(&moment, before, after) {
                    let alone = before.instances.values().filter(|i| i.slot == instance.slot && i.wants_run()).count() == 1;
                    prop_assert!(instance.workload != release.workload_digest || instance.slot >= wanted || !alone,
                        "{}: slot {} serves what is wanted and is stopped", after.key, instance.slot);
                }
                let stopped = after.instances.values().filter_map(|i| match &i.goal {
                    Goal::Stop { reason, .. } => Some(reason),
                    Goal::Run => None,
                });
                prop_assert!(stopped.chain(after.instances.values().map(|i| &i.reason)).all(|r| !r.trim().is_empty()), "an action without a reason");
            }
        }
    }

    /// A controller that dies loses the plan that it was about to write, at any of its steps.
    #[test]
    fn p10_lost_plans_lead_to_the_same_end(replicas in 1..5u32, lost in prop::collection::vec(any::<bool>(), 60)) {
        let end = |lost: &[bool]| {
            let mut world = World::new(&["a", "b", "c"]);
            world.declare("web", "1", shaped(0, 0, 0).replicas(replicas));
            world.settle();
            world.declare("web", "2", shaped(0, 1, 0).replicas(replicas));
            world.watch();
            for lost in lost {
                if !lost {
                    world.plan();
                }
                world.nodes_act();
                world.wait(1);
            }
            world.settle();
            let low = world.low[&key("web")];
            (world.serving("web"), low)
        };
        let (serving, low) = end(&lost);
        let (expected, _) = end(&vec![false; lost.len()]);
        prop_assert_eq!(serving, expected);
        prop_assert!(low >= replicas as usize, "{low} of {replicas} served");
    }

    #[test]
    fn p12_no_preview_shows_a_secret(name in "[A-Z]{0,6}(PASSWORD|TOKEN|SECRET|KEY)[A-Z]{0,4}", old in "[a-z0-9]{12,40}", new in "[a-z0-9]{12,40}", file in "[a-z0-9]{12,40}") {
        let mut world = World::new(&["a"]);
        let source = followed();
        world.apply(&[Change::PutSource(Box::new(Source::new(source.clone(), None)))]);
        let holding = |value: &str| spec("x:1").with(|s| {
            s.workload.env.insert(name.clone(), value.to_owned());
            s.workload.files.insert("/etc/web.conf".to_owned(), spec::FileContent { data: format!("{file}{value}").into_bytes() });
        });
        world.declare("web", "1", holding(&old));
        world.settle();
        let spec = Arc::new(holding(&new));
        let app = key("web");
        let mut catalog = Catalog { spec_files: 1, ..Catalog::default() };
        catalog.apps.insert(app.clone(), Declaration { app, path: "web.yaml".to_owned(), line: 1, digest: spec.digest(), spec });
        let seen = preview(&PreviewInput {
            now: world.now,
            snapshot: &world.snapshot,
            source: &source,
            commit: None,
            catalog: &catalog,
            settings: &world.settings,
        });
        let text = format!("{seen:?}");
        for secret in [&old, &new, &file] {
            prop_assert!(!text.contains(secret.as_str()), "{secret} in {text}");
        }
        prop_assert!(old == new || text.contains(&name), "the change itself is told: {text}");
    }
}

fn followed() -> SourceSpec {
    SourceSpec {
        name: "main".parse().expect("a name"),
        url: "/srv/repo".to_owned(),
        branch: "main".to_owned(),
        path: String::new(),
        project: "shop".parse().expect("a name"),
        interval: Duration::from_secs(60),
        credentials: Default::default(),
        webhook_secret_file: None,
        pull_requests: Default::default(),
        forge: None,
    }
}

/// The shapes above are all rolling: what they promise is what is measured.
#[test]
fn the_shapes_roll() {
    for version in 0..6 {
        for app in 0..3 {
            let strategy = shaped(app, version, 1).rollout.strategy;
            assert_eq!(strategy, RolloutStrategy::Rolling);
        }
    }
}
