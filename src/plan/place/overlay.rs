//! What the nodes hold while a plan is made: the snapshot's usage, with what the
//! plan under way takes and gives back.
//!
//! One overlay goes with one snapshot. Until the first search it keeps only the
//! nodes that were touched: a plan that places nothing costs nothing per node.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::Request;
use super::search::Search;
use crate::model::quantity::Resources;
use crate::model::snapshot::Usage;
use crate::model::spec::Protocol;
use crate::model::{App, AppKey, Instance, InstanceId, NodeName, Snapshot};

/// What the instances on a node hold, stopping ones included.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    pub requests: Resources,
    pub instances: usize,
    pub host_ports: BTreeMap<(u16, Protocol), InstanceId>,
    pub volumes: BTreeMap<(AppKey, String), InstanceId>,
    /// Whose the ports are that the plan under way gave away.
    pub holders: BTreeMap<InstanceId, AppKey>,
}

impl Held {
    fn of(usage: Option<&Usage>) -> Held {
        usage.map_or_else(Held::default, |usage| Held {
            requests: usage.requests,
            instances: usage.instances.len(),
            host_ports: usage.host_ports.clone(),
            volumes: usage.volumes.clone(),
            holders: BTreeMap::new(),
        })
    }

    fn take(&mut self, instance: &Instance) {
        self.requests = self.requests.plus(instance.requests);
        self.instances += 1;
        for port in &instance.host_ports {
            self.host_ports.insert(*port, instance.id);
            self.holders.insert(instance.id, instance.app.clone());
        }
        for volume in &instance.volumes {
            self.volumes
                .insert((instance.app.clone(), volume.clone()), instance.id);
        }
    }

    fn release(&mut self, instance: &Instance) {
        self.requests = self.requests.minus(instance.requests);
        self.instances = self.instances.saturating_sub(1);
        self.host_ports.retain(|_, holder| *holder != instance.id);
        self.volumes.retain(|_, holder| *holder != instance.id);
        self.holders.remove(&instance.id);
    }
}

#[derive(Debug, Default)]
pub struct Overlay {
    /// Suppose an empty, fully reachable cluster: can it ever fit?
    ideal: bool,
    field: RefCell<Field>,
}

#[derive(Debug, Default)]
struct Field {
    /// Nodes that were touched before there was a search; afterwards it holds all of them.
    touched: BTreeMap<NodeName, Held>,
    search: Option<Search>,
    /// While something is tried out: how a node was before each change.
    before: Option<Vec<(NodeName, Held)>>,
    siblings: u64,
}

impl Overlay {
    /// Only what `app` itself holds, all nodes up and open.
    pub fn ideal(app: &App) -> Overlay {
        let mut field = Field::default();
        for instance in app.instances.values() {
            field
                .touched
                .entry(instance.node.clone())
                .or_default()
                .take(instance);
        }
        Overlay {
            ideal: true,
            field: RefCell::new(field),
        }
    }

    pub fn is_ideal(&self) -> bool {
        self.ideal
    }

    /// Lets `run` take and release; afterwards all is as it was.
    pub fn try_out<T>(&self, snapshot: &Snapshot, run: impl FnOnce(&mut Overlay) -> T) -> T {
        let mut field = self.field.take();
        let outer = field.before.replace(Vec::new());
        let mut trial = Overlay {
            ideal: self.ideal,
            field: RefCell::new(field),
        };
        let result = run(&mut trial);
        let mut field = trial.field.into_inner();
        for (node, held) in field.before.take().unwrap_or_default().into_iter().rev() {
            field.change(snapshot, self.ideal, &node, |now| *now = held);
        }
        field.before = outer;
        self.field.replace(field);
        result
    }

    /// A number that no other [`super::Siblings`] of this plan has.
    pub fn next_siblings(&mut self) -> u64 {
        let field = self.field.get_mut();
        field.siblings += 1;
        field.siblings
    }

    pub(super) fn with_held<T>(
        &self,
        snapshot: &Snapshot,
        node: &NodeName,
        look: impl FnOnce(&Held) -> T,
    ) -> T {
        let field = self.field.borrow();
        let known = match &field.search {
            Some(search) => search.held(node),
            None => None,
        };
        match known.or_else(|| field.touched.get(node)) {
            Some(held) => look(held),
            None => look(&stored(snapshot, self.ideal, node)),
        }
    }

    /// The best node by the index, which is made at the first need.
    pub(crate) fn search(&self, snapshot: &Snapshot, request: &Request<'_>) -> Option<NodeName> {
        let mut field = self.field.borrow_mut();
        let field = &mut *field;
        let search = field.search.get_or_insert_with(|| {
            Search::new(snapshot, self.ideal, |node| {
                field
                    .touched
                    .get(node)
                    .cloned()
                    .unwrap_or_else(|| stored(snapshot, self.ideal, node))
            })
        });
        search.best(snapshot, request)
    }

    pub fn take(&mut self, snapshot: &Snapshot, instance: &Instance) {
        let field = self.field.get_mut();
        field.change(snapshot, self.ideal, &instance.node, |held| {
            held.take(instance);
        });
    }

    pub fn release(&mut self, snapshot: &Snapshot, instance: &Instance) {
        let field = self.field.get_mut();
        field.change(snapshot, self.ideal, &instance.node, |held| {
            held.release(instance);
        });
    }
}

fn stored(snapshot: &Snapshot, ideal: bool, node: &NodeName) -> Held {
    match ideal {
        true => Held::default(),
        false => Held::of(snapshot.usage(node)),
    }
}

impl Field {
    fn change(
        &mut self,
        snapshot: &Snapshot,
        ideal: bool,
        node: &NodeName,
        change: impl FnOnce(&mut Held),
    ) {
        // A node that is not in the cluster any more is no row of the search.
        let row = self.search.as_ref().and_then(|search| search.row(node));
        let held = match (&mut self.search, row) {
            (Some(search), Some(row)) => search.held_mut(row),
            (Some(_), None) | (None, _) => self
                .touched
                .entry(node.clone())
                .or_insert_with(|| stored(snapshot, ideal, node)),
        };
        if let Some(before) = &mut self.before {
            before.push((node.clone(), held.clone()));
        }
        change(held);
    }
}
