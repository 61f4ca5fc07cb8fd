//! Generated clusters and histories: every plan is checked, the promises are
//! measured from outside, and once faults stop the planner comes to rest.

use proptest::prelude::*;

use super::world::*;
use crate::model::quantity::CountOrPercent;
use crate::model::*;

#[derive(Clone, Debug)]
pub enum Step {
    Commit { app: u8, version: u8, replicas: u8 },
    Remove { app: u8 },
    Behave { version: u8, bad: u8 },
    Crash { app: u8, slot: u8 },
    Silence { node: u8 },
    Rounds(u8),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8, 0..6u8, 0..5u8).prop_map(|(app, version, replicas)| Step::Commit { app, version, replicas }),
        1 => (0..3u8).prop_map(|app| Step::Remove { app }),
        2 => (1..6u8, 0..4u8).prop_map(|(version, bad)| Step::Behave { version, bad }),
        1 => (0..3u8, 0..4u8).prop_map(|(app, slot)| Step::Crash { app, slot }),
        1 => (0..4u8).prop_map(|node| Step::Silence { node }),
        5 => (1..8u8).prop_map(Step::Rounds),
    ];
    prop::collection::vec(step, 1..40)
}

/// Each app has a shape of its own: surge, unavailability, ports, strategy.
fn shaped(app: u8, version: u8, replicas: u8, shape: u8) -> AppSpec {
    let base = spec(&format!("app{app}:{version}")).replicas(u32::from(replicas));
    match (app + shape) % 6 {
        0 => base,
        1 => base.surge(0, 1),
        2 => base.with(|s| s.rollout.max_surge = CountOrPercent::Percent(100)),
        3 => base.with(|s| s.rollout.strategy = crate::model::spec::Strategy::Recreate),
        4 => base.host_port(8000 + u16::from(app)).surge(1, 1),
        _ => base.volume("data").surge(0, 1),
    }
}

fn run(steps: &[Step], shape: u8) -> World {
    let mut world = World::new(&["a", "b", "c", "d"]);
    go(&mut world, steps, |app, version, replicas| {
        shaped(app, version, replicas, shape)
    });
    world
}

/// Lets `steps` happen; `shaped` makes the spec of an app's version and number of replicas.
pub fn go(world: &mut World, steps: &[Step], shaped: impl Fn(u8, u8, u8) -> AppSpec) {
    for step in steps {
        match step {
            Step::Commit {
                app,
                version,
                replicas,
            } => {
                let id = format!("{app}{version}{replicas}{}", world.snapshot.generation.0);
                let name = format!("app{app}");
                world.declare(&name, &id, shaped(*app, *version, *replicas));
            }
            Step::Remove { app } => {
                let name = key(&format!("app{app}"));
                if world.snapshot.apps.contains_key(&name) {
                    world.apply(&[Change::Undeclare { app: name }]);
                }
            }
            Step::Behave { version, bad } => {
                let behaviour = match bad {
                    0 => Behaviour::Healthy,
                    1 => Behaviour::CrashLoop,
                    2 => Behaviour::NeverReady,
                    _ => Behaviour::ImageMissing,
                };
                for app in 0..3 {
                    world.behave(&format!("app{app}:{version}"), behaviour);
                }
            }
            Step::Crash { app, slot } => {
                let found = world
                    .snapshot
                    .apps
                    .get(&key(&format!("app{app}")))
                    .and_then(|a| {
                        a.instances
                            .values()
                            .find(|i| i.slot == u32::from(*slot) && i.status.is_some())
                            .cloned()
                    });
                if let Some(instance) = found {
                    let mut status = instance.status.unwrap();
                    status.phase = InstancePhase::Gone;
                    status.ready = false;
                    status.ready_since = None;
                    world.apply(&[Change::Observe {
                        app: instance.app,
                        instance: instance.id,
                        status: Box::new(status),
                    }]);
                }
            }
            Step::Silence { node } => {
                let name: NodeName = ["a", "b", "c", "d"][usize::from(*node)].parse().unwrap();
                let now = world.now;
                let liveness = match world.snapshot.nodes[&name].liveness {
                    Liveness::Ready => Liveness::Suspect,
                    Liveness::Suspect | Liveness::Lost => Liveness::Ready,
                };
                world.apply(&[Change::SetLiveness {
                    node: name,
                    liveness,
                    last_heard: now,
                }]);
            }
            Step::Rounds(n) => world.rounds(usize::from(*n) * 5),
        }
    }
}

/// 64 cases keep the edit-test loop short; `PROPTEST_CASES` asks for more.
pub fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if asked { default.cases } else { 64 },
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn plans_keep_the_invariants_and_come_to_rest(steps in steps(), shape in 0..6u8) {
        let mut world = run(&steps, shape);
        for node in ["a", "b", "c", "d"] {
            let now = world.now;
            world.apply(&[Change::SetLiveness {
                node: node.parse().unwrap(),
                liveness: Liveness::Ready,
                last_heard: now,
            }]);
        }
        // Faults stop: what crashes now stays told as it is, and all deadlines pass.
        world.rounds(60);
        world.wait(1200);
        world.rounds(60);
        world.wait(1200);
        world.rounds(60);
        for app in world.snapshot.apps.values() {
            let declared = app.declared.as_ref();
            prop_assert!(declared.is_some(), "{} was never taken down", app.key);
            let ended = app.active_rollout().is_none_or(|r| r.phase == RolloutPhase::Paused);
            prop_assert!(ended, "{} still rolls: {:?}\n{:?}", app.key, app.rollout, world.last.report.apps.get(&app.key));
            let target = app.target_release();
            let at_declared = target.is_some_and(|t| Some(&t.spec_digest) == declared.map(|d| &d.digest));
            prop_assert!(at_declared || app.rejection_of_declared().is_some(), "{} is elsewhere without a word", app.key);
            if app.active_rollout().is_none() && target.is_some_and(|t| t.is_stable()) {
                let bad = world.behaviour.get(target.unwrap().image().unwrap()).is_some_and(|b| *b != Behaviour::Healthy);
                let ready = app.instances.values().filter(|i| i.is_ready() && i.wants_run()).count();
                prop_assert!(bad || ready == target.unwrap().spec.replicas as usize, "{}: {ready} serve", app.key);
            }
        }
        let before = world.snapshot.apps.clone();
        for _ in 0..5 {
            let plan = world.plan();
            prop_assert!(plan.changes.is_empty(), "not idle: {:?}", plan.changes);
            world.wait(120);
        }
        let _ = before;
    }

    #[test]
    fn healthy_updates_keep_the_promise(replicas in 1..6u32, surge in 0..4u32, unavailable in 0..4u32, updates in 1..4usize) {
        prop_assume!(surge + unavailable > 0);
        let mut world = World::new(&["a", "b", "c"]);
        world.declare("web", "1", spec("web:0").replicas(replicas).surge(surge, unavailable));
        world.settle();
        world.watch();
        for n in 1..=updates {
            world.declare("web", &format!("{n}a"), spec(&format!("web:{n}")).replicas(replicas).surge(surge, unavailable));
            world.rounds(n);
        }
        world.settle();
        prop_assert_eq!(world.serving("web"), format!("web:{updates} x{replicas}"));
        prop_assert!(world.low[&key("web")] >= (replicas.saturating_sub(unavailable)) as usize);
        prop_assert!(world.high[&key("web")] <= (replicas + surge) as usize);
    }
}
