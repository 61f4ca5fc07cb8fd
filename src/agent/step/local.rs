//! What is known on this node: the looks at the runtimes and the memory of
//! each instance. Plain data; [`super::absorb`] moves it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hysteresis::Track;
use super::{Millis, OpKind};
use crate::agent::found::Found;
use crate::model::instance::{Exit, Failure, ProbeAnswer, ProbeKind};
use crate::model::spec::Limits;
use crate::model::{DesiredSet, InstanceId};
use crate::mutant::{Mutant, mutant};

/// Everything the agent knows of its node.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// The runtimes this node has, by name.
    pub runtimes: BTreeMap<&'static str, RuntimeState>,
    pub instances: BTreeMap<InstanceId, Memory>,
    pub images: BTreeMap<String, ImageMemory>,
    /// Why nothing may be touched: the ledger was unreadable and no new set has come.
    pub hold: Option<String>,
    /// Numbers looks and operations, so that an old look never hides what an operation did.
    pub(super) clock: u64,
}

/// A runtime as last seen.
#[derive(Clone, Debug)]
pub struct RuntimeState {
    pub reach: Reach,
    /// Whether it was listed at least once; before, absence means nothing.
    pub looked: bool,
    pub found: BTreeMap<InstanceId, Found>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody has asked it yet.
    Unasked,
    Known,
    /// It does not answer: nothing may be concluded.
    Unknown {
        why: String,
    },
}

impl Default for RuntimeState {
    fn default() -> RuntimeState {
        RuntimeState {
            reach: Reach::Unasked,
            looked: false,
            found: BTreeMap::new(),
        }
    }
}

/// What outlives the agent process.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// Exits nobody asked for and no runtime outage explains.
    pub exits: u32,
    /// Distinct runs seen.
    pub runs: u32,
    pub last_exit: Option<Exit>,
    /// Setbacks in a row; the exponent of the back-off.
    pub attempts: u32,
    pub ever_ready: bool,
    /// It was created here: if it is absent now, somebody removed it.
    pub created: bool,
    /// [`Found::starts`] of the run last seen.
    pub seen_run: Option<u64>,
    /// The run whose exit is accounted for.
    pub counted_run: Option<u64>,
    /// The run that was ready when last seen.
    pub ready_run: Option<u64>,
    pub log_tail: Vec<String>,
}

/// One instance's memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub kept: Kept,
    pub in_flight: Option<InFlight>,
    /// This process saw its creation end. One that is merely found may lack what follows the
    /// creation of a container: its files, a check of its program.
    pub complete: bool,
    /// When this process found its present run, which an earlier one began.
    pub adopted: Option<Millis>,
    /// Something may have changed while an operation was in flight.
    pub look_again: bool,
    /// The last thing that went wrong with starting it, and when.
    pub setback: Option<Setback>,
    /// Failed attempts to stop or remove it in a row, and the last one's time.
    pub stop_setback: Option<(u32, Millis)>,
    pub failure: Option<Failure>,
    /// We are ending, or ended, its present run.
    pub ending: Option<Ending>,
    /// Limits last asked for, and when.
    pub limits_tried: Option<(Limits, Millis)>,
    pub grace: Option<Duration>,
    pub running_since: Option<Millis>,
    pub ready_since: Option<Millis>,
    pub tracks: BTreeMap<ProbeKind, Track>,
    pub last_probe: Option<ProbeAnswer>,
    /// The last different answers and when they came, newest last. An exit is noticed only
    /// after it happened, and what answers in between is no longer the program.
    pub(super) answers: Vec<(Millis, ProbeAnswer)>,
    /// Set when something happened whose last log lines are wanted; the shell fetches and clears.
    pub wants_logs: bool,
    /// Looks begun before this moment say nothing of it.
    pub(super) valid_from: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InFlight {
    pub kind: OpKind,
    pub since: Millis,
}

/// Why the next start waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setback {
    pub at: Millis,
    pub kind: SetbackKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetbackKind {
    /// It ran and ended, or failed for a reason that may pass.
    Transient,
    /// Trying again can only give the same answer.
    Conclusive,
    /// The runtime did not answer; says nothing of the instance.
    Runtime,
}

/// How the end of a run that we brought about is to be understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// Nobody wants it any more.
    Asked,
    /// A probe condemned it: counts as an exit.
    Unhealthy { probe: ProbeKind, answer: String },
}

/// One image reference on this node.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageMemory {
    Pulling {
        since: Millis,
        /// Failures before this attempt, and the last of them.
        attempts: u32,
        last: Option<Failure>,
    },
    Present {
        digest: Option<String>,
    },
    Failed {
        failure: Failure,
        attempts: u32,
        at: Millis,
    },
    /// It was there and is not any more; pull again.
    Lost,
}

/// A moment in the order of looks and operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look(pub(super) u64);

impl Local {
    pub fn new(runtimes: impl IntoIterator<Item = &'static str>) -> Local {
        Local {
            runtimes: runtimes
                .into_iter()
                .map(|name| (name, RuntimeState::default()))
                .collect(),
            ..Local::default()
        }
    }

    /// Takes over what an earlier agent process knew.
    pub fn restore(&mut self, kept: BTreeMap<InstanceId, Kept>, now: Millis) {
        for (id, kept) in kept {
            let setback = (kept.attempts > 0).then_some(Setback {
                at: now,
                kind: SetbackKind::Transient,
            });
            self.instances.insert(
                id,
                Memory {
                    kept,
                    setback,
                    ..Memory::default()
                },
            );
        }
    }

    /// What must outlive this process.
    pub fn kept(&self) -> BTreeMap<InstanceId, Kept> {
        self.instances
            .iter()
            .map(|(id, memory)| (*id, memory.kept.clone()))
            .collect()
    }

    /// Marks the moment at which a look at a runtime begins.
    pub fn begin_look(&mut self) -> Look {
        self.clock += 1;
        Look(self.clock)
    }

    /// Makes room for a new set and forgets what nobody speaks of any more.
    pub fn admit(&mut self, desired: &DesiredSet, now: Millis) {
        for instance in desired.instances.values() {
            let memory = self.instances.entry(instance.id).or_default();
            memory.grace = Some(instance.run.stop_grace_period);
            // Seen before it was known what is wanted of it, as after a ledger was lost.
            if memory.running_since.is_some() && memory.ready_since.is_none() {
                memory.judge_readiness(instance, now, &mut Vec::new());
            }
        }
        let runtimes = &self.runtimes;
        self.instances.retain(|id, memory| {
            desired.instances.contains_key(id)
                || memory.in_flight.is_some()
                || runtimes
                    .values()
                    .any(|r| !r.looked || r.found.contains_key(id))
        });
        let wanted = super::decide::wanted_images(desired);
        self.images.retain(|image, memory| {
            wanted.contains_key(image.as_str()) || matches!(memory, ImageMemory::Pulling { .. })
        });
    }

    /// The instance as last seen by the runtime of that name.
    pub fn found(&self, runtime: &str, id: InstanceId) -> Option<&Found> {
        self.runtimes.get(runtime)?.found.get(&id)
    }
}

impl RuntimeState {
    pub fn is_known(&self) -> bool {
        self.reach == Reach::Known || mutant(Mutant::AgentTrustsSilence)
    }
}
