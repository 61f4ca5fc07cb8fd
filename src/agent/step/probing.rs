//! Which probes run now: a function of what runs, so that starting and stopping
//! them needs no bookkeeping of its own.

use std::collections::BTreeMap;

use super::{Local, probe_name};
use crate::model::desired::DesiredGoal;
use crate::model::instance::ProbeKind;
use crate::model::spec::{Check, Probe};
use crate::model::{DesiredSet, InstanceId};

/// One probe to keep asking.
#[derive(Clone, Debug, PartialEq)]
pub struct Probing {
    pub probe: Probe,
    /// The run it belongs to; another run is another probing.
    pub run: u64,
    pub runtime: &'static str,
    /// `host:port`, or why there is none; `None` for a command.
    pub address: Option<Result<String, String>>,
    /// Ask faster than the interval until it passes for the first time.
    pub quick: bool,
}

/// All probes that run now. The startup probe gates the others.
pub fn probing(desired: &DesiredSet, local: &Local) -> BTreeMap<(InstanceId, ProbeKind), Probing> {
    let mut all = BTreeMap::new();
    for instance in desired.instances.values() {
        if instance.goal != DesiredGoal::Run {
            continue;
        }
        let runtime = super::runtime_of(&instance.run.workload.task);
        let (Some(found), Some(memory)) = (
            local.found(runtime, instance.id),
            local.instances.get(&instance.id),
        ) else {
            continue;
        };
        if !found.is_running() || memory.ending.is_some() {
            continue;
        }
        let health = &instance.run.health;
        let started = health.startup.is_none()
            || memory
                .tracks
                .get(&ProbeKind::Startup)
                .is_some_and(super::hysteresis::Track::is_good);
        let kinds: &[(ProbeKind, Option<&Probe>)] = if started {
            &[
                (ProbeKind::Readiness, health.readiness.as_ref()),
                (ProbeKind::Liveness, health.liveness.as_ref()),
            ]
        } else {
            &[(ProbeKind::Startup, health.startup.as_ref())]
        };
        for (kind, probe) in kinds {
            let Some(probe) = probe else { continue };
            let address = port_of(&probe.check).map(|port| {
                found.probe_ports.get(port).cloned().ok_or_else(|| {
                    format!(
                        "{} probe: the runtime tells no address for port \"{port}\"",
                        probe_name(*kind)
                    )
                })
            });
            all.insert(
                (instance.id, *kind),
                Probing {
                    probe: (*probe).clone(),
                    run: found.starts,
                    runtime,
                    address,
                    quick: *kind != ProbeKind::Liveness,
                },
            );
        }
    }
    all
}

fn port_of(check: &Check) -> Option<&str> {
    match check {
        Check::Http { port, .. } | Check::Tcp { port } | Check::Grpc { port, .. } => Some(port),
        Check::Exec { .. } => None,
    }
}
