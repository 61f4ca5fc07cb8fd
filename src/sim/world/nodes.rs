//! What agents and machines do, and who is told of it.

use super::World;
use crate::agent::step::Op;
use crate::agent::step::absorb::Outcome;
use crate::sim::event::{AgentEvent, Event, MachineEvent, Out};
use crate::sim::machine::{Act, ActKind};

impl World {
    pub(super) fn agent_event(&mut self, n: usize, life: u64, event: AgentEvent) {
        let mut out = self.out();
        out.slow_registry = !self.registry_up;
        if self.places[n].life != life || self.places[n].agent.is_none() {
            return;
        }
        if matches!(event, AgentEvent::Connect) {
            self.connect(n, life);
            return;
        }
        let place = &mut self.places[n];
        if let Some(agent) = &mut place.agent {
            agent.absorb(event, &mut place.machine, &mut out);
        }
        self.carry(out);
    }

    /// Carries on what followed from an event of a node.
    pub(super) fn carry(&mut self, out: Out) {
        for (at, event) in out.events {
            self.put(at, event);
        }
        for (node, epoch, generation) in out.obeyed {
            self.log.line(self.now, || {
                format!("n{node} obeys {} {}", epoch.0, generation.0)
            });
            self.watch.obeyed(self.now, node, epoch, generation);
        }
        for sent in out.reports {
            self.send_report(sent);
        }
        for act in out.acts {
            self.acted(act);
        }
    }

    pub(super) fn acted(&mut self, act: Act) {
        let now = self.now;
        self.log.line(now, || {
            format!("n{} {:?} {}", act.node, act.kind, act.id.short())
        });
        let restart = matches!(act.kind, ActKind::Start { again: true });
        if !restart {
            self.moved_at = now;
        }
        self.watch.acted(now, &act, &self.places);
    }

    pub(super) fn machine_event(&mut self, n: usize, event: MachineEvent) {
        let now = self.now;
        match event {
            MachineEvent::Effect { life, op, instance } => {
                if !self.places[n].machine.powered {
                    return;
                }
                let registry_up = self.registry_up;
                let machine = &mut self.places[n].machine;
                let effect = machine.carry_out(&op, instance.as_deref(), registry_up, now);
                let run = op
                    .instance()
                    .and_then(|id| machine.containers.get(&id))
                    .map(|c| c.starts);
                if let Outcome::Failed(failure) = &effect.outcome {
                    let failure = failure.message.clone();
                    self.log
                        .line(now, || format!("n{n} {:?} fails: {failure}", op.kind()));
                    self.watch.op_failed(now, n, &op, &failure);
                }
                if let (Some(kind), Some(id)) = (effect.act, op.instance()) {
                    self.acted(Act { node: n, id, kind });
                }
                let is_stop = matches!(op, Op::Stop { .. });
                if let (Some((ms, code)), Some(id), Some(run)) = (effect.ends, op.instance(), run) {
                    self.put(
                        now.plus(ms),
                        Event::Machine(n, Box::new(MachineEvent::Ends { id, run, code })),
                    );
                    if is_stop {
                        let over = MachineEvent::Over {
                            life,
                            op,
                            outcome: effect.outcome,
                        };
                        self.put(now.plus(ms + 5), Event::Machine(n, Box::new(over)));
                        return;
                    }
                }
                self.answer_op(n, life, op, effect.outcome);
            }
            MachineEvent::Over { life, op, outcome } => self.answer_op(n, life, op, outcome),
            MachineEvent::Ends { id, run, code } => self.container_ends(n, id, run, code),
        }
    }

    pub(super) fn answer_op(&mut self, n: usize, life: u64, op: Op, outcome: Outcome) {
        let machine = &mut self.places[n].machine;
        let after = op
            .instance()
            .filter(|_| machine.reachable())
            .map(|id| machine.found(id, self.now));
        let ms = machine.rng.between(1, 40);
        let event = AgentEvent::Done { op, outcome, after };
        self.put(self.now.plus(ms), Event::Agent(n, life, Box::new(event)));
    }

    pub(in crate::sim) fn container_ends(
        &mut self,
        n: usize,
        id: crate::model::InstanceId,
        run: u64,
        code: i32,
    ) {
        let now = self.now;
        let machine = &mut self.places[n].machine;
        let served = machine
            .containers
            .get(&id)
            .filter(|c| c.starts == run && c.serving_since(now).is_some())
            .map(|c| c.app.clone());
        if !machine.end(id, run, code, false, now) {
            return;
        }
        if let Some(app) = served {
            self.watch.lost(now, &app);
            self.tell_agent(n, AgentEvent::Ended(id), 0);
        }
        // A hint may be lost: the lists see it in the end.
        if self.net.chance(900) && self.places[n].machine.reachable() {
            let ms = self.net.between(2, 200);
            self.tell_agent(n, AgentEvent::Hint(id), ms);
        }
    }
}
