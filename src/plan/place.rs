//! Placement: feasible → fit → score, and a funnel that says what each stage
//! let through.
//!
//! Hard rules (liveness, runtime, constraints, room, ports, volumes) are never
//! traded against the score. A score is a struct whose field order is the
//! priority.
//!
//! Two ways lead to the same node. [`scan`] looks at every node and is the rule's
//! own wording; the funnel comes from it. [`search`] answers by an index that it
//! keeps while a plan is made, at the cost of the logarithm of the nodes; a test
//! holds it to the scan.

pub mod overlay;
mod search;
mod shape;
pub mod siblings;
mod tournament;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use overlay::Overlay;
pub use siblings::Siblings;

use super::IdSource;
use super::constraint::Compiled;
use crate::model::node::{RUNTIME_DOCKER, RUNTIME_PROCESS, RUNTIME_UNKNOWN};
use crate::model::quantity::{Resources, format_cpu, format_memory};
use crate::model::spec::{PlacementStrategy, Task};
use crate::model::{AppKey, AppSpec, InstanceId, Liveness, Node, NodeName, Scheduling, Snapshot};
use crate::mutant::{Mutant, mutant};
use overlay::Held;

/// Why no node was chosen. Each node counts at the first rule it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Funnel {
    pub considered: usize,
    /// Rule in words → nodes it excluded.
    pub excluded: BTreeMap<String, usize>,
}

impl fmt::Display for Funnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.considered == 0 {
            return f.write_str("no node has joined the cluster yet");
        }
        write!(f, "none of {} node(s) can take it: ", self.considered)?;
        for (index, (rule, count)) in self.excluded.iter().enumerate() {
            let comma = if index > 0 { "; " } else { "" };
            write!(f, "{comma}{count}: {rule}")?;
        }
        Ok(())
    }
}

/// One instance looking for a node.
pub struct Request<'a> {
    pub app: &'a AppKey,
    pub spec: &'a AppSpec,
    /// Where the app's other instances are, seen from the workload to be placed.
    pub siblings: &'a Siblings,
    /// The node that holds the volumes of its slot.
    pub home: Option<&'a NodeName>,
}

/// Lower is better; the field order is the priority.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Score<'a> {
    /// Spread: instances of the app there that will stay. Binpack: thousandths left free.
    /// Random: drawn.
    rank: u64,
    /// Spread: instances of the app there, the ones that will go included.
    all: usize,
    /// Thousandths of the fuller dimension in use with it; binpack: 0.
    load: u64,
    instances: usize,
    name: &'a NodeName,
}

/// The best node, or why there is none.
pub fn place(
    snapshot: &Snapshot,
    overlay: &Overlay,
    request: &Request<'_>,
    ids: &mut IdSource,
) -> Result<NodeName, Funnel> {
    let indexed = match request.spec.placement.strategy {
        PlacementStrategy::Spread | PlacementStrategy::Binpack => request.home.is_none(),
        // Draws for every node.
        PlacementStrategy::Random => false,
    };
    if indexed && let Some(node) = overlay.search(snapshot, request) {
        return Ok(node);
    }
    scan(snapshot, overlay, request, ids)
}

/// The same by looking at every node.
pub fn scan(
    snapshot: &Snapshot,
    overlay: &Overlay,
    request: &Request<'_>,
    ids: &mut IdSource,
) -> Result<NodeName, Funnel> {
    let constraints: Vec<Compiled> = request
        .spec
        .placement
        .constraints
        .iter()
        .map(Compiled::new)
        .collect();
    let mut funnel = FunnelBuilder::default();
    let mut best: Option<Score<'_>> = None;
    for node in snapshot.nodes.values() {
        funnel.considered += 1;
        if let Err(why) = feasible(node, overlay.is_ideal(), request, &constraints, snapshot) {
            funnel.exclude(why);
            continue;
        }
        let scored = overlay.with_held(snapshot, &node.name, |held| {
            fits(snapshot, node, held, request)?;
            Ok(score(node, held, request, ids))
        });
        match scored {
            Err(why) => funnel.exclude(why),
            Ok(score) if best.as_ref().is_none_or(|b| score < *b) => best = Some(score),
            Ok(_) => {}
        }
    }
    best.map(|b| b.name.clone())
        .ok_or_else(|| funnel.finish(request))
}

