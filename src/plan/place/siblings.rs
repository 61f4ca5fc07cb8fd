//! Where an app's instances are, as placement counts them.

use std::collections::BTreeMap;

use crate::model::{App, Instance, NodeName, Snapshot, WorkloadDigest};

/// Instances of the app that may still exist, per node.
#[derive(Debug)]
pub struct Siblings {
    /// Tells this count from all others of the plan under way.
    pub(super) id: u64,
    workload: WorkloadDigest,
    /// Those of an earlier one will go.
    incarnation: u64,
    /// Node → those that will stay beside the new one, and all. Spreading goes by the
    /// first, or a rollout would end as uneven as its old instances happened to stop.
    pub(super) on: BTreeMap<NodeName, (u32, u32)>,
    /// Nodes of those added since it was made.
    pub(super) added: Vec<NodeName>,
}

impl Siblings {
    /// `id` must be new; `workload` is the one to be placed.
    pub fn of(id: u64, app: &App, workload: &WorkloadDigest) -> Siblings {
        let mut siblings = Siblings {
            id,
            workload: workload.clone(),
            incarnation: app.incarnation,
            on: BTreeMap::new(),
            added: Vec::new(),
        };
        app.instances.values().for_each(|i| siblings.count(i));
        siblings
    }

    pub fn is_of(&self, workload: &WorkloadDigest) -> bool {
        self.workload == *workload
    }

    fn count(&mut self, instance: &Instance) {
        if instance.is_gone() {
            return;
        }
        let current =
            instance.workload == self.workload && instance.incarnation >= self.incarnation;
        let staying = instance.wants_run() && current;
        let (stay, all) = self.on.entry(instance.node.clone()).or_default();
        *stay += u32::from(staying);
        *all += 1;
    }

    /// One more instance of the app.
    pub fn add(&mut self, instance: &Instance) {
        self.count(instance);
        self.added.push(instance.node.clone());
    }

    /// Those that will stay, and all, on the node.
    pub fn on(&self, node: &NodeName) -> (u32, u32) {
        self.on.get(node).copied().unwrap_or((0, 0))
    }

    /// How many sit on nodes whose attribute has the value.
    pub fn sharing(&self, snapshot: &Snapshot, attribute: &str, value: &str) -> usize {
        let there = |name: &NodeName| {
            let node = snapshot.nodes.get(name);
            node.and_then(|n| n.attribute(attribute)) == Some(value)
        };
        self.on
            .iter()
            .filter(|(name, _)| there(name))
            .map(|(_, (_, all))| *all as usize)
            .sum()
    }
}
