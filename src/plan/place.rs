//! Placement: feasible → fit → score, and a funnel that says what each stage
//! let through.
//!
//! Hard rules (liveness, runtime, constraints, room, ports, volumes) are never
//! traded against the score. A score is a struct whose field order is the
//! priority.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::IdSource;
use super::constraint::Compiled;
use crate::model::node::{RUNTIME_DOCKER, RUNTIME_PROCESS, RUNTIME_UNKNOWN};
use crate::model::quantity::{Resources, format_cpu, format_memory};
use crate::model::snapshot::Usage;
use crate::model::spec::{PlacementStrategy, Task};
use crate::model::{
    App, AppKey, AppSpec, Instance, InstanceId, Liveness, Node, NodeName, Scheduling, Snapshot,
    WorkloadDigest,
};

/// What the plan under way takes of the nodes and gives back, over the snapshot's usage.
#[derive(Debug, Default)]
pub struct Overlay {
    nodes: BTreeMap<NodeName, Usage>,
    /// Suppose an empty, fully reachable cluster: can it ever fit?
    ideal: bool,
}

impl Overlay {
    /// Only what `app` itself holds, all nodes up and open.
    pub fn ideal(app: &App) -> Overlay {
        let mut overlay = Overlay {
            nodes: BTreeMap::new(),
            ideal: true,
        };
        for instance in app.instances.values() {
            overlay
                .nodes
                .entry(instance.node.clone())
                .or_default()
                .take(instance);
        }
        overlay
    }

    /// A copy to try things on.
    pub fn fork(&self) -> Overlay {
        Overlay {
            nodes: self.nodes.clone(),
            ideal: self.ideal,
        }
    }

    pub fn is_ideal(&self) -> bool {
        self.ideal
    }

    pub fn usage<'a>(&'a self, snapshot: &'a Snapshot, node: &NodeName) -> Option<&'a Usage> {
        self.nodes.get(node).or_else(|| {
            if self.ideal {
                None
            } else {
                snapshot.usage(node)
            }
        })
    }

    fn usage_mut(&mut self, snapshot: &Snapshot, node: &NodeName) -> &mut Usage {
        if !self.nodes.contains_key(node) {
            let base = if self.ideal {
                Usage::default()
            } else {
                snapshot.usage(node).cloned().unwrap_or_default()
            };
            self.nodes.insert(node.clone(), base);
        }
        self.nodes.entry(node.clone()).or_default()
    }

    pub fn take(&mut self, snapshot: &Snapshot, instance: &Instance) {
        self.usage_mut(snapshot, &instance.node).take(instance);
    }

