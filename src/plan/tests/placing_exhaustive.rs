//! Placement against a solver that tries everything, on small clusters.
//!
//! If all replicas of an app can be placed under the hard rules, the planner places
//! them; where rules about several attributes cross each other, it may take a node
//! that another replica would have needed, and then says what stood in the way.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::*;
use crate::model::spec::{Constraint, Operator, ValueType};
use crate::model::*;

#[derive(Clone, Debug)]
struct Case {
    /// Cpu, zone and rack of each node, and what other apps hold of its cpu.
    nodes: Vec<(u64, u8, u8, u64)>,
    cpu: u64,
    replicas: u32,
    per_zone: Option<u32>,
    per_rack: Option<u32>,
    only_zone: Option<u8>,
    port: bool,
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(
            (
                prop::sample::select(vec![1000u64, 2000]),
                0..3u8,
                0..3u8,
                prop::sample::select(vec![0u64, 500, 900]),
            ),
            1..5,
        ),
        prop::sample::select(vec![400u64, 700, 1000]),
        1..5u32,
        prop::option::of(1..3u32),
        prop::option::of(1..3u32),
        prop::option::weighted(0.3, 0..3u8),
        prop::bool::weighted(0.3),
    )
        .prop_map(
            |(nodes, cpu, replicas, per_zone, per_rack, only_zone, port)| Case {
                nodes,
                cpu,
                replicas,
                per_zone,
                per_rack,
                only_zone,
                port,
            },
        )
}

fn max_per(attribute: &str, max: u32) -> Constraint {
    Constraint::MaxPer {
        attribute: attribute.to_owned(),
        max,
    }
}

fn spec_of(case: &Case) -> AppSpec {
    let mut app = spec("x:1").replicas(case.replicas).with(|s| {
        s.requests.cpu_millis = case.cpu;
        let groups = [("zone", case.per_zone), ("rack", case.per_rack)];
        for (attribute, max) in groups {
            s.placement
                .constraints
                .extend(max.map(|max| max_per(attribute, max)));
        }
        s.placement
            .constraints
            .extend(case.only_zone.map(|zone| Constraint::Attribute {
                attribute: "zone".to_owned(),
                operator: Operator::Eq,
                values: vec![format!("z{zone}")],
                value_type: ValueType::String,
            }));
    });
    if case.port {
        app = app.host_port(80);
    }
    app
}

/// A cluster in which another app already holds its share of each node.
fn cluster(case: &Case) -> World {
    let mut world = World::new(&[]);
    for (number, (cpu, zone, rack, used)) in case.nodes.iter().enumerate() {
        let (zone, rack) = (format!("z{zone}"), format!("r{rack}"));
        let name = format!("n{number}");
        world.add_node(&name, *cpu, 4096, &[("zone", &zone), ("rack", &rack)]);
        if *used > 0 {
            let on = Constraint::Attribute {
                attribute: "node".to_owned(),
                operator: Operator::Eq,
                values: vec![name],
                value_type: ValueType::String,
            };
            let other = spec("other:1").with(|s| s.requests.cpu_millis = *used);
            world.declare(&format!("other{number}"), "1", other.constraint(on));
        }
    }
    world.settle();
    world
}

/// The most replicas that any assignment places.
fn most(case: &Case, placed: &mut Vec<usize>) -> u32 {
    let count = placed.len() as u32;
    if count == case.replicas {
        return count;
    }
    // Replicas are alike: later ones go to the same node or a later one.
    let first = placed.last().copied().unwrap_or(0);
    let mut best = count;
    for node in first..case.nodes.len() {
        placed.push(node);
        if is_allowed(case, placed) {
            best = best.max(most(case, placed));
        }
        placed.pop();
    }
    best
}

fn is_allowed(case: &Case, placed: &[usize]) -> bool {
    let mut on: BTreeMap<usize, u64> = BTreeMap::new();
    let (mut zones, mut racks) = (BTreeMap::new(), BTreeMap::new());
    for node in placed {
        *on.entry(*node).or_default() += 1;
        *zones.entry(case.nodes[*node].1).or_insert(0u32) += 1;
        *racks.entry(case.nodes[*node].2).or_insert(0u32) += 1;
    }
    let within = |counts: &BTreeMap<u8, u32>, max: Option<u32>| {
        max.is_none_or(|max| counts.values().all(|n| *n <= max))
    };
    on.iter().all(|(node, n)| {
        let (cpu, zone, _, used) = case.nodes[*node];
        n * case.cpu + used <= cpu
            && (!case.port || *n <= 1)
            && case.only_zone.is_none_or(|only| only == zone)
    }) && within(&zones, case.per_zone)
        && within(&racks, case.per_rack)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_can_be_placed_is_placed_or_the_report_says_what_was_given_up(case in case()) {
        let possible = most(&case, &mut Vec::new());
        let mut world = cluster(&case);
        world.declare("app", "1", spec_of(&case));
        // `plan` checks that what is placed keeps the hard rules.
        world.plan();
        let app = world.app("app");
        let placed = app.instances.len() as u32;
        if placed == case.replicas {
            return Ok(());
        }
        let crossing = case.per_zone.is_some() && case.per_rack.is_some();
        let known = ["not enough cpu", "constraint ", "host port 80 is held by another instance of it"];
        let report = &world.last.report.apps[&key("app")];
        match app.rejection_of_declared() {
            // Judged on a cluster where nothing else runs: not even there.
            Some(rejection) => {
                prop_assert_eq!(rejection.verdict, Verdict::Infeasible);
                prop_assert!(possible < case.replicas || crossing, "{:?}", rejection.reason);
                prop_assert_eq!(placed, 0);
                prop_assert!(known.iter().any(|k| rejection.reason.contains(k)), "{}", rejection.reason);
                return Ok(());
            }
            None => {
                prop_assert!(placed == possible || crossing && placed < possible,
                    "{placed} of {possible} possible are placed: {report:?}");
            }
        }
        let funnel = report.funnel.as_ref();
        prop_assert!(funnel.is_some(), "nothing is said: {report:?}");
        let funnel = funnel.unwrap();
        prop_assert_eq!(funnel.considered, case.nodes.len());
        prop_assert_eq!(funnel.excluded.values().sum::<usize>(), case.nodes.len());
        for rule in funnel.excluded.keys() {
            prop_assert!(known.iter().any(|k| rule.starts_with(k)), "{rule}");
        }
    }
}
