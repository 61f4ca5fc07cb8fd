//! What a rollout waits for before the first old instance stops: its image on every node that
//! is to run it.

use super::world::*;
use crate::model::node::ImageState;
use crate::model::*;

/// The first version runs on three nodes, and the second is declared: no node has its image.
fn second_declared() -> World {
    let mut world = World::new(&["a", "b", "c"]);
    world.declare("web", "1", spec("web:1").replicas(3));
    world.settle();
    world.watch();
    world.declare("web", "2", spec("web:2").replicas(3));
    world
}

fn rollout(world: &World) -> &Rollout {
    world.app("web").rollout.as_ref().unwrap()
}

fn set_liveness(world: &mut World, node: &NodeName, liveness: Liveness) {
    let last_heard = world.now;
    world.apply(&[Change::SetLiveness {
        node: node.clone(),
        liveness,
        last_heard,
    }]);
}

fn bring_image(world: &mut World, node: &NodeName) {
    world.apply(&[Change::SetImage {
        node: node.clone(),
        image: "web:2".to_owned(),
        state: Some(ImageState::Present { digest: None }),
    }]);
}

/// What nodes say of instances of the second version that are to run: they serve.
fn second_serves(world: &mut World) {
    let app = world.app("web");
    let to = rollout(world).to;
    let new = |i: &&Instance| i.wants_run() && i.release == to;
    let old = app.instances.values().find(|i| i.is_ready()).unwrap();
    let mut status = old.status.clone().unwrap();
    status.ready_since = Some(world.now);
    let news = app.instances.values().filter(new).map(|i| Change::Observe {
        app: app.key.clone(),
        instance: i.id,
        status: Box::new(status.clone()),
    });
    let news: Vec<Change> = news.collect();
    assert!(!news.is_empty());
    world.apply(&news);
}

fn stopped(world: &World) -> usize {
    world.told(EventKind::InstanceStopping).len()
}

/// They were not ready when they were seen last, and now nobody sees them: they may serve by now.
#[test]
fn old_instances_that_nobody_sees_wait_for_the_images_too() {
    for (silent, phase) in [(1, RolloutPhase::Preparing), (0, RolloutPhase::Progressing)] {
        let mut world = second_declared();
        let app = world.app("web");
        let unready = app.instances.values().map(|i| {
            let mut status = i.status.clone().unwrap();
            status.ready = false;
            Change::Observe {
                app: app.key.clone(),
                instance: i.id,
                status: Box::new(status),
            }
        });
        let unready: Vec<Change> = unready.collect();
        world.apply(&unready);
        let nodes: Vec<NodeName> = world.snapshot.nodes.keys().cloned().collect();
        for node in &nodes[..silent] {
            set_liveness(&mut world, node, Liveness::Suspect);
        }
        world.plan();
        assert_eq!(rollout(&world).phase, phase, "{silent} silent");
    }
}

/// It was lost when the others had the image, and comes back before anything new was healthy.
#[test]
fn a_node_that_comes_back_gets_the_image_before_the_first_old_one_stops() {
    let mut world = second_declared();
    world.plan();
    let prepare = rollout(&world).prepare.clone();
    let (late, others) = (prepare.last().unwrap(), prepare.len() - 1);
    set_liveness(&mut world, late, Liveness::Lost);
    for node in prepare.iter().take(others) {
        bring_image(&mut world, node);
    }
    world.plan();
    assert_eq!(rollout(&world).phase, RolloutPhase::Progressing);
    set_liveness(&mut world, late, Liveness::Ready);
    world.plan();
    assert_eq!(rollout(&world).phase, RolloutPhase::Preparing);
    second_serves(&mut world);
    world.plan();
    assert_eq!(stopped(&world), 0);
    bring_image(&mut world, late);
    world.plan();
    assert_eq!(stopped(&world), 1);
}

/// It was not there when the rollout began. Its registry's word counts for all that come later.
#[test]
fn a_node_that_joined_since_tells_which_image_it_is() {
    let mut world = World::new(&[]);
    world.declare("web", "1", spec("web:1"));
    world.rounds(2);
    assert!(rollout(&world).prepare.is_empty());
    let node = "a".parse::<NodeName>().unwrap();
    world.add_node("a", 4000, 4096, &[]);
    for _ in 0..2 {
        world.plan();
    }
    assert_eq!(rollout(&world).prepare, [node.clone()].into());
    let digest = "web@sha256:1".to_owned();
    world.apply(&[Change::SetImage {
        node,
        image: "web:1".to_owned(),
        state: Some(ImageState::Present {
            digest: Some(digest.clone()),
        }),
    }]);
    world.settle();
    let release = world.app("web").target_release().unwrap();
    assert_eq!(release.pinned_image, Some(digest));
}
