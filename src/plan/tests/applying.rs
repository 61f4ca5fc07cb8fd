//! A list of changes is applied as a whole or not at all.

use std::sync::Arc;
use std::time::Duration;

use super::world::*;
use crate::model::*;
use crate::plan::IdSource;

fn id(n: u64) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::from(n % 2) + 1)
}

/// One of every kind that can fail to fit, over two apps, instances, releases and nodes.
fn change(ids: &mut IdSource) -> Change {
    let mut pick = |n: u64| ids.next_u64() % n;
    let (kind, app) = (pick(14), key(["a", "b"][pick(2) as usize]));
    let instance = InstanceId(id(pick(2)));
    let release = ReleaseId(id(pick(2)));
    let node: NodeName = ["n", "m"][pick(2) as usize].parse().unwrap();
    let spec = Arc::new(spec("web:1"));
    let now = Timestamp(0);
    match kind {
        0 => Change::Declare {
            app,
            source: "main".parse().unwrap(),
            path: "a.yaml".to_owned(),
            declared: Declared {
                commit: commit("1"),
                digest: spec.digest(),
                spec,
                at: now,
            },
        },
        1 => Change::RemoveApp { app },
        2 => Change::Undeclare { app },
        3 => Change::AddRelease(Arc::new(Release {
            id: release,
            app,
            number: 1,
            commit: commit("1"),
            spec_digest: spec.digest(),
            workload_digest: spec.workload_digest(),
            spec,
            created_at: now,
            state: ReleaseState::New,
            pinned_image: None,
        })),
        4 => Change::ForgetRelease { app, release },
        5 => Change::PinImage {
            app,
            release,
            image: "web@sha256:1".to_owned(),
        },
        6 => Change::AddInstance(Box::new(Instance {
            id: instance,
            app,
            slot: 0,
            release,
            workload: spec.workload_digest(),
            incarnation: 0,
            node,
            created_at: now,
            reason: String::new(),
            requests: spec.requests,
            host_ports: Vec::new(),
            volumes: Vec::new(),
            goal: Goal::Run,
            status: None,
        })),
        7 => Change::ForgetInstance { app, instance },
        8 => Change::SetGoal {
            app,
            instance,
            goal: Goal::Run,
        },
        9 => Change::SetRequests {
            app,
            instance,
            requests: spec.requests,
        },
        10 => Change::SetLiveness {
            node,
            liveness: Liveness::Ready,
            last_heard: now,
        },
        11 => Change::RemoveNode { node },
        12 => Change::SetInvalid { app, invalid: None },
        _ => Change::SetScheduling {
            node,
            scheduling: Scheduling::Active,
            note: None,
        },
    }
}

#[test]
fn a_list_that_does_not_fit_changes_nothing() {
    let mut world = World::new(&["n"]);
    world.declare("a", "1", spec("web:1"));
    world.settle();
    world.wait(Duration::from_secs(1).as_secs());
    let (mut fitted, mut refused) = (0, 0);
    for seed in 0..4000 {
        let mut ids = IdSource::new(seed);
        let mut changes = Vec::new();
        for _ in 0..ids.next_u64() % 8 + 1 {
            changes.push(change(&mut ids));
        }
        let mut stepwise = world.snapshot.clone();
        let one_by_one = changes.iter().try_for_each(|c| stepwise.apply(c));
        let mut whole = world.snapshot.clone();
        let at_once = whole.apply_all(&changes);
        assert_eq!(at_once, one_by_one, "{changes:#?}");
        if at_once.is_ok() {
            fitted += 1;
            assert!(whole == stepwise);
        } else {
            refused += 1;
            assert!(whole == world.snapshot, "half applied: {changes:#?}");
        }
    }
    assert!(fitted > 300 && refused > 300, "{fitted} {refused}");
}
