//! Constraint operators, strategies and the funnel's words.

use super::world::*;
use crate::model::spec::*;
use crate::model::*;

fn zones() -> World {
    let mut world = World::new(&[]);
    world.add_node(
        "a1",
        4000,
        4096,
        &[("zone", "a"), ("kernel", "5.10.0-28-amd64"), ("disks", "2")],
    );
    world.add_node(
        "a2",
        4000,
        4096,
        &[("zone", "a"), ("kernel", "5.4.0"), ("disks", "10")],
    );
    world.add_node(
        "b1",
        4000,
        4096,
        &[("zone", "b"), ("kernel", "6.1.0"), ("disks", "3")],
    );
    world.add_node("x1", 4000, 4096, &[]);
    world
}

/// Names of all nodes that take an instance under the constraint.
fn nodes(attribute: &str, operator: Operator, values: &[&str], value_type: ValueType) -> String {
    let world = zones();
    let constraint = Constraint::Attribute {
        attribute: attribute.to_owned(),
        operator,
        values: values.iter().map(|v| (*v).to_owned()).collect(),
        value_type,
    };
    let compiled = crate::plan::constraint::Compiled::new(&constraint);
    let names: Vec<&str> = world
        .snapshot
        .nodes
        .values()
        .filter(|n| compiled.matches(n))
        .map(|n| n.name.as_str())
        .collect();
    names.join(" ")
}

#[test]
fn every_operator() {
    use Operator::*;
    use ValueType::{Number, String as Text, Version};
    let cases = [
        (nodes("zone", Eq, &["a"], Text), "a1 a2"),
        (nodes("zone", NotEq, &["a"], Text), "b1 x1"),
        (nodes("zone", In, &["a", "b"], Text), "a1 a2 b1"),
        (nodes("zone", NotIn, &["a"], Text), "b1 x1"),
        (nodes("zone", Matches, &["[ab]"], Text), "a1 a2 b1"),
        (nodes("kernel", Matches, &["5"], Text), ""),
        (nodes("kernel", Matches, &["5.*"], Text), "a1 a2"),
        (nodes("kernel", Ge, &["5.10"], Version), "a1 b1"),
        (nodes("kernel", Lt, &["5.10"], Version), "a2"),
        (nodes("disks", Gt, &["2"], Number), "a2 b1"),
        (nodes("disks", Le, &["3"], Number), "a1 b1"),
        (nodes("disks", Eq, &["2.0"], Number), "a1"),
        (nodes("disks", Gt, &["2"], Text), "b1"),
        (nodes("zone", Gt, &["1"], Number), ""),
        (nodes("zone", Exists, &[], Text), "a1 a2 b1"),
        (nodes("zone", NotExists, &[], Text), "x1"),
        (nodes("node", Eq, &["b1"], Text), "b1"),
    ];
    for (index, (got, want)) in cases.iter().enumerate() {
        assert_eq!(got, want, "case {index}");
    }
}

fn placed(world: &World, app: &str) -> String {
    let mut names: Vec<&str> = world
        .app(app)
        .instances
        .values()
        .map(|i| i.node.as_str())
        .collect();
    names.sort();
    names.join(" ")
}

#[test]
fn spread_goes_wide_and_binpack_fills_up() {
    let mut world = World::new(&["a", "b", "c"]);
    world.declare("wide", "1", spec("x:1").replicas(3));
    world.settle();
    assert_eq!(placed(&world, "wide"), "a b c");
    let mut world = World::new(&["a", "b", "c"]);
    world.declare(
        "full",
        "1",
        spec("x:1")
            .replicas(3)
            .with(|s| s.placement.strategy = PlacementStrategy::Binpack),
    );
    world.settle();
    let at = placed(&world, "full");
    assert!(at == "a a a" || at == "b b b" || at == "c c c", "{at}");
    let mut world = World::new(&["a", "b", "c"]);
    world.declare(
        "any",
        "1",
        spec("x:1")
            .replicas(30)
            .with(|s| s.placement.strategy = PlacementStrategy::Random),
    );
    world.settle();
    for node in ["a", "b", "c"] {
        assert!(placed(&world, "any").contains(node));
    }
}

#[test]
fn max_per_zone() {
    let mut world = zones();
    world.declare(
        "web",
        "1",
        spec("x:1").replicas(2).constraint(Constraint::MaxPer {
            attribute: "zone".to_owned(),
            max: 1,
        }),
    );
    world.settle();
    let at = placed(&world, "web");
    assert!(at.contains("b1") && at.contains("a"), "{at}");
}

#[test]
fn the_funnel_counts_each_node_once_and_says_why() {
    let mut world = zones();
    world.declare(
        "big",
        "1",
        spec("x:1")
            .with(|s| s.requests.cpu_millis = 3000)
            .constraint(Constraint::Attribute {
                attribute: "zone".to_owned(),
                operator: Operator::Eq,
                values: vec!["b".to_owned()],
                value_type: ValueType::String,
            }),
    );
    world.settle();
    world.declare(
        "web",
        "1",
        spec("y:1")
            .with(|s| s.requests.cpu_millis = 2000)
            .constraint(Constraint::Attribute {
                attribute: "zone".to_owned(),
                operator: Operator::Eq,
                values: vec!["b".to_owned()],
                value_type: ValueType::String,
            }),
    );
    world.plan();
    let report = &world.last.report.apps[&key("web")];
    assert_eq!(
        report.funnel.as_ref().unwrap().to_string(),
        "none of 4 node(s) can take it: 3: constraint zone == b; 1: not enough cpu (needs 2, at most 1 is free)"
    );
}

#[test]
fn a_process_needs_a_node_that_runs_processes() {
    let mut world = World::new(&["a"]);
    let mut node = world.snapshot.nodes[&"a".parse().unwrap()].clone();
    node.facts.attributes.remove("runtime.docker");
    world.apply(&[Change::PutNode(Box::new(node))]);
    world.declare("img", "1", spec("x:1"));
    world.declare(
        "proc",
        "1",
        spec("x:1").with(|s| {
            s.workload.task = Task::Process {
                command: vec!["sleep".to_owned()],
                working_dir: None,
            };
        }),
    );
    world.settle();
    assert_eq!(world.serving("proc"), "process x1");
    assert!(
        world
            .app("img")
            .rejection_of_declared()
            .unwrap()
            .reason
            .contains("has no Docker Engine")
    );
}

#[test]
fn an_engine_that_has_not_answered_yet_condemns_nothing() {
    let mut world = World::new(&["a"]);
    let mut node = world.snapshot.nodes[&"a".parse().unwrap()].clone();
    let told = node
        .facts
        .attributes
        .insert("runtime.docker".to_owned(), "unknown".to_owned());
    world.apply(&[Change::PutNode(Box::new(node.clone()))]);
    world.declare("web", "1", spec("x:1"));
    world.rounds(3);
    assert!(world.app("web").quarantine.is_empty());
    let waits = &world.last.report.apps[&key("web")].waiting;
    assert!(
        waits
            .iter()
            .any(|w| w.what.contains("has not answered yet")),
        "{waits:?}"
    );
    node.facts
        .attributes
        .insert("runtime.docker".to_owned(), told.unwrap());
    world.apply(&[Change::PutNode(Box::new(node))]);
    world.settle();
    assert_eq!(world.serving("web"), "x:1 x1");
}
