//! Finds the best node without looking at all of them.
//!
//! Instances that ask for the same (a [`Shape`]: requests, ports, constraints,
//! strategy) rank the nodes alike, but for where their own app already runs. So
//! there is one tournament per shape, in which the nodes that hold instances of the
//! app at hand are ranked for that app, and put back when another one comes.
//! What changes on a node is noted once, in order; a tournament takes in what it
//! has not seen when it is asked next.
//!
//! Nodes that share the values of the grouping constraints (`unique`, `maxPer`) form a
//! group with a tournament of its own: one whose value is used up leaves as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::overlay::Held;
use super::tournament::{NONE, Tournament};
use super::{Request, Runtime, closed, load};
use crate::model::quantity::Resources;
use crate::model::spec::{AppSpec, Constraint, PlacementStrategy, Protocol};
use crate::model::{AppKey, NodeName, Snapshot};
use crate::plan::constraint::Compiled;

/// Tournaments that are kept: each takes 32 bytes per node.
const SHAPES: usize = 32;

/// Bits of a key, from the least: the row, the instances there, the load, all of the
/// app's instances, those that stay. What does not fit is cut to the largest: with more
/// than a million instances of an app on one node, or a node used a million times over,
/// the order among such nodes no longer matters.
const ROW_BITS: u32 = 28;
const INSTANCE_BITS: u32 = 28;
const LOAD_BITS: u32 = 32;
const RANK_BITS: u32 = 20;

#[derive(Debug)]
pub(super) struct Search {
    ideal: bool,
    /// By name: the order of rows is the order of names.
    rows: Vec<Row>,
    /// Rows that changed, oldest first.
    log: Vec<u32>,
    eligible: Vec<Rc<Eligible>>,
    /// The one used last comes last.
    indexes: Vec<Index>,
}

#[derive(Debug)]
struct Row {
    name: NodeName,
    capacity: Resources,
    held: Held,
}

/// What an instance asks of a node, apart from where its siblings are.
#[derive(Debug, PartialEq)]
struct Shape {
    strategy: PlacementStrategy,
    requests: Resources,
    ports: Vec<(u16, Protocol)>,
    /// Volumes belong to an app.
    volumes: Vec<(AppKey, String)>,
}

/// The nodes that some constraints allow, whatever they hold.
#[derive(Debug)]
struct Eligible {
    runtime: Runtime,
    constraints: Vec<Constraint>,
    /// Of each row its group and its place there.
    places: Vec<Option<(u32, u32)>>,
    /// Rows of each group.
    groups: Vec<Vec<u32>>,
    limits: Vec<Limit>,
}

/// A grouping constraint.
#[derive(Debug)]
struct Limit {
    max: u32,
    /// Of each row the number of its value.
    values: Vec<Option<u32>>,
}

#[derive(Debug)]
struct Index {
    shape: Shape,
    eligible: Rc<Eligible>,
    groups: Vec<Tournament>,
    /// The best of each group.
    heads: Tournament,
    /// How much of the log it has seen.
    seen: usize,
    session: Session,
}

/// The app for which the index ranks its nodes.
#[derive(Debug, Default)]
struct Session {
    siblings: u64,
    /// How many of those added since it has seen.
    seen: usize,
    ranks: BTreeMap<u32, (u32, u32)>,
    /// Per limit: value → instances of the app.
    used: Vec<BTreeMap<u32, u32>>,
    /// Groups whose value is used up: they have no head.
    full: BTreeSet<u32>,
}

impl Search {
    pub fn new(snapshot: &Snapshot, ideal: bool, held: impl Fn(&NodeName) -> Held) -> Search {
        let row = |node: &crate::model::Node| Row {
            name: node.name.clone(),
            capacity: node.facts.capacity,
            held: held(&node.name),
        };
        Search {
            ideal,
            rows: snapshot.nodes.values().map(row).collect(),
            log: Vec::new(),
            eligible: Vec::new(),
            indexes: Vec::new(),
        }
    }

    pub fn row(&self, node: &NodeName) -> Option<usize> {
        self.rows.binary_search_by(|row| row.name.cmp(node)).ok()
    }

    pub fn held(&self, node: &NodeName) -> Option<&Held> {
        self.row(node).map(|row| &self.rows[row].held)
    }

    /// To be changed.
    pub fn held_mut(&mut self, row: usize) -> &mut Held {
        self.log.push(row as u32);
        &mut self.rows[row].held
    }

    pub fn best(&mut self, snapshot: &Snapshot, request: &Request<'_>) -> Option<NodeName> {
        let index = self.index_for(snapshot, request);
        let mut index = self.indexes.remove(index);
        index.catch_up(self, request);
        let best = index.pick();
        self.indexes.push(index);
        best.map(|row| self.rows[row as usize].name.clone())
    }

    fn index_for(&mut self, snapshot: &Snapshot, request: &Request<'_>) -> usize {
        let spec = request.spec;
        let known = self
            .indexes
            .iter()
            .rposition(|index| index.eligible.is_of(spec) && index.shape.is_of(spec, request.app));
        if let Some(known) = known {
            return known;
        }
        if self.indexes.len() == SHAPES {
            self.indexes.remove(0);
        }
        let eligible = self.eligible_for(snapshot, spec);
        let shape = Shape::of(spec, request.app);
        self.indexes.push(Index::new(shape, eligible, self));
        self.indexes.len() - 1
    }

