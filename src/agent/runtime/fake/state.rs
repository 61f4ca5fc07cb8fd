//! What the fake holds.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::{Call, Error, Fault, Found, Script, now};
use crate::agent::found::FoundState;
use crate::agent::step::OpKind;
use crate::model::instance::Exit;
use crate::model::spec::{Limits, Task};
use crate::model::{AppKey, DesiredInstance, InstanceId};

#[derive(Default)]
pub(super) struct State {
    pub down: Option<String>,
    pub things: BTreeMap<InstanceId, Thing>,
    pub images: BTreeSet<String>,
    pub unpullable: BTreeMap<String, Error>,
    pub scripts: BTreeMap<AppKey, Script>,
    pub faults: Vec<(OpKind, Option<String>, Fault)>,
    pub calls: Vec<Call>,
}

pub(super) struct Thing {
    pub app: AppKey,
    pub script: Script,
    pub state: ThingState,
    pub starts: u64,
    pub limits: Limits,
    pub log: Vec<String>,
    /// A program below `/no/` is not there.
    pub no_program: Option<String>,
    env: BTreeMap<String, String>,
    ports: BTreeMap<String, u16>,
}

pub(super) enum ThingState {
    Created,
    Running { since: Instant },
    Exited { exit: Exit, by_runtime: bool },
}

impl Thing {
    pub fn new(instance: &DesiredInstance, script: Script) -> Thing {
        Thing {
            app: instance.app.clone(),
            script,
            state: ThingState::Created,
            starts: 0,
            limits: instance.run.limits,
            log: Vec::new(),
            no_program: match &instance.run.workload.task {
                Task::Image { command, .. } => command.as_ref().and_then(|c| c.first()),
                Task::Process { command, .. } => command.first(),
            }
            .filter(|program| program.starts_with("/no/"))
            .cloned(),
            env: instance.run.workload.env.clone(),
            ports: instance
                .run
                .workload
                .ports
                .iter()
                .map(|p| (p.name.clone(), p.host_port.unwrap_or(p.port)))
                .collect(),
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, ThingState::Running { .. })
    }

    pub fn start(&mut self) {
        self.starts += 1;
        self.state = ThingState::Running { since: now() };
        for line in &self.script.output {
            let line = match line.strip_prefix('$') {
                Some(name) => self.env.get(name).cloned().unwrap_or_default(),
                None => line.clone(),
            };
            self.log.push(line);
        }
    }

    /// Does nothing unless it runs.
    pub fn end(&mut self, code: i32, by_runtime: bool) {
        if let ThingState::Running { since } = self.state {
            self.state = ThingState::Exited {
                exit: Exit {
                    code: Some(code),
                    oom_killed: false,
                    ran_for_ms: elapsed(since),
                },
                by_runtime,
            };
        }
    }

    pub fn found(&self, id: InstanceId) -> Found {
        Found {
            id,
            state: match &self.state {
                ThingState::Created => FoundState::Created,
                ThingState::Running { .. } => FoundState::Running,
                ThingState::Exited { exit, by_runtime } => FoundState::Exited {
                    exit: exit.clone(),
                    by_runtime: *by_runtime,
                },
            },
            handle: format!("fake-{}", id.short()),
            probe_ports: self.script.ports.clone(),
            published_ports: self.ports.clone(),
            starts: self.starts,
            limits: self.limits,
            running_ms: match self.state {
                ThingState::Running { since } => elapsed(since),
                ThingState::Created | ThingState::Exited { .. } => 0,
            },
        }
    }
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(now().saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
}
