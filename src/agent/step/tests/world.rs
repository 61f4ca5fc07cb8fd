//! A node in memory: carries operations out at once, or as told.

use std::collections::BTreeMap;

use crate::agent::found::{Found, FoundState};
use crate::agent::step::absorb::Outcome;
use crate::agent::step::{
    DOCKER, InstanceView, Local, Millis, Note, Op, OpKind, Step, instance_view, step,
};
use crate::model::instance::{Exit, Failure, FailureKind, ProbeAnswer, ProbeKind};
use crate::model::spec::Limits;
use crate::model::{DesiredSet, InstanceId};

pub struct World {
    pub now: i64,
    pub local: Local,
    pub desired: DesiredSet,
    /// What is really there.
    pub real: BTreeMap<InstanceId, Found>,
    pub up: bool,
    /// What the next operations of a kind fail with.
    pub faults: Vec<(OpKind, FailureKind)>,
    pub notes: Vec<Note>,
    pub done: Vec<(i64, Op)>,
    pub in_flight: Vec<Op>,
}

impl World {
    pub fn new(desired: DesiredSet) -> World {
        let mut world = World {
            now: 0,
            local: Local::new([DOCKER]),
            desired,
            real: BTreeMap::new(),
            up: true,
            faults: Vec::new(),
            notes: Vec::new(),
            done: Vec::new(),
            in_flight: Vec::new(),
        };
        let desired = world.desired.clone();
        world.local.admit(&desired, world.at());
        world.look();
        world
    }

    pub fn at(&self) -> Millis {
        Millis(self.now)
    }

    pub fn desire(&mut self, desired: DesiredSet) {
        self.local.admit(&desired, self.at());
        self.desired = desired;
    }

    /// The runtime is listed, or does not answer.
    pub fn look(&mut self) {
        let look = self.local.begin_look();
        if !self.up {
            self.local.unreachable(DOCKER, "no answer");
            return;
        }
        let now = self.at();
        let all = self.real.values().cloned().collect();
        let notes = self
            .local
            .listed(DOCKER, look, all, Some(&self.desired), now);
        self.notes.extend(notes);
    }

    pub fn step(&self) -> Step {
        step(&self.desired, &self.local, self.at())
    }

    /// Sends out what the step asks for; nothing ends yet.
    pub fn begin(&mut self) {
        let decided = self.step();
        self.notes.extend(decided.notes);
        for op in decided.ops {
            self.local.op_started(&op, Millis(self.now));
            self.in_flight.push(op);
        }
    }

    /// The oldest operation under way ends.
    pub fn end_one(&mut self) -> bool {
        if self.in_flight.is_empty() {
            return false;
        }
        let op = self.in_flight.remove(0);
        let outcome = self.carry_out(&op);
        let after = op
            .instance()
            .filter(|_| self.up)
            .map(|id| self.real.get(&id).cloned());
        let now = self.at();
        let (notes, _) =
            self.local
                .op_finished(&op, DOCKER, outcome, after, Some(&self.desired), now);
        self.notes.extend(notes);
        self.done.push((self.now, op));
        true
    }

    fn carry_out(&mut self, op: &Op) -> Outcome {
        let failed = |kind| {
            Outcome::Failed(Failure {
                kind,
                message: format!("{kind:?}"),
            })
        };
        if !self.up {
            return failed(FailureKind::RuntimeUnavailable);
        }
        if let Some(at) = self.faults.iter().position(|(kind, _)| *kind == op.kind()) {
            return failed(self.faults.remove(at).1);
        }
        match op {
            Op::Pull { .. } => return Outcome::Pulled { digest: None },
            Op::Create { id } => {
                let limits = self
                    .desired
                    .instances
                    .get(id)
                    .map(|i| i.run.limits)
                    .unwrap_or_default();
                self.real.entry(*id).or_insert(found(*id, limits));
            }
            Op::Start { id } => {
                if let Some(it) = self.real.get_mut(id)
                    && !it.is_running()
                {
                    it.state = FoundState::Running;
                    it.starts += 1;
                }
            }
            Op::Stop { id, .. } => self.crash(*id, 143),
            Op::Remove { id, .. } => {
                self.real.remove(id);
            }
            Op::SetLimits { id, limits } => {
                if let Some(it) = self.real.get_mut(id) {
                    it.limits = *limits;
                }
            }
        }
        Outcome::Done
    }

    /// Its process ends; nobody has looked yet.
    pub fn crash(&mut self, id: InstanceId, code: i32) {
        self.exit(id, code, false, 100);
    }

    pub fn exit(&mut self, id: InstanceId, code: i32, by_runtime: bool, ran_for_ms: u64) {
        if let Some(it) = self.real.get_mut(&id)
            && it.is_running()
        {
            it.state = FoundState::Exited {
                exit: Exit {
                    code: Some(code),
                    oom_killed: false,
                    ran_for_ms,
                },
                by_runtime,
            };
        }
    }

    /// Steps and carries out until there is nothing to do at this moment.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            self.begin();
            if self.in_flight.is_empty() {
                return;
            }
            while self.end_one() {}
        }
        panic!("it never comes to rest: {:?}", self.done);
    }

    /// Time passes up to `now`, waking whenever the step asked to be woken.
    pub fn pass(&mut self, now: i64) {
        self.settle();
        while let Some(wake) = self.step().wake_at.filter(|wake| wake.0 <= now) {
            self.now = wake.0.max(self.now + 1);
            self.settle();
        }
        self.now = now;
        self.settle();
    }

    pub fn probe(&mut self, id: InstanceId, probe: ProbeKind, passed: bool) {
        let Some(run) = self.local.found(DOCKER, id).map(|f| f.starts) else {
            return;
        };
        let Some(instance) = self.desired.instances.get(&id) else {
            return;
        };
        let answer = ProbeAnswer {
            probe,
            passed,
            answer: if passed { "fine" } else { "broken" }.to_owned(),
        };
        let now = Millis(self.now);
        let told = self.local.probed(instance, run, answer, now);
        self.notes.extend(told.notes);
    }

    pub fn view(&self, id: InstanceId) -> InstanceView {
        instance_view(&self.desired.instances[&id], &self.local, self.at()).expect("it is known")
    }

    /// The operations so far, as text: `0 create`.
    pub fn log(&self) -> Vec<String> {
        self.done
            .iter()
            .map(|(at, op)| format!("{at} {:?}", op.kind()).to_lowercase())
            .collect()
    }

    pub fn forget_log(&mut self) {
        self.done.clear();
        self.notes.clear();
    }

    pub fn has_note(&self, text: &str) -> bool {
        self.notes.iter().any(|n| n.message.contains(text))
    }
}

pub fn found(id: InstanceId, limits: Limits) -> Found {
    Found {
        id,
        state: FoundState::Created,
        handle: "h".into(),
        probe_ports: BTreeMap::new(),
        published_ports: BTreeMap::new(),
        starts: 0,
        limits,
        running_ms: 0,
    }
}
