//! A host and what really runs on it: the ground truth, which outlives every agent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::apps::{Behaviour, Image, image};
use super::rng::{Moment, Rng};
use crate::agent::found::{Found, FoundState};
use crate::agent::step::absorb::Outcome;
use crate::agent::step::{Kept, Op};
use crate::model::instance::{Exit, Failure, FailureKind};
use crate::model::node::NodeFacts;
use crate::model::spec::Limits;
use crate::model::{AppKey, DesiredInstance, DesiredSet, InstanceId, NodeName};

#[derive(Clone, Debug)]
pub struct Container {
    pub app: AppKey,
    pub slot: u32,
    pub image: Image,
    /// Ready is what a probe says; else whatever runs is ready.
    pub probed: bool,
    pub host_ports: Vec<u16>,
    pub volumes: Vec<String>,
    pub state: FoundState,
    pub starts: u64,
    pub started_at: Moment,
    /// It was told to end.
    pub stopping: bool,
    limits: Limits,
}

impl Container {
    pub fn is_running(&self) -> bool {
        matches!(self.state, FoundState::Running)
    }

    /// From when to when it serves in this run, if nothing ends it.
    pub fn serves(&self) -> Option<(Moment, Moment)> {
        if !self.is_running() || self.stopping {
            return None;
        }
        let (start, end) = (self.started_at, Moment(u64::MAX));
        if !self.probed {
            return Some((start, end));
        }
        match self.image.behaviour {
            Behaviour::NeverReady => None,
            Behaviour::Sickens => Some((start.plus(300), start.plus(self.image.delay))),
            Behaviour::Healthy
            | Behaviour::Crashes
            | Behaviour::Missing
            | Behaviour::Refused
            | Behaviour::Heavy
            | Behaviour::Stubborn => Some((start.plus(self.image.delay), end)),
        }
    }

    /// Since when it has been serving; `None`: it does not at `now`.
    pub fn serving_since(&self, now: Moment) -> Option<Moment> {
        self.serves()
            .filter(|(from, until)| *from <= now && now < *until)
            .map(|(from, _)| from)
    }
}

/// Something that changed what really runs.
#[derive(Clone, Debug)]
pub struct Act {
    pub node: usize,
    pub id: InstanceId,
    pub kind: ActKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActKind {
    Create,
    /// `again`: it had run before.
    Start {
        again: bool,
    },
    /// `served`: just before; `asked`: nobody wants it any more.
    Stop {
        served: bool,
        asked: bool,
    },
    Remove {
        running: bool,
    },
}

/// What befell an operation.
pub struct Effect {
    pub outcome: Outcome,
    pub act: Option<ActKind>,
    /// The present run of the container ends by itself after this many milliseconds, with this code.
    pub ends: Option<(u64, i32)>,
}

#[derive(Debug)]
pub struct Machine {
    pub name: NodeName,
    pub facts: NodeFacts,
    pub powered: bool,
    pub engine_up: bool,
    pub starts_fail: bool,
    pub disk_full: bool,
    pub containers: BTreeMap<InstanceId, Container>,
    pub images: BTreeSet<String>,
    pub ledger: Option<Arc<DesiredSet>>,
    pub previous: Option<Arc<DesiredSet>>,
    pub ledger_damaged: bool,
    pub kept: BTreeMap<InstanceId, Kept>,
    pub rng: Rng,
}

fn failed(kind: FailureKind, message: &str) -> Effect {
    Effect {
        outcome: Outcome::Failed(Failure {
            kind,
            message: message.to_owned(),
        }),
        act: None,
        ends: None,
    }
}

fn done(act: Option<ActKind>) -> Effect {
    Effect {
        outcome: Outcome::Done,
        act,
        ends: None,
    }
}

impl Machine {
    pub fn reachable(&self) -> bool {
        self.powered && self.engine_up
    }

    pub fn found(&self, id: InstanceId, now: Moment) -> Option<Found> {
        let c = self.containers.get(&id)?;
        Some(Found {
            id,
            state: c.state.clone(),
            handle: format!("c{}", id.short()),
            probe_ports: BTreeMap::from([("http".to_owned(), "here:80".to_owned())]),
            published_ports: BTreeMap::new(),
            starts: c.starts,
            limits: c.limits,
            running_ms: if c.is_running() {
                now.0 - c.started_at.0
            } else {
                0
            },
        })
    }

    pub fn list(&self, now: Moment) -> Vec<Found> {
        self.containers
            .keys()
            .filter_map(|id| self.found(*id, now))
            .collect()
    }

    /// How long an operation takes until it has its effect.
    pub fn takes(&mut self, op: &Op, slow_registry: bool) -> u64 {
        match op {
            Op::Pull { image: name, .. } => {
                let heavy = image(name).behaviour == Behaviour::Heavy;
                match (self.images.contains(name), heavy || slow_registry) {
                    (true, _) => self.rng.between(1, 20),
                    (false, true) => self.rng.between(15_000, 40_000),
                    (false, false) => self.rng.between(200, 3_000),
                }
            }
            Op::Create { .. } | Op::SetLimits { .. } => self.rng.between(5, 200),
            Op::Start { .. } => self.rng.between(20, 600),
            Op::Stop { .. } => self.rng.between(1, 50),
            Op::Remove { .. } => self.rng.between(5, 300),
        }
    }