    fn eligible_for(&mut self, snapshot: &Snapshot, spec: &AppSpec) -> Rc<Eligible> {
        if let Some(known) = self.eligible.iter().find(|e| e.is_of(spec)) {
            return Rc::clone(known);
        }
        if self.eligible.len() == SHAPES {
            self.eligible.remove(0);
        }
        let made = Rc::new(Eligible::of(snapshot, spec, self.ideal));
        self.eligible.push(Rc::clone(&made));
        made
    }
}

impl Shape {
    fn of(spec: &AppSpec, app: &AppKey) -> Shape {
        let volumes = spec.workload.exclusive_volumes();
        Shape {
            strategy: spec.placement.strategy,
            requests: spec.requests,
            ports: spec.workload.fixed_host_ports().collect(),
            volumes: volumes.map(|v| (app.clone(), v.to_owned())).collect(),
        }
    }

    fn is_of(&self, spec: &AppSpec, app: &AppKey) -> bool {
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
    fn key(&self, number: u32, row: &Row, (staying, all): (u32, u32)) -> u128 {
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

impl Eligible {
    fn is_of(&self, spec: &AppSpec) -> bool {
        self.runtime == Runtime::of(&spec.workload.task)
            && self.constraints == spec.placement.constraints
    }

    fn of(snapshot: &Snapshot, spec: &AppSpec, ideal: bool) -> Eligible {
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
                && closed(node, runtime, ideal).is_none()
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

impl Index {
    fn new(shape: Shape, eligible: Rc<Eligible>, search: &Search) -> Index {
        let mut index = Index {
            shape,
            eligible,
            groups: Vec::new(),
            heads: Tournament::new(std::iter::empty()),
            seen: 0,
            session: Session::default(),
        };
        index.fill(search);
        index
    }

    /// From the rows as they are.
    fn fill(&mut self, search: &Search) {
        let (shape, ranks) = (&self.shape, &self.session.ranks);
        let key = |number: &u32| {
            let ranks = ranks.get(number).copied().unwrap_or_default();
            shape.key(*number, &search.rows[*number as usize], ranks)
        };
        let groups = &self.eligible.groups;
        self.groups = groups
            .iter()
            .map(|rows| Tournament::new(rows.iter().map(key)))
            .collect();
        self.heads = Tournament::new(self.groups.iter().map(Tournament::least));
        for group in &self.session.full {
            self.heads.set(*group as usize, NONE);
        }
        self.seen = search.log.len();
    }

    /// Takes in what changed on the nodes, and of the app's instances.
    fn catch_up(&mut self, search: &Search, request: &Request<'_>) {
        let siblings = request.siblings;
        let mut stale: Vec<u32> = Vec::new();
        if self.session.siblings == siblings.id {
            for node in &siblings.added[self.session.seen..] {
                if let Some(row) = search.row(node) {
                    self.session.ranks.insert(row as u32, siblings.on(node));
                    self.session.use_up(&self.eligible, row, 1);
                    stale.push(row as u32);
                }
            }
        } else {
            stale.extend(self.session.ranks.keys());
            for group in std::mem::take(&mut self.session.full) {
                let least = self.groups[group as usize].least();
                self.heads.set(group as usize, least);
            }
            self.session = Session {
                siblings: siblings.id,
                used: vec![BTreeMap::new(); self.eligible.limits.len()],
                ..Session::default()
            };
            for (node, ranks) in &siblings.on {
                if let Some(row) = search.row(node) {
                    self.session.ranks.insert(row as u32, *ranks);
                    self.session.use_up(&self.eligible, row, ranks.1);
                    stale.push(row as u32);
                }
            }
        }
        self.session.seen = siblings.added.len();
        if search.log.len() - self.seen > search.rows.len() {
            self.fill(search);
            return;
        }
        stale.extend(&search.log[self.seen..]);
        self.seen = search.log.len();
        for row in stale {
            self.rank(search, row);
        }
    }

    fn rank(&mut self, search: &Search, number: u32) {
        let Some((group, place)) = self.eligible.places[number as usize] else {
            return;
        };
        let ranks = self.session.ranks.get(&number).copied();
        let row = &search.rows[number as usize];
        let key = self.shape.key(number, row, ranks.unwrap_or_default());
        let tournament = &mut self.groups[group as usize];
        if tournament.set(place as usize, key) && !self.session.full.contains(&group) {
            let least = tournament.least();
            self.heads.set(group as usize, least);
        }
    }

    fn pick(&mut self) -> Option<u32> {
        loop {
            let best = self.heads.least();
            if best == NONE {
                return None;
            }
            let row = (best & ((1 << ROW_BITS) - 1)) as u32;
            let (group, _) = self.eligible.places[row as usize]?;
            if !self.session.is_used_up(&self.eligible, row as usize) {
                return Some(row);
            }
            // Until the app's instances are counted anew: more only come.
            self.heads.set(group as usize, NONE);
            self.session.full.insert(group);
        }
    }
}

impl Session {
    fn use_up(&mut self, eligible: &Eligible, row: usize, instances: u32) {
        for (limit, used) in eligible.limits.iter().zip(&mut self.used) {
            if let Some(value) = limit.values[row] {
                *used.entry(value).or_default() += instances;
            }
        }
    }

    fn is_used_up(&self, eligible: &Eligible, row: usize) -> bool {
        let mut limits = eligible.limits.iter().zip(&self.used);
        limits.any(|(limit, used)| {
            let used = limit.values[row].and_then(|value| used.get(&value));
            used.copied().unwrap_or(0) >= limit.max
        })
    }
}