/// The rule that leaves a node out.
enum Exclusion {
    Rule(String),
    Cpu { free: u64 },
    Memory { free: u64 },
}

#[derive(Default)]
struct FunnelBuilder {
    considered: usize,
    excluded: BTreeMap<String, usize>,
    cpu: (usize, u64),
    memory: (usize, u64),
}

impl FunnelBuilder {
    fn exclude(&mut self, why: Exclusion) {
        match why {
            Exclusion::Rule(rule) => *self.excluded.entry(rule).or_default() += 1,
            Exclusion::Cpu { free } => self.cpu = (self.cpu.0 + 1, self.cpu.1.max(free)),
            Exclusion::Memory { free } => {
                self.memory = (self.memory.0 + 1, self.memory.1.max(free));
            }
        }
    }

    fn finish(mut self, request: &Request<'_>) -> Funnel {
        let needs = request.spec.requests;
        if self.cpu.0 > 0 {
            let rule = format!(
                "not enough cpu (needs {}, at most {} is free)",
                format_cpu(needs.cpu_millis),
                format_cpu(self.cpu.1)
            );
            self.excluded.insert(rule, self.cpu.0);
        }
        if self.memory.0 > 0 {
            let rule = format!(
                "not enough memory (needs {}, at most {} is free)",
                format_memory(needs.memory_bytes),
                format_memory(self.memory.1)
            );
            self.excluded.insert(rule, self.memory.0);
        }
        Funnel {
            considered: self.considered,
            excluded: self.excluded,
        }
    }
}

/// Which runtime a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Docker,
    Process,
}

impl Runtime {
    fn of(task: &Task) -> Runtime {
        match task {
            Task::Image { .. } => Runtime::Docker,
            Task::Process { .. } => Runtime::Process,
        }
    }
}

/// Why the node takes nothing of that kind at present. `ideal`: suppose it is heard and open.
/// `home`: the node that holds what the instance needs.
fn closed(
    node: &Node,
    runtime: Runtime,
    ideal: bool,
    home: Option<&NodeName>,
) -> Option<&'static str> {
    if !ideal {
        match node.liveness {
            Liveness::Ready => {}
            Liveness::Suspect | Liveness::Lost => return Some("not heard of lately"),
        }
        match node.scheduling {
            Scheduling::Active => {}
            // Its data is there and nowhere else: there it is replaced, or not at all.
            Scheduling::Cordoned | Scheduling::Draining if home == Some(&node.name) => {}
            Scheduling::Cordoned => return Some("cordoned"),
            Scheduling::Draining => return Some("draining"),
        }
    }
    let (attribute, missing, silent) = match runtime {
        Runtime::Docker => (
            RUNTIME_DOCKER,
            "has no Docker Engine",
            "its Docker Engine has not answered yet",
        ),
        Runtime::Process => (
            RUNTIME_PROCESS,
            "runs no plain processes",
            "its process runtime has not answered yet",
        ),
    };
    match node.attribute(attribute) {
        Some("true") => None,
        Some(RUNTIME_UNKNOWN) if ideal => None,
        Some(RUNTIME_UNKNOWN) => Some(silent),
        Some(_) | None => Some(missing),
    }
}