    /// The operation comes true.
    pub fn carry_out(
        &mut self,
        op: &Op,
        instance: Option<&DesiredInstance>,
        registry_up: bool,
        now: Moment,
    ) -> Effect {
        if !self.reachable() {
            return failed(
                FailureKind::RuntimeUnavailable,
                "the runtime does not answer",
            );
        }
        match op {
            Op::Pull { image: name, .. } => self.pull(name, registry_up),
            Op::Create { id } => match instance {
                Some(instance) => self.create(*id, instance),
                None => done(None),
            },
            Op::Start { id } => self.start(*id, now),
            Op::Stop {
                id, grace, ending, ..
            } => {
                let Some(c) = self.containers.get_mut(id).filter(|c| c.is_running()) else {
                    return done(None);
                };
                let served = c.serving_since(now).is_some();
                let asked = *ending == crate::agent::step::Ending::Asked;
                c.stopping = true;
                let takes = if c.image.behaviour == Behaviour::Stubborn {
                    u64::try_from(grace.as_millis()).unwrap_or(0)
                } else {
                    self.rng.between(10, 900)
                };
                Effect {
                    ends: Some((takes, 143)),
                    ..done(Some(ActKind::Stop { served, asked }))
                }
            }
            Op::Remove { id, .. } => {
                let removed = self.containers.remove(id);
                done(removed.map(|c| ActKind::Remove {
                    running: c.is_running(),
                }))
            }
            Op::SetLimits { id, limits } => {
                if let Some(c) = self.containers.get_mut(id) {
                    c.limits = *limits;
                }
                done(None)
            }
        }
    }

    fn pull(&mut self, name: &str, registry_up: bool) -> Effect {
        if self.images.contains(name) {
            return Effect {
                outcome: Outcome::Pulled {
                    digest: Some(pinned(name)),
                },
                act: None,
                ends: None,
            };
        }
        if !registry_up {
            return failed(FailureKind::PullFailed, "the registry does not answer");
        }
        if image(name).behaviour == Behaviour::Missing {
            return failed(FailureKind::ImageNotFound, "manifest unknown");
        }
        // Under both names: what a tag brought in is also there by its digest.
        self.images.insert(pinned(name));
        self.images.insert(name.to_owned());
        Effect {
            outcome: Outcome::Pulled {
                digest: Some(pinned(name)),
            },
            act: None,
            ends: None,
        }
    }

    fn create(&mut self, id: InstanceId, wanted: &DesiredInstance) -> Effect {
        if self.containers.contains_key(&id) {
            return done(None);
        }
        let name = crate::agent::step::decide::image_of(wanted).unwrap_or("process");
        if !self.images.contains(name) {
            return failed(FailureKind::ImageNotFound, "no such image here");
        }
        let image = image(name);
        if image.behaviour == Behaviour::Refused {
            return failed(FailureKind::Rejected, "unknown user");
        }
        let workload = &wanted.run.workload;
        self.containers.insert(
            id,
            Container {
                app: wanted.app.clone(),
                slot: wanted.slot,
                image,
                probed: wanted.run.health.readiness.is_some(),
                host_ports: workload.fixed_host_ports().map(|(p, _)| p).collect(),
                volumes: workload.exclusive_volumes().map(str::to_owned).collect(),
                state: FoundState::Created,
                starts: 0,
                started_at: Moment(0),
                stopping: false,
                limits: wanted.run.limits,
            },
        );
        done(Some(ActKind::Create))
    }

    fn start(&mut self, id: InstanceId, now: Moment) -> Effect {
        if self.starts_fail {
            return failed(FailureKind::StartFailed, "no space left on device");
        }
        let taken: BTreeSet<u16> = self
            .containers
            .iter()
            .filter(|(other, c)| **other != id && c.is_running())
            .flat_map(|(_, c)| c.host_ports.iter().copied())
            .collect();
        let Some(c) = self.containers.get_mut(&id) else {
            return failed(FailureKind::StartFailed, "no such container");
        };
        if c.is_running() {
            return done(None);
        }
        if c.host_ports.iter().any(|p| taken.contains(p)) {
            return failed(FailureKind::StartFailed, "port is already allocated");
        }
        let again = c.starts > 0;
        c.state = FoundState::Running;
        c.starts += 1;
        c.started_at = now;
        c.stopping = false;
        let ends = (c.image.behaviour == Behaviour::Crashes).then_some((c.image.delay, 1));
        Effect {
            ends,
            ..done(Some(ActKind::Start { again }))
        }
    }

    /// The present run ends. False: it was another run's end.
    pub fn end(
        &mut self,
        id: InstanceId,
        run: u64,
        code: i32,
        by_runtime: bool,
        now: Moment,
    ) -> bool {
        let Some(c) = self
            .containers
            .get_mut(&id)
            .filter(|c| c.is_running() && c.starts == run)
        else {
            return false;
        };
        c.state = FoundState::Exited {
            exit: Exit {
                code: Some(code),
                oom_killed: false,
                ran_for_ms: now.0 - c.started_at.0,
            },
            by_runtime,
        };
        true
    }

    /// Everything that runs ends, as when the machine goes down.
    pub fn end_all(&mut self, now: Moment) {
        let running: Vec<(InstanceId, u64)> = self
            .containers
            .iter()
            .filter(|(_, c)| c.is_running())
            .map(|(id, c)| (*id, c.starts))
            .collect();
        for (id, run) in running {
            self.end(id, run, 255, true, now);
        }
    }
}

/// What a registry tells of a tag.
pub fn pinned(name: &str) -> String {
    if name.contains('@') {
        name.to_owned()
    } else {
        format!("{name}@sha256:1")
    }
}
