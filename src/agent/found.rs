//! What a runtime holds of an instance, as plain data: the input of `step`.
//!
//! Kept apart from the `Runtime` trait so that everything that decides builds
//! without an async runtime.

use std::collections::BTreeMap;

use crate::model::InstanceId;
use crate::model::instance::Exit;
use crate::model::spec::Limits;

/// One instance as the runtime sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub id: InstanceId,
    pub state: FoundState,
    /// Container id, or the supervisor's pid.
    pub handle: String,
    /// Address at which the node itself reaches each port, for probes: name → `host:port`.
    pub probe_ports: BTreeMap<String, String>,
    /// Published ports of the node: name → port number.
    pub published_ports: BTreeMap<String, u16>,
    /// Differs from one start of this instance to the next, so that a restart between
    /// two looks is seen. Compared for equality only, and only as long as the instance
    /// is not removed.
    pub starts: u64,
    /// Limits in force.
    pub limits: Limits,
    /// Milliseconds since its present process was started; 0 unless it runs.
    pub running_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum FoundState {
    /// Created, never started.
    Created,
    Running,
    /// `by_runtime`: the Engine itself went down or was restarted and took it along.
    Exited {
        exit: Exit,
        by_runtime: bool,
    },
}

impl Found {
    pub fn is_running(&self) -> bool {
        matches!(self.state, FoundState::Running)
    }
}
