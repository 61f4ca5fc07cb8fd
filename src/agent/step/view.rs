//! What the node says of itself, derived from the same state that decides.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hysteresis::Verdict;
use super::{ImageMemory, Local, Memory, Millis, OpKind, Reach, RuntimeState};
use crate::agent::found::{Found, FoundState};
use crate::model::desired::DesiredGoal;
use crate::model::instance::{Exit, Failure, FailureKind, InstancePhase, ProbeAnswer, ProbeKind};
use crate::model::node::ImageState;
use crate::model::{DesiredInstance, DesiredSet, InstanceId};

/// For how long a run that is taken over may be without a verdict of its probes: an answer
/// comes at once, a verdict after some intervals of the probe.
const UNJUDGED: Duration = Duration::from_secs(30);

/// An instance as reported; times are moments, ages are made when it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceView {
    pub id: InstanceId,
    pub phase: InstancePhase,
    pub ready_since: Option<Millis>,
    pub running_since: Option<Millis>,
    pub exits: u32,
    pub restarts: u32,
    pub container_id: Option<String>,
    pub published_ports: BTreeMap<String, u16>,
    pub last_exit: Option<Exit>,
    pub last_probe: Option<ProbeAnswer>,
    pub failure: Option<Failure>,
    pub log_tail: Vec<String>,
}

/// Whether its probes have yet to say something of a run that an earlier process began. That one
/// may have told that it is ready, without having written it down: "not ready" would be a word
/// against it that nobody can answer for.
fn is_unjudged(instance: &DesiredInstance, memory: &Memory, now: Millis) -> bool {
    let adopted = |at: Millis| now < at.plus(UNJUDGED);
    if !memory.adopted.is_some_and(adopted) {
        return false;
    }
    let health = &instance.run.health;
    let verdict = |kind| memory.tracks.get(&kind).and_then(|t| t.verdict);
    match (&health.startup, verdict(ProbeKind::Startup)) {
        (Some(_), None) => return true,
        (Some(_), Some(Verdict::Bad)) => return false,
        (Some(_), Some(Verdict::Good)) | (None, _) => {}
    }
    health.readiness.is_some() && verdict(ProbeKind::Readiness).is_none()
}

/// `None`: nobody has looked yet, and silence is the only honest answer. Where one has looked and
/// the runtime does not answer, that is told: else what an earlier process said would stand,
/// though the whole node may have been started anew since.
pub fn instance_view(
    instance: &DesiredInstance,
    local: &Local,
    now: Millis,
) -> Option<InstanceView> {
    let name = super::runtime_of(&instance.run.workload.task);
    let nothing = Memory::default();
    let memory = local.instances.get(&instance.id).unwrap_or(&nothing);
    let Some(runtime) = local.runtimes.get(name) else {
        return Some(without_runtime(instance, memory, name));
    };
    if !runtime.looked {
        return match &runtime.reach {
            Reach::Unasked | Reach::Known => None,
            Reach::Unknown { why } => Some(unseen(instance, memory, unavailable(why))),
        };
    }
    let found = runtime.found.get(&instance.id);
    let stop = instance.goal != DesiredGoal::Run;
    let running = found.is_some_and(Found::is_running);
    let unjudged = running && !stop && is_unjudged(instance, memory, now);
    Some(InstanceView {
        id: instance.id,
        phase: phase(instance, found, memory, local),
        ready_since: memory.ready_since.filter(|_| running && !stop),
        running_since: memory.running_since.filter(|_| running),
        exits: memory.kept.exits,
        restarts: memory.kept.runs.saturating_sub(1),
        container_id: found.map(|f| f.handle.clone()),
        published_ports: found.map(|f| f.published_ports.clone()).unwrap_or_default(),
        last_exit: memory.kept.last_exit.clone(),
        last_probe: memory.last_probe.clone(),
        failure: match failure(instance, found, memory, runtime, local) {
            None if unjudged => Some(Failure::unjudged()),
            failure => failure,
        },
        log_tail: memory.kept.log_tail.clone(),
    })
}

fn without_runtime(instance: &DesiredInstance, memory: &Memory, name: &str) -> InstanceView {
    let stop = instance.goal != DesiredGoal::Run;
    let gone = stop && !memory.kept.created;
    let view = unseen(instance, memory, no_runtime(name));
    InstanceView {
        phase: match (gone, stop) {
            (true, _) => InstancePhase::Gone,
            (false, true) => InstancePhase::Stopping,
            (false, false) => InstancePhase::BackOff,
        },
        failure: view.failure.filter(|_| !gone),
        ..view
    }
}