    pub fn release(&mut self, snapshot: &Snapshot, instance: &Instance) {
        self.usage_mut(snapshot, &instance.node).release(instance);
    }
}

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
    pub app: &'a App,
    pub spec: &'a AppSpec,
    pub workload: &'a WorkloadDigest,
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
    let constraints: Vec<Compiled> = request
        .spec
        .placement
        .constraints
        .iter()
        .map(Compiled::new)
        .collect();
    let siblings = Siblings::of(request.app, request.workload);
    let mut funnel = FunnelBuilder::default();
    let mut best: Option<Score<'_>> = None;
    for node in snapshot.nodes.values() {
        funnel.considered += 1;
        if let Err(why) = feasible(node, overlay, request, &constraints, &siblings, snapshot) {
            funnel.exclude(why);
            continue;
        }
        let usage = overlay.usage(snapshot, &node.name);
        if let Err(why) = fits(node, usage, request) {
            funnel.exclude(why);
            continue;
        }
        let score = score(node, usage, request, &siblings, ids);
        if best.as_ref().is_none_or(|b| score < *b) {
            best = Some(score);
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

/// Instances of the app that may still exist, per node.
struct Siblings<'a> {
    all: BTreeMap<&'a NodeName, usize>,
    /// Those that will stay beside the new one: spreading goes by them, or a
    /// rollout would end as uneven as its old instances happened to stop.
    staying: BTreeMap<&'a NodeName, usize>,
}

impl<'a> Siblings<'a> {
    fn of(app: &'a App, workload: &WorkloadDigest) -> Siblings<'a> {
        let mut all = BTreeMap::new();
        let mut staying = BTreeMap::new();
        for instance in app.instances.values().filter(|i| !i.is_gone()) {
            *all.entry(&instance.node).or_default() += 1;
            if instance.wants_run() && instance.workload == *workload {
                *staying.entry(&instance.node).or_default() += 1;
            }
        }
        Siblings { all, staying }
    }

    fn staying_on(&self, node: &NodeName) -> usize {
        self.staying.get(node).copied().unwrap_or(0)
    }

    fn on(&self, node: &NodeName) -> usize {
        self.all.get(node).copied().unwrap_or(0)
    }

    /// How many sit on nodes whose attribute has the value.
    fn sharing(&self, snapshot: &Snapshot, attribute: &str, value: &str) -> usize {
        self.all
            .iter()
            .filter(|(name, _)| {
                snapshot
                    .nodes
                    .get(**name)
                    .and_then(|n| n.attribute(attribute))
                    == Some(value)
            })
            .map(|(_, count)| count)
            .sum()
    }
}

fn feasible(
    node: &Node,
    overlay: &Overlay,
    request: &Request<'_>,
    constraints: &[Compiled<'_>],
    siblings: &Siblings<'_>,
    snapshot: &Snapshot,
) -> Result<(), Exclusion> {
    let rule = |text: String| Err(Exclusion::Rule(text));
    if !overlay.is_ideal() {
        match node.liveness {
            Liveness::Ready => {}
            Liveness::Suspect | Liveness::Lost => return rule("not heard of lately".to_owned()),
        }
        match node.scheduling {
            Scheduling::Active => {}
            Scheduling::Cordoned => return rule("cordoned".to_owned()),
            Scheduling::Draining => return rule("draining".to_owned()),
        }
    }
    let (runtime, missing, silent) = match request.spec.workload.task {
        Task::Image { .. } => (
            RUNTIME_DOCKER,
            "has no Docker Engine",
            "its Docker Engine has not answered yet",
        ),
        Task::Process { .. } => (
            RUNTIME_PROCESS,
            "runs no plain processes",
            "its process runtime has not answered yet",
        ),
    };
    match node.attribute(runtime) {
        Some("true") => {}
        Some(RUNTIME_UNKNOWN) if overlay.is_ideal() => {}
        Some(RUNTIME_UNKNOWN) => return rule(silent.to_owned()),
        Some(_) | None => return rule(missing.to_owned()),
    }
    if let Some(home) = request.home
        && node.name != *home
    {
        return rule(format!("the volume's data is on node {home}"));
    }
    for constraint in constraints {
        let ok = match constraint.group() {
            None => constraint.matches(node),
            Some((attribute, max)) => node
                .attribute(attribute)
                .is_some_and(|value| siblings.sharing(snapshot, attribute, value) < max as usize),
        };
        if !ok {
            return rule(format!("constraint {constraint}"));
        }
    }
    Ok(())
}

fn fits(node: &Node, usage: Option<&Usage>, request: &Request<'_>) -> Result<(), Exclusion> {
    let none = Usage::default();
    let usage = usage.unwrap_or(&none);
    let free = node.facts.capacity.minus(usage.requests);
    let needs = request.spec.requests;
    if needs.cpu_millis > free.cpu_millis {
        return Err(Exclusion::Cpu {
            free: free.cpu_millis,
        });
    }
    if needs.memory_bytes > free.memory_bytes {
        return Err(Exclusion::Memory {
            free: free.memory_bytes,
        });
    }
    for port in request.spec.workload.fixed_host_ports() {
        if let Some(holder) = usage.host_ports.get(&port) {
            return Err(Exclusion::Rule(format!(
                "host port {} is held by {}",
                port.0,
                holder_name(usage, holder, &request.app.key)
            )));
        }
    }
    for volume in request.spec.workload.exclusive_volumes() {
        let key = (request.app.key.clone(), volume.to_owned());
        if usage.volumes.contains_key(&key) {
            return Err(Exclusion::Rule(format!(
                "volume {volume} is held by another instance of it"
            )));
        }
    }
    Ok(())
}

fn holder_name(usage: &Usage, holder: &InstanceId, own: &AppKey) -> String {
    match usage.instances.get(holder) {
        Some(key) if key == own => "another instance of it".to_owned(),
        Some(key) => key.to_string(),
        None => "another instance".to_owned(),
    }
}

fn score<'a>(
    node: &'a Node,
    usage: Option<&Usage>,
    request: &Request<'_>,
    siblings: &Siblings<'_>,
    ids: &mut IdSource,
) -> Score<'a> {
    let used = usage.map_or(Resources::default(), |u| u.requests);
    let load = load(used.plus(request.spec.requests), node.facts.capacity);
    let instances = usage.map_or(0, |u| u.instances.len());
    match request.spec.placement.strategy {
        PlacementStrategy::Spread => Score {
            rank: siblings.staying_on(&node.name) as u64,
            all: siblings.on(&node.name),
            load,
            instances,
            name: &node.name,
        },
        PlacementStrategy::Binpack => Score {
            rank: 1000 - load.min(1000),
            all: 0,
            load: 0,
            instances: usize::MAX - instances,
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
    let used = overlay
        .usage(snapshot, node)
        .map_or(Resources::default(), |u| u.requests);
    let after = used.minus(old).plus(new);
    after.fits(facts.capacity)
        || (new.cpu_millis <= old.cpu_millis && new.memory_bytes <= old.memory_bytes)
}