fn feasible(
    node: &Node,
    ideal: bool,
    request: &Request<'_>,
    constraints: &[Compiled<'_>],
    snapshot: &Snapshot,
) -> Result<(), Exclusion> {
    let runtime = Runtime::of(&request.spec.workload.task);
    if let Some(why) = closed(node, runtime, ideal, request.home) {
        return Err(Exclusion::Rule(why.to_owned()));
    }
    if let Some(home) = request.home
        && node.name != *home
    {
        let why = format!("the volume's data is on node {home}");
        return Err(Exclusion::Rule(why));
    }
    for constraint in constraints {
        let ok = match constraint.group() {
            None => constraint.matches(node),
            Some((attribute, max)) => node.attribute(attribute).is_some_and(|value| {
                request.siblings.sharing(snapshot, attribute, value) < max as usize
            }),
        };
        if !ok {
            return Err(Exclusion::Rule(format!("constraint {constraint}")));
        }
    }
    Ok(())
}

fn fits(
    snapshot: &Snapshot,
    node: &Node,
    held: &Held,
    request: &Request<'_>,
) -> Result<(), Exclusion> {
    let free = node.facts.capacity.minus(held.requests);
    let needs = request.spec.requests;
    let generous = mutant(Mutant::ResourcesOverCommitted);
    if needs.cpu_millis > free.cpu_millis && !generous {
        return Err(Exclusion::Cpu {
            free: free.cpu_millis,
        });
    }
    if needs.memory_bytes > free.memory_bytes && !generous {
        return Err(Exclusion::Memory {
            free: free.memory_bytes,
        });
    }
    for port in request.spec.workload.fixed_host_ports() {
        if let Some(holder) = held.host_ports.get(&port)
            && !mutant(Mutant::PortsOverCommitted)
        {
            return Err(Exclusion::Rule(format!(
                "host port {} is held by {}",
                port.0,
                holder_name(snapshot, node, held, holder, request.app)
            )));
        }
    }
    for volume in request.spec.workload.exclusive_volumes() {
        let key = (request.app.clone(), volume.to_owned());
        if held.volumes.contains_key(&key) && !mutant(Mutant::VolumesShared) {
            return Err(Exclusion::Rule(format!(
                "volume {volume} is held by another instance of it"
            )));
        }
    }
    Ok(())
}

fn holder_name(
    snapshot: &Snapshot,
    node: &Node,
    held: &Held,
    holder: &InstanceId,
    own: &AppKey,
) -> String {
    let stored = || snapshot.usage(&node.name)?.instances.get(holder);
    match held.holders.get(holder).or_else(stored) {
        Some(key) if key == own => "another instance of it".to_owned(),
        Some(key) => key.to_string(),
        None => "another instance".to_owned(),
    }
}

fn score<'a>(node: &'a Node, held: &Held, request: &Request<'_>, ids: &mut IdSource) -> Score<'a> {
    let load = load(
        held.requests.plus(request.spec.requests),
        node.facts.capacity,
    );
    match request.spec.placement.strategy {
        PlacementStrategy::Spread => {
            let (staying, all) = request.siblings.on(&node.name);
            Score {
                rank: u64::from(staying),
                all: all as usize,
                load,
                instances: held.instances,
                name: &node.name,
            }
        }
        PlacementStrategy::Binpack => Score {
            rank: 1000 - load.min(1000),
            all: 0,
            load: 0,
            instances: usize::MAX - held.instances,
            name: &node.name,
        },
        PlacementStrategy::Random => Score {
            rank: ids.next_u64(),
            all: 0,
            load: 0,
            instances: 0,
            name: &node.name,
        },
    }
}

/// Thousandths of the fuller dimension.
fn load(used: Resources, capacity: Resources) -> u64 {
    let share = |used: u64, of: u64| used.saturating_mul(1000) / of.max(1);
    share(used.cpu_millis, capacity.cpu_millis).max(share(used.memory_bytes, capacity.memory_bytes))
}

/// Whether a node has room to change an instance's requests from `old` to `new`.
pub fn can_grow(
    snapshot: &Snapshot,
    overlay: &Overlay,
    node: &NodeName,
    old: Resources,
    new: Resources,
) -> bool {
    let Some(facts) = snapshot.nodes.get(node).map(|n| &n.facts) else {
        return false;
    };
    let used = overlay.with_held(snapshot, node, |held| held.requests);
    let after = used.minus(old).plus(new);
    after.fits(facts.capacity)
        || (new.cpu_millis <= old.cpu_millis && new.memory_bytes <= old.memory_bytes)
}