/// What is remembered of an instance that nobody sees.
fn unseen(instance: &DesiredInstance, memory: &Memory, failure: Failure) -> InstanceView {
    InstanceView {
        id: instance.id,
        phase: match instance.goal {
            DesiredGoal::Run => InstancePhase::Pending,
            DesiredGoal::Stop { .. } => InstancePhase::Stopping,
        },
        ready_since: None,
        running_since: None,
        exits: memory.kept.exits,
        restarts: memory.kept.runs.saturating_sub(1),
        container_id: None,
        published_ports: BTreeMap::new(),
        last_exit: memory.kept.last_exit.clone(),
        last_probe: None,
        failure: Some(failure),
        log_tail: memory.kept.log_tail.clone(),
    }
}

fn unavailable(why: &str) -> Failure {
    Failure {
        kind: FailureKind::RuntimeUnavailable,
        message: why.to_owned(),
    }
}

fn no_runtime(name: &str) -> Failure {
    let what = if name == super::DOCKER {
        "containers"
    } else {
        "plain processes"
    };
    Failure {
        kind: FailureKind::Rejected,
        message: format!(
            "this node's agent runs no {what}: it was started without the {name} runtime"
        ),
    }
}

fn phase(
    instance: &DesiredInstance,
    found: Option<&Found>,
    memory: &Memory,
    local: &Local,
) -> InstancePhase {
    if instance.goal != DesiredGoal::Run {
        let in_flight = memory.in_flight.as_ref().map(|op| op.kind);
        return match (found.map(|f| &f.state), in_flight) {
            (None, None) => InstancePhase::Gone,
            (
                Some(FoundState::Created | FoundState::Exited { .. }),
                None | Some(OpKind::Remove),
            ) => InstancePhase::Stopped,
            (Some(_) | None, Some(_)) | (Some(FoundState::Running), None) => {
                InstancePhase::Stopping
            }
        };
    }
    let starting = memory
        .in_flight
        .as_ref()
        .is_some_and(|op| matches!(op.kind, OpKind::Create | OpKind::Start));
    match found.map(|f| &f.state) {
        Some(FoundState::Running) => InstancePhase::Running,
        Some(FoundState::Created | FoundState::Exited { .. }) | None if starting => {
            InstancePhase::Starting
        }
        Some(FoundState::Created | FoundState::Exited { .. }) if memory.setback.is_some() => {
            InstancePhase::BackOff
        }
        Some(FoundState::Created | FoundState::Exited { .. }) => InstancePhase::Starting,
        None if memory.setback.is_some() => InstancePhase::BackOff,
        None => match super::decide::image_of(instance).map(|i| local.images.get(i)) {
            Some(Some(ImageMemory::Pulling { last: None, .. })) => InstancePhase::Preparing,
            Some(Some(ImageMemory::Failed { .. } | ImageMemory::Pulling { .. })) => {
                InstancePhase::BackOff
            }
            Some(Some(ImageMemory::Present { .. } | ImageMemory::Lost) | None) | None => {
                InstancePhase::Pending
            }
        },
    }
}

fn failure(
    instance: &DesiredInstance,
    found: Option<&Found>,
    memory: &Memory,
    runtime: &RuntimeState,
    local: &Local,
) -> Option<Failure> {
    if let Reach::Unknown { why } = &runtime.reach {
        return Some(unavailable(why));
    }
    if memory.failure.is_some() {
        return memory.failure.clone();
    }
    if found.is_some() || instance.goal != DesiredGoal::Run {
        return None;
    }
    match local.images.get(super::decide::image_of(instance)?) {
        Some(ImageMemory::Failed { failure, .. }) => Some(failure.clone()),
        Some(ImageMemory::Pulling { last, .. }) => last.clone(),
        Some(ImageMemory::Present { .. } | ImageMemory::Lost) | None => None,
    }
}

/// State of the images that the set names, in its words.
pub fn image_views(desired: &DesiredSet, local: &Local) -> BTreeMap<String, ImageState> {
    let mut views = BTreeMap::new();
    let has_images = local.runtimes.contains_key(super::DOCKER);
    for image in super::decide::wanted_images(desired).into_keys() {
        let state = match local.images.get(image) {
            _ if !has_images => ImageState::Failed {
                failure: no_runtime(super::DOCKER),
            },
            // It failed until a pull has succeeded.
            Some(ImageMemory::Pulling {
                last: Some(failure),
                ..
            }) => ImageState::Failed {
                failure: failure.clone(),
            },
            Some(ImageMemory::Pulling { last: None, .. }) => ImageState::Pulling,
            Some(ImageMemory::Present { digest }) => ImageState::Present {
                digest: digest.clone(),
            },
            Some(ImageMemory::Failed { failure, .. }) => ImageState::Failed {
                failure: failure.clone(),
            },
            Some(ImageMemory::Lost) | None => continue,
        };
        views.insert(image.to_owned(), state);
    }
    views
}
