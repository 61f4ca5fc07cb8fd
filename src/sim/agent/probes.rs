//! Which probes are asked, and what they answer.

use super::Agent;
use crate::agent::step::hysteresis::Pace;
use crate::agent::step::{Probing, probing};
use crate::model::instance::{ProbeAnswer, ProbeKind};
use crate::model::{DesiredSet, InstanceId};
use crate::sim::event::{AgentEvent, Event, Out};
use crate::sim::machine::Machine;
use crate::sim::rng::Moment;
use std::time::Duration;

pub(super) struct Asking {
    pub(super) probing: Probing,
    pub(super) pace: Pace,
    pub(super) began: Moment,
    /// When it was answered last, where the next answers are left out.
    pub(super) left_out_since: Option<Moment>,
    /// Of the answer that is awaited; an older one is not asked again.
    pub(super) turn: u64,
}

impl Agent {
    /// A probe is answered. True: something is different.
    pub(super) fn probe(
        &mut self,
        id: InstanceId,
        kind: ProbeKind,
        turn: u64,
        machine: &Machine,
        out: &mut Out,
    ) -> bool {
        let now = self.millis(out.now);
        let Some(asking) = self.asking.get_mut(&(id, kind)).filter(|a| a.turn == turn) else {
            return false;
        };
        let Some(instance) = self.desired.as_ref().and_then(|d| d.instances.get(&id)) else {
            return false;
        };
        let container = machine.containers.get(&id);
        let serves = container.and_then(|c| c.serves().filter(|(from, _)| *from <= out.now));
        let passed = serves.is_some_and(|(_, until)| out.now < until);
        let answer = ProbeAnswer {
            probe: kind,
            passed,
            answer: if passed { "connected" } else { "refused" }.to_owned(),
        };
        let told = self.local.probed(instance, asking.probing.run, answer, now);
        self.notes.extend(told.notes);
        let mut pause = asking.pace.next(passed, out.now.since(asking.began));
        asking.left_out_since = None;
        if passed && !told.changed {
            // The same answers change nothing: some of them are left out, as long as they would
            // be the same (`ask_after_all`).
            asking.left_out_since = Some(out.now);
            let left = serves.map_or(0, |(_, until)| until.0 - out.now.0);
            let least = asking.probing.probe.interval;
            pause = (least * 8).min(Duration::from_millis(left)).max(least);
        }
        let at = out.now + pause;
        out.at(
            at,
            Event::Agent(
                self.node,
                self.life,
                Box::new(AgentEvent::Probe { id, kind, turn }),
            ),
        );
        told.changed
    }

    /// The instance ended: the next answers of its probes would be others than the last.
    pub(super) fn ask_after_all(&mut self, id: InstanceId, out: &mut Out) {
        for (key, asking) in self.asking.iter_mut().filter(|((of, _), _)| *of == id) {
            let Some(since) = asking.left_out_since.take() else {
                continue;
            };
            self.turns += 1;
            asking.turn = self.turns;
            let (interval, turn) = (asking.probing.probe.interval, self.turns);
            let mut at = since + interval;
            while at < out.now {
                at = at + interval;
            }
            let probe = AgentEvent::Probe {
                id,
                kind: key.1,
                turn,
            };
            out.at(at, Event::Agent(self.node, self.life, Box::new(probe)));
        }
    }

    pub(super) fn keep_probes(&mut self, desired: &DesiredSet, out: &mut Out) {
        let wanted = probing(desired, &self.local);
        self.asking
            .retain(|key, asking| wanted.get(key) == Some(&asking.probing));
        for ((id, kind), probing) in wanted {
            if self.asking.contains_key(&(id, kind)) {
                continue;
            }
            self.turns += 1;
            let turn = self.turns;
            let quickest = probing.quick.then_some(Duration::from_millis(50));
            let pace = Pace::new(probing.probe.interval, quickest);
            self.asking.insert(
                (id, kind),
                Asking {
                    probing,
                    pace,
                    began: out.now,
                    left_out_since: None,
                    turn,
                },
            );
            let ms = self.rng.between(1, 60);
            self.later(ms, AgentEvent::Probe { id, kind, turn }, out);
        }
    }
}
