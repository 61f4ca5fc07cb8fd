//! What explains a failure, and how long it is waited for.

use super::world::World;
use crate::agent::step::absorb::Explained;
use crate::agent::testing::{id, instance, set};

fn lines() -> Option<Vec<String>> {
    Some(vec!["cannot open database".to_owned()])
}

/// A probe failed: the runtime that does not answer may have taken the instance along, and what
/// went with its runtime is no evidence against a release.
#[test]
fn a_failure_of_what_runs_is_not_explained_by_a_runtime_that_cannot_be_asked() {
    let mut world = World::new(set(1, [instance(1)]));
    world.settle();
    assert_eq!(world.local.logged(id(1), None), Explained::Perhaps);
    assert_eq!(world.local.logged(id(1), lines()), Explained::Yes);
    assert_eq!(Some(world.view(id(1)).log_tail), lines());
}

/// Its end was seen, so its runtime answers: lines that cannot be had hold nothing up.
#[test]
fn an_exit_is_told_without_its_last_lines_where_they_cannot_be_had() {
    let mut world = World::new(set(1, [instance(1)]));
    world.settle();
    world.crash(id(1), 1);
    world.look();
    assert_eq!(world.local.logged(id(1), None), Explained::Yes);
}
