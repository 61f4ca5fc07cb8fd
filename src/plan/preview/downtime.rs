//! Whether users would notice, from what the run ahead saw, and why from the spec.

use super::{Course, Fit};
use crate::model::spec::Strategy;
use crate::model::{AppSpec, Downtime};

pub(super) fn of(course: &Course, old: Option<&AppSpec>, new: &AppSpec, fit: &Fit) -> Downtime {
    let wanted = course.served.min(new.replicas as usize);
    // Who serves nobody has no downtime, and neither has what is not even begun.
    if course.served == 0 || course.low >= wanted {
        return Downtime::None;
    }
    let reason = match fit {
        Fit::Never { .. } => "it would stop half way".to_owned(),
        Fit::NothingToDo | Fit::ToItsEnd | Fit::Waits { .. } => cause(old, new),
    };
    if course.low == 0 {
        return Downtime::Outage { reason };
    }
    Downtime::Reduced {
        at_least: course.low,
        of: wanted,
        reason,
    }
}

fn cause(old: Option<&AppSpec>, new: &AppSpec) -> String {
    let policy = &new.rollout;
    if policy.strategy == Strategy::Recreate {
        return "strategy recreate stops all instances before it starts new ones".to_owned();
    }
    let specs = || old.into_iter().chain([new]);
    if let Some(volume) = specs().find_map(|s| s.workload.exclusive_volumes().next()) {
        return format!(
            "volume {volume} has one holder at a time, so each instance stops before its \
             successor starts (maxUnavailable {})",
            policy.max_unavailable
        );
    }
    if let Some((port, _)) = specs().find_map(|s| s.workload.fixed_host_ports().next()) {
        return format!(
            "host port {port} has one holder per node, so instances stop before their \
             successors start (maxUnavailable {})",
            policy.max_unavailable
        );
    }
    format!(
        "maxUnavailable {} of {} replicas lets instances stop before their successors serve",
        policy.max_unavailable, new.replicas
    )
}
