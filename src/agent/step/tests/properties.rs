//! Whatever happens in whatever order: one operation at a time per instance,
//! nothing asked of a silent runtime, and afterwards the desired state.

use proptest::prelude::*;

use super::world::World;
use crate::agent::step::{OpKind, Step};
use crate::agent::testing::{Tweak as _, id, instance, set, tcp_probe};
use crate::model::instance::ProbeKind;
use crate::model::{DesiredInstance, FailureKind, InstancePhase};

#[derive(Clone, Debug)]
enum Happening {
    Step,
    EndOne,
    Look,
    Crash(u128),
    RemoveByHand(u128),
    Down,
    Up {
        took_along: bool,
    },
    Fail(OpKind, FailureKind),
    Pass(i64),
    /// Instances to run and to stop; what is in neither is unlisted.
    Desire(u8, u8),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let kind = prop_oneof![
        Just(OpKind::Pull),
        Just(OpKind::Create),
        Just(OpKind::Start),
        Just(OpKind::Stop),
        Just(OpKind::Remove),
    ];
    let failure = prop_oneof![
        Just(FailureKind::StartFailed),
        Just(FailureKind::Rejected),
        Just(FailureKind::ImageNotFound),
        Just(FailureKind::PullFailed),
        Just(FailureKind::RuntimeUnavailable),
    ];
    prop_oneof![
        6 => Just(Happening::Step),
        6 => Just(Happening::EndOne),
        3 => Just(Happening::Look),
        2 => (0..4u128).prop_map(Happening::Crash),
        1 => (0..4u128).prop_map(Happening::RemoveByHand),
        1 => Just(Happening::Down),
        2 => any::<bool>().prop_map(|took_along| Happening::Up { took_along }),
        2 => (kind, failure).prop_map(|(k, f)| Happening::Fail(k, f)),
        2 => (0..40_000i64).prop_map(Happening::Pass),
        2 => (0..16u8, 0..16u8).prop_map(|(r, s)| Happening::Desire(r, s)),
        1 => Just(Happening::Restart),
    ]
}

fn desired(run: u8, stop: u8) -> Vec<DesiredInstance> {
    (0..4u128)
        .filter_map(|n| match (run >> n & 1, stop >> n & 1) {
            (_, 1) => Some(instance(n).stopping()),
            (1, _) => Some(instance(n)),
            _ => None,
        })
        .collect()
}

fn happen(world: &mut World, generation: &mut i64, happening: &Happening) {
    match happening {
        Happening::Step => world.begin(),
        Happening::EndOne => drop(world.end_one()),
        Happening::Look => world.look(),
        Happening::Crash(n) => world.crash(id(*n), 1),
        Happening::RemoveByHand(n) => drop(world.real.remove(&id(*n))),
        Happening::Down => {
            world.up = false;
            world.look();
        }
        Happening::Up { took_along } => {
            world.up = true;
            for n in 0..4 {
                if *took_along {
                    world.exit(id(n), 255, true, 1);
                }
            }
            world.look();
        }
        Happening::Fail(kind, failure) => world.faults.push((*kind, *failure)),
        Happening::Pass(ms) => world.now += ms,
        Happening::Desire(run, stop) => {
            *generation += 1;
            world.desire(set(*generation, desired(*run, *stop)));
        }
        Happening::Restart => {
            // What was under way ends unseen, or never happened.
            world.in_flight.clear();
            let kept = world.local.kept();
            world.local = crate::agent::step::Local::new([crate::agent::step::DOCKER]);
            world.local.restore(kept, world.at());
            let desired = world.desired.clone();
            world.local.admit(&desired, world.at());
            world.look();
        }
    }
}

fn check_step(world: &World, step: &Step) -> Result<(), TestCaseError> {
    let known = world
        .local
        .runtimes
        .values()
        .all(crate::agent::step::RuntimeState::is_known);
    prop_assert!(known || step.ops.is_empty(), "asked of a silent runtime");
    let mut busy: Vec<_> = world
        .in_flight
        .iter()
        .chain(&step.ops)
        .map(|op| match op {
            crate::agent::step::Op::Pull { image, .. } => image.clone(),
            other => format!("{:?}", other.instance()),
        })
        .collect();
    busy.sort();
    let all = busy.len();
    busy.dedup();
    prop_assert_eq!(busy.len(), all, "two operations at a time on one thing");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn it_always_gets_there(happenings in prop::collection::vec(happening(), 0..80)) {
        let mut world = World::new(set(1, desired(7, 0)));
        let mut generation = 1;
        for h in &happenings {
            check_step(&world, &world.step())?;
            happen(&mut world, &mut generation, h);
        }
        // The faults stop.
        world.faults.clear();
        world.up = true;
        while world.end_one() {}
        world.look();
        let end = world.now + 300_000;
        world.pass(end);
        world.look();
        world.settle();
        prop_assert_eq!(&world.step().ops, &vec![]);
        for instance in world.desired.instances.values() {
            let expected = match instance.goal {
                crate::model::desired::DesiredGoal::Run => InstancePhase::Running,
                crate::model::desired::DesiredGoal::Stop { .. } => InstancePhase::Gone,
            };
            prop_assert_eq!(world.view(instance.id).phase, expected);
        }
        for found in world.real.values() {
            let wanted = world.desired.instances.get(&found.id);
            prop_assert!(wanted.is_some(), "an orphan is left");
        }
    }

    /// Nobody gives orders any more, and the agent itself comes and goes: what runs well is
    /// left alone, however long that lasts, and also when the same orders come again.
    #[test]
    fn p11_nodes_serve_on_without_a_controller(hours in prop::collection::vec((1..48i64, any::<bool>()), 1..12), probed in any::<bool>()) {
        let wanted: Vec<DesiredInstance> = desired(7, 0)
            .into_iter()
            .map(|i| if probed { i.with(|run| run.health.liveness = Some(tcp_probe())) } else { i })
            .collect();
        let mut world = World::new(set(1, wanted));
        world.settle();
        let started: Vec<_> = world.real.values().map(|f| (f.id, f.starts)).collect();
        world.forget_log();
        for (hours, restarted) in hours {
            let until = world.now + hours * 3_600_000;
            world.pass(until);
            for (id, _) in &started {
                world.probe(*id, ProbeKind::Liveness, true);
            }
            if restarted {
                happen(&mut world, &mut 1, &Happening::Restart);
                world.settle();
            }
        }
        let mut again = world.desired.clone();
        again.epoch = crate::model::Epoch(2);
        world.desire(again);
        world.settle();
        let touching = world.done.iter().filter(|(_, op)| op.instance().is_some()).count();
        prop_assert_eq!(touching, 0, "{:?}", world.log());
        let runs: Vec<_> = world.real.values().map(|f| (f.id, f.starts)).collect();
        prop_assert_eq!(runs, started);
    }
}
