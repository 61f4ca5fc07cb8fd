//! What a shape of instances asks of nodes, and how it ranks them.

use std::collections::BTreeMap;

use super::overlay::Held;
use super::tournament::NONE;
use super::{Runtime, closed, load};
use crate::model::quantity::Resources;
use crate::model::spec::{AppSpec, Constraint, PlacementStrategy, Protocol};
use crate::model::{AppKey, NodeName, Snapshot};
use crate::plan::constraint::Compiled;

/// Bits of a key, from the least: the row, the instances there, the load, all of the
/// app's instances, those that stay. What does not fit is cut to the largest: with more
/// than a million instances of an app on one node, or a node used a million times over,
/// the order among such nodes no longer matters.
const ROW_BITS: u32 = 28;
const INSTANCE_BITS: u32 = 28;
const LOAD_BITS: u32 = 32;
const RANK_BITS: u32 = 20;

/// A node as the search sees it.
#[derive(Debug)]
pub(super) struct Row {
    pub name: NodeName,
    pub capacity: Resources,
    pub held: Held,
}

/// What an instance asks of a node, apart from where its siblings are.
#[derive(Debug, PartialEq)]
pub(super) struct Shape {
    strategy: PlacementStrategy,
    requests: Resources,
    ports: Vec<(u16, Protocol)>,
    /// Volumes belong to an app.
    volumes: Vec<(AppKey, String)>,
}

/// The nodes that some constraints allow, whatever they hold.
#[derive(Debug)]
pub(super) struct Eligible {
    runtime: Runtime,
    constraints: Vec<Constraint>,
    /// Of each row its group and its place there.
    pub places: Vec<Option<(u32, u32)>>,
    /// Rows of each group.
    pub groups: Vec<Vec<u32>>,
    pub limits: Vec<Limit>,
}

/// A grouping constraint.
#[derive(Debug)]
pub(super) struct Limit {
    pub max: u32,
    /// Of each row the number of its value.
    pub values: Vec<Option<u32>>,
}

impl Shape {
    pub fn of(spec: &AppSpec, app: &AppKey) -> Shape {
        let volumes = spec.workload.exclusive_volumes();
        Shape {
            strategy: spec.placement.strategy,
            requests: spec.requests,
            ports: spec.workload.fixed_host_ports().collect(),
            volumes: volumes.map(|v| (app.clone(), v.to_owned())).collect(),
        }
    }

    pub fn is_of(&self, spec: &AppSpec, app: &AppKey) -> bool {
        self.strategy == spec.placement.strategy
            && self.requests == spec.requests
            && self
                .ports
                .iter()
                .copied()
                .eq(spec.workload.fixed_host_ports())
            && self
                .volumes
                .iter()
                .map(|(app, volume)| (app, volume.as_str()))
                .eq(spec.workload.exclusive_volumes().map(|v| (app, v)))
    }

    fn has_room(&self, row: &Row) -> bool {
        let free = row.capacity.minus(row.held.requests);
        self.requests.fits(free)
            && !self
                .ports
                .iter()
                .any(|port| row.held.host_ports.contains_key(port))
            && !self
                .volumes
                .iter()
                .any(|v| row.held.volumes.contains_key(v))
    }

    /// The score as a number: see [`super::Score`].
    pub fn key(&self, number: u32, row: &Row, (staying, all): (u32, u32)) -> u128 {
        if !self.has_room(row) {
            return NONE;
        }
        let load = load(row.held.requests.plus(self.requests), row.capacity);
        let most = (1u64 << INSTANCE_BITS) - 1;
        let instances = (row.held.instances as u64).min(most);
        let (ranks, load, instances) = match self.strategy {
            PlacementStrategy::Spread => ((staying, all), load, instances),
            PlacementStrategy::Binpack => ((0, 0), 1000 - load.min(1000), most - instances),
            PlacementStrategy::Random => ((0, 0), 0, 0),
        };
        let rank = |n: u32| u128::from(n.min((1 << RANK_BITS) - 1));
        let mut key = rank(ranks.0);
        key = key << RANK_BITS | rank(ranks.1);
        key = key << LOAD_BITS | u128::from(load.min(u64::from(u32::MAX)));
        key = key << INSTANCE_BITS | u128::from(instances);
        key << ROW_BITS | u128::from(number)
    }
}

/// The row that a key stands for.
pub(super) fn row_of(key: u128) -> u32 {
    (key & ((1 << ROW_BITS) - 1)) as u32
}

impl Eligible {
    pub fn is_of(&self, spec: &AppSpec) -> bool {
        self.runtime == Runtime::of(&spec.workload.task)
            && self.constraints == spec.placement.constraints
    }

    pub fn of(snapshot: &Snapshot, spec: &AppSpec, ideal: bool) -> Eligible {
        let runtime = Runtime::of(&spec.workload.task);
        let constraints = spec.placement.constraints.clone();
        let compiled: Vec<Compiled> = constraints.iter().map(Compiled::new).collect();
        let mut limits: Vec<(Limit, &str, BTreeMap<&str, u32>)> = compiled
            .iter()
            .filter_map(Compiled::group)
            .map(|(attribute, max)| {
                let values = Vec::with_capacity(snapshot.nodes.len());
                (Limit { max, values }, attribute, BTreeMap::new())
            })
            .collect();
        let mut places = Vec::with_capacity(snapshot.nodes.len());
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut of_values: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        for (number, node) in snapshot.nodes.values().enumerate() {
            let mut shared = Vec::with_capacity(limits.len());
            for (limit, attribute, known) in &mut limits {
                let value = node.attribute(attribute).map(|value| {
                    let next = known.len() as u32;
                    *known.entry(value).or_insert(next)
                });
                limit.values.push(value);
                shared.extend(value);
            }
            let allowed = shared.len() == limits.len()
                && closed(node, runtime, ideal, None).is_none()
                && compiled.iter().all(|c| c.matches(node));
            places.push(allowed.then(|| {
                let group = *of_values.entry(shared).or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() as u32 - 1
                });
                let members = &mut groups[group as usize];
                members.push(number as u32);
                (group, members.len() as u32 - 1)
            }));
        }
        let limits = limits.into_iter().map(|(limit, ..)| limit).collect();
        Eligible {
            runtime,
            places,
            groups,
            limits,
            constraints,
        }
    }
}
