//! What the agent decides: from the node's desired set and what is known here
//! to the operations that may start now.
//!
//! Pure: no I/O, no clock, no randomness. What happens (a look at a runtime, an
//! operation that ended, a probe's answer) is absorbed into [`Local`] by the
//! functions of [`absorb`]; [`step`] only reads. Whoever carries out an
//! operation marks it with [`Local::op_started`] before, so that a second
//! `step` never asks for it again.
//!
//! What holds:
//! - at most one operation per instance and one pull per image at a time; a
//!   hanging one delays nothing else;
//! - while a runtime does not answer nothing is concluded and nothing is asked
//!   of it;
//! - while the ledger cannot be trusted ([`Local::hold`]) nothing is touched;
//! - failures are tried again for ever, ever more slowly: giving up is the
//!   controller's business.
//!
//! Deliberately absent: readiness of other instances, order between instances,
//! rollouts. The desired set says it all.

pub mod absorb;
pub mod backoff;
pub mod decide;
pub mod hysteresis;
pub mod local;
pub mod probing;
pub mod view;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use decide::step;
pub use local::{Ending, ImageMemory, InFlight, Kept, Local, Memory, Reach, RuntimeState};
pub use probing::{Probing, probing};
pub use view::{InstanceView, image_views, instance_view};

use crate::model::instance::ProbeKind;
use crate::model::spec::{Limits, PullPolicy, Task};
use crate::model::{EventKind, InstanceId};

/// Name of the runtime that runs images.
pub const DOCKER: &str = "docker";
/// Name of the runtime that runs plain processes.
pub const PROCESS: &str = "process";

/// Milliseconds of a monotonic clock with an arbitrary origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub i64);

impl Millis {
    pub fn plus(self, d: Duration) -> Millis {
        Millis(
            self.0
                .saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }
    /// Milliseconds from `earlier` to `self`, never negative.
    pub fn since(self, earlier: Millis) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// Which runtime carries out a task.
pub fn runtime_of(task: &Task) -> &'static str {
    match task {
        Task::Image { .. } => DOCKER,
        Task::Process { .. } => PROCESS,
    }
}

/// An operation to start now. Each is idempotent by instance id.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Pull {
        image: String,
        policy: PullPolicy,
    },
    Create {
        id: InstanceId,
    },
    Start {
        id: InstanceId,
    },
    Stop {
        id: InstanceId,
        runtime: &'static str,
        grace: Duration,
        /// How its end is to be understood.
        ending: Ending,
    },
    Remove {
        id: InstanceId,
        runtime: &'static str,
    },
    SetLimits {
        id: InstanceId,
        limits: Limits,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpKind {
    Pull,
    Create,
    Start,
    Stop,
    Remove,
    SetLimits,
}

impl Op {
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Pull { .. } => OpKind::Pull,
            Op::Create { .. } => OpKind::Create,
            Op::Start { .. } => OpKind::Start,
            Op::Stop { .. } => OpKind::Stop,
            Op::Remove { .. } => OpKind::Remove,
            Op::SetLimits { .. } => OpKind::SetLimits,
        }
    }

    /// The instance it works on; `None` for a pull.
    pub fn instance(&self) -> Option<InstanceId> {
        match self {
            Op::Pull { .. } => None,
            Op::Create { id }
            | Op::Start { id }
            | Op::Stop { id, .. }
            | Op::Remove { id, .. }
            | Op::SetLimits { id, .. } => Some(*id),
        }
    }
}

/// Something the agent did or saw by itself, with the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub instance: Option<InstanceId>,
    pub kind: EventKind,
    pub message: String,
    pub at: Millis,
}

/// What may start now, why, and when to look again though nothing happens.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Step {
    pub ops: Vec<Op>,
    /// The earliest time at which waiting ends.
    pub wake_at: Option<Millis>,
    /// One per operation that needs explaining.
    pub notes: Vec<Note>,
}

impl Step {
    fn wake(&mut self, at: Millis) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }
}

/// `startup`, `readiness`, `liveness`.
pub fn probe_name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "startup",
        ProbeKind::Readiness => "readiness",
        ProbeKind::Liveness => "liveness",
    }
}
