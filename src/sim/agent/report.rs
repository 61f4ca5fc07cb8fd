//! What an agent tells of its node, and when.

use super::Agent;
use crate::agent::step::{InstanceView, Millis, image_views, instance_view};
use crate::model::node::ImageState;
use crate::model::{Epoch, Generation, InstanceId};
use crate::plan::observe::{NodeReport, SeenInstance, SeenNote};
use crate::sim::event::Out;
use crate::sim::machine::Machine;
use crate::sim::rng::Moment;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Between two full reports.
const HEARTBEAT: u64 = 3_000;
/// While all is quiet in the end the same silence is kept with fewer of them.
const QUIET_HEARTBEAT: u64 = 9_000;
/// What is told to a controller.
#[derive(Clone, Debug)]
pub struct Report {
    pub body: NodeReport,
    pub session: Uuid,
    pub sequence: u64,
    /// All instances.
    pub full: bool,
    pub applied: Option<(Epoch, Generation)>,
}

/// A report on its way, and what it shows, for when it was taken.
#[derive(Clone, Debug)]
pub struct Sent {
    pub node: usize,
    pub life: u64,
    pub report: Report,
    pub view: View,
}

/// The node as it is shown.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct View {
    pub(super) applied: Option<(Epoch, Generation)>,
    pub(super) instances: BTreeMap<InstanceId, InstanceView>,
    pub(super) images: BTreeMap<String, ImageState>,
}

impl Agent {
    pub(super) fn view(&self, now: Millis) -> View {
        let mut view = View::default();
        if let Some(desired) = &self.desired {
            view.applied = Some((desired.epoch, desired.generation));
            view.images = image_views(desired, &self.local);
            for instance in desired.instances.values() {
                let before = || self.taken.as_ref()?.instances.get(&instance.id).cloned();
                let held = self.evidence.get(&instance.id).and_then(|_| before());
                let shown = held.or_else(|| instance_view(instance, &self.local, now));
                view.instances.extend(shown.map(|v| (instance.id, v)));
            }
        }
        view
    }

    /// Tells what is new, and everything every heartbeat. Returns when to look again.
    pub(super) fn report(&mut self, machine: &Machine, out: &mut Out) -> Option<Moment> {
        if !self.listed_once || self.reporting.is_some() {
            return None;
        }
        if out.now < self.report_not_before {
            return Some(self.report_not_before);
        }
        self.evidence.retain(|_, until| *until > out.now);
        let held = self.evidence.values().min().copied();
        let later = held.map_or(self.next_full, |at| at.min(self.next_full));
        let full = self.full || self.next_full <= out.now || self.taken.is_none();
        let now = self.millis(out.now);
        let view = self.view(now);
        let base = self.taken.as_ref().filter(|_| !full);
        if base == Some(&view) && self.notes.is_empty() {
            return Some(later);
        }
        let instances = view
            .instances
            .values()
            .filter(|i| base.is_none_or(|v| v.instances.get(&i.id) != Some(i)))
            .map(|i| seen(i, now))
            .collect();
        let base_images = base.filter(|v| v.applied == view.applied);
        let images = view
            .images
            .iter()
            .filter(|(name, state)| base_images.is_none_or(|v| v.images.get(*name) != Some(state)))
            .map(|(name, state)| (name.clone(), state.clone()))
            .collect();
        let notes = std::mem::take(&mut self.notes)
            .into_iter()
            .map(|n| SeenNote {
                instance: n.instance,
                kind: n.kind,
                age_ms: now.since(n.at),
                message: n.message,
            })
            .collect();
        self.sequence += 1;
        self.reporting = Some(self.sequence);
        if full {
            let pause = if self.quiet {
                QUIET_HEARTBEAT
            } else {
                HEARTBEAT
            };
            self.next_full = out.now.plus(pause);
            self.full = false;
        }
        let report = Report {
            body: NodeReport {
                node: machine.name.clone(),
                facts: machine.facts.clone(),
                instances,
                images,
                notes,
            },
            session: self.session,
            sequence: self.sequence,
            full,
            applied: view.applied,
        };
        out.reports.push(Sent {
            node: self.node,
            life: self.life,
            report,
            view,
        });
        Some(held.map_or(self.next_full, |at| at.min(self.next_full)))
    }
}

fn seen(view: &InstanceView, now: Millis) -> SeenInstance {
    SeenInstance {
        id: view.id,
        phase: view.phase,
        ready_ms: view.ready_since.map(|since| now.since(since)),
        running_ms: view.running_since.map(|since| now.since(since)),
        exits: view.exits,
        restarts: view.restarts,
        container_id: view.container_id.clone(),
        ports: BTreeMap::new(),
        last_exit: view.last_exit.clone(),
        last_probe: view.last_probe.clone(),
        failure: view.failure.clone(),
        log_tail: view.log_tail.clone(),
    }
}
