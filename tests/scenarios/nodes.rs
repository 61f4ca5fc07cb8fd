//! Nodes as they look from outside: each carries out its desired set, one step
//! a second, and reports what it holds. How an image behaves is told by the script.

use std::collections::BTreeMap;

use evenkeel::model::desired::DesiredGoal;
use evenkeel::model::instance::{
    Exit, Failure, FailureKind, InstancePhase, ProbeAnswer, ProbeKind,
};
use evenkeel::model::node::{ImageState, NodeFacts};
use evenkeel::model::{DesiredSet, EventKind, InstanceId, NodeName};
use evenkeel::plan::observe::{NodeReport, SeenInstance, SeenNote};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Runs a second after it was asked for, ready a second later.
    Healthy,
    /// Runs, and its probe never passes.
    NeverReady,
    /// Exits with code 1 a second after each start.
    Crash,
    /// Like `Crash`, killed for its memory.
    OutOfMemory,
    /// The registry does not know the image.
    MissingImage,
    /// The registry does not answer.
    NoRegistry,
    /// The image never finishes its pull.
    SlowPull,
    /// The runtime refuses to create it.
    Refused,
    /// Ignores the stop signal.
    NeverStops,
}

impl std::str::FromStr for Behaviour {
    type Err = String;
    fn from_str(text: &str) -> Result<Behaviour, String> {
        Ok(match text {
            "healthy" => Behaviour::Healthy,
            "never-ready" => Behaviour::NeverReady,
            "crash" => Behaviour::Crash,
            "out-of-memory" => Behaviour::OutOfMemory,
            "missing-image" => Behaviour::MissingImage,
            "no-registry" => Behaviour::NoRegistry,
            "slow-pull" => Behaviour::SlowPull,
            "refused" => Behaviour::Refused,
            "never-stops" => Behaviour::NeverStops,
            _ => return Err(format!("no behaviour is called {text}")),
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Running {
    phase: InstancePhase,
    /// Seconds of true time.
    started: Option<u64>,
    ready: Option<u64>,
    exits: u32,
    restarts: u32,
    last_exit: Option<Exit>,
    last_probe: Option<ProbeAnswer>,
    failure: Option<Failure>,
    again_at: u64,
}

#[derive(Clone, Debug)]
pub struct Host {
    pub facts: NodeFacts,
    pub silent: bool,
    holds: BTreeMap<InstanceId, Running>,
    notes: Vec<SeenNote>,
}

impl Host {
    pub fn new(facts: NodeFacts) -> Host {
        Host {
            facts,
            silent: false,
            holds: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// One step of every instance. True: something moved.
    pub fn act(&mut self, now: u64, set: &DesiredSet, how: &dyn Fn(&str) -> Behaviour) -> bool {
        let before = self.holds.clone();
        self.holds.retain(|id, _| set.instances.contains_key(id));
        for (id, wanted) in &set.instances {
            let image = wanted.run.image.as_deref().unwrap_or_default();
            let held = self.holds.entry(*id).or_insert_with(|| Running {
                phase: InstancePhase::Pending,
                started: None,
                ready: None,
                exits: 0,
                restarts: 0,
                last_exit: None,
                last_probe: None,
                failure: None,
                again_at: 0,
            });
            match &wanted.goal {
                DesiredGoal::Run => held.run(now, how(image)),
                DesiredGoal::Stop { .. } => held.stop(how(image)),
            }
        }
        let due = |held: &Running| {
            held.phase == InstancePhase::BackOff && held.started.is_none() && held.again_at > now
        };
        before != self.holds || self.holds.values().any(due)
    }

    /// Its container is removed behind the agent's back; the agent puts it back.
    pub fn lose(&mut self, id: InstanceId) {
        if let Some(held) = self.holds.get_mut(&id) {
            held.phase = InstancePhase::Starting;
            held.started = None;
            held.ready = None;
            held.restarts += 1;
            self.notes.push(SeenNote {
                instance: Some(id),
                kind: EventKind::InstanceRestarted,
                message: "its container was removed by somebody else; putting it back".to_owned(),
                age_ms: 0,
            });
        }
    }

    /// The machine was set up anew under its old name: it knows of nothing.
    pub fn forget(&mut self) {
        self.holds.clear();
    }

    pub fn report(
        &mut self,
        name: &NodeName,
        now: u64,
        set: &DesiredSet,
        how: &dyn Fn(&str) -> Behaviour,
    ) -> NodeReport {
        let age = |since: u64| (now - since) * 1000;
        NodeReport {
            node: name.clone(),
            facts: self.facts.clone(),
            instances: self
                .holds
                .iter()
                .map(|(id, held)| SeenInstance {
                    id: *id,
                    phase: held.phase,
                    ready_ms: held.ready.map(age),
                    running_ms: held.started.map(age),
                    exits: held.exits,
                    restarts: held.restarts,
                    container_id: None,
                    ports: BTreeMap::new(),
                    last_exit: held.last_exit.clone(),
                    last_probe: held.last_probe.clone(),
                    failure: held.failure.clone(),
                    log_tail: Vec::new(),
                })
                .collect(),
            images: set
                .images
                .keys()
                .map(|image| (image.clone(), image_state(how(image))))
                .collect(),
            notes: std::mem::take(&mut self.notes),
        }
    }
}

fn image_state(behaviour: Behaviour) -> ImageState {
    let failed = |kind, message: &str| ImageState::Failed {
        failure: Failure {
            kind,
            message: message.to_owned(),
        },
    };
    match behaviour {
        Behaviour::MissingImage => failed(FailureKind::ImageNotFound, "manifest unknown"),
        Behaviour::NoRegistry => failed(FailureKind::PullFailed, "connection refused"),
        Behaviour::SlowPull => ImageState::Pulling,
        Behaviour::Healthy
        | Behaviour::NeverReady
        | Behaviour::Crash
        | Behaviour::OutOfMemory
        | Behaviour::Refused
        | Behaviour::NeverStops => ImageState::Present { digest: None },
    }
}

impl Running {
    fn run(&mut self, now: u64, behaviour: Behaviour) {
        let fails = |kind, message: &str| {
            Some(Failure {
                kind,
                message: message.to_owned(),
            })
        };
        match behaviour {
            Behaviour::MissingImage if self.started.is_none() => {
                self.phase = InstancePhase::BackOff;
                self.failure = fails(FailureKind::ImageNotFound, "manifest unknown");
                return;
            }
            Behaviour::NoRegistry if self.started.is_none() => {
                self.phase = InstancePhase::BackOff;
                self.failure = fails(FailureKind::PullFailed, "connection refused");
                return;
            }
            Behaviour::SlowPull if self.started.is_none() => {
                self.phase = InstancePhase::Preparing;
                return;
            }
            Behaviour::Refused if self.started.is_none() => {
                self.phase = InstancePhase::BackOff;
                self.failure = fails(
                    FailureKind::Rejected,
                    "unable to find user app: no matching entries in passwd file",
                );
                return;
            }
            _ => self.failure = None,
        }
        if self.phase == InstancePhase::BackOff && now < self.again_at {
            return;
        }
        if self.phase != InstancePhase::Running {
            if self.phase == InstancePhase::BackOff {
                self.restarts += 1;
            }
            self.phase = InstancePhase::Running;
            self.started = Some(now);
            return;
        }
        match behaviour {
            Behaviour::Crash | Behaviour::OutOfMemory => {
                let killed = behaviour == Behaviour::OutOfMemory;
                self.ready = None;
                self.phase = InstancePhase::BackOff;
                self.exits += 1;
                self.last_exit = Some(Exit {
                    code: Some(if killed { 137 } else { 1 }),
                    oom_killed: killed,
                    ran_for_ms: (now - self.started.unwrap_or(now)) * 1000,
                });
                self.started = None;
                self.again_at = now + (1u64 << self.exits.min(6)) / 2;
            }
            Behaviour::NeverReady => {
                self.ready = None;
                self.last_probe = Some(ProbeAnswer {
                    probe: ProbeKind::Readiness,
                    passed: false,
                    answer: "GET /healthz answered 503".to_owned(),
                });
            }
            Behaviour::Healthy
            | Behaviour::MissingImage
            | Behaviour::NoRegistry
            | Behaviour::SlowPull
            | Behaviour::Refused
            | Behaviour::NeverStops => {
                self.last_probe = None;
                self.ready = Some(self.ready.unwrap_or(now));
            }
        }
    }

    fn stop(&mut self, behaviour: Behaviour) {
        self.ready = None;
        self.phase = match self.phase {
            _ if self.started.is_none() => InstancePhase::Gone,
            InstancePhase::Stopping if behaviour != Behaviour::NeverStops => InstancePhase::Gone,
            InstancePhase::Stopped | InstancePhase::Gone => InstancePhase::Gone,
            _ => InstancePhase::Stopping,
        };
    }
}
