//! Which operations may start now.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hysteresis::Verdict;
use super::{Ending, ImageMemory, Local, Memory, Millis, Note, Op, Step, backoff, probe_name};
use crate::agent::found::{Found, FoundState};
use crate::model::desired::DesiredGoal;
use crate::model::instance::{FailureKind, ProbeAnswer, ProbeKind};
use crate::model::quantity::format_duration;
use crate::model::spec::PullPolicy;
use crate::model::{DesiredInstance, DesiredSet, EventKind, InstanceId};
use crate::mutant::{Mutant, mutant};

/// Grace for an instance of which nothing is known but that it runs.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// A runtime that rounds limits never shows the ones asked for: ask again rarely.
pub const LIMITS_RETRY: Duration = Duration::from_secs(60);

/// The operations that bring what runs here closer to `desired`, by what is known at `now`.
pub fn step(desired: &DesiredSet, local: &Local, now: Millis) -> Step {
    let mut step = Step::default();
    if local.hold.is_some() && !mutant(Mutant::AgentIgnoresHold) {
        return step;
    }
    decide_images(desired, local, now, &mut step);
    for instance in desired.instances.values() {
        decide_listed(instance, local, now, &mut step);
    }
    decide_unlisted(desired, local, now, &mut step);
    step
}

/// The image an instance is created from; `None` for a process.
pub fn image_of(instance: &DesiredInstance) -> Option<&str> {
    instance
        .run
        .workload
        .image()
        .map(|declared| instance.run.image.as_deref().unwrap_or(declared))
}

/// Images to have: those the set lists, and those of instances to run.
pub fn wanted_images(desired: &DesiredSet) -> BTreeMap<&str, PullPolicy> {
    let mut wanted: BTreeMap<&str, PullPolicy> = BTreeMap::new();
    for instance in desired.instances.values() {
        if instance.goal == DesiredGoal::Run
            && let Some(image) = image_of(instance)
        {
            wanted.insert(image, instance.run.pull_policy);
        }
    }
    wanted.extend(desired.images.iter().map(|(i, p)| (i.as_str(), *p)));
    wanted
}

fn decide_images(desired: &DesiredSet, local: &Local, now: Millis, step: &mut Step) {
    let known = local
        .runtimes
        .get(super::DOCKER)
        .is_some_and(super::RuntimeState::is_known);
    if !known {
        return;
    }
    for (image, policy) in wanted_images(desired) {
        let due = match local.images.get(image) {
            None | Some(ImageMemory::Lost) => true,
            Some(ImageMemory::Pulling { .. } | ImageMemory::Present { .. }) => false,
            Some(ImageMemory::Failed {
                failure,
                attempts,
                at,
            }) => is_due(at.plus(image_retry(failure.kind, *attempts)), now, step),
        };
        if due {
            step.ops.push(Op::Pull {
                image: image.to_owned(),
                policy,
            });
        }
    }
}

fn image_retry(kind: FailureKind, attempts: u32) -> Duration {
    match kind {
        FailureKind::ImageNotFound | FailureKind::Rejected => backoff::CONCLUSIVE_RETRY,
        FailureKind::RuntimeUnavailable => backoff::RUNTIME_RETRY,
        FailureKind::PullFailed | FailureKind::StartFailed => backoff::plain(attempts),
    }
}

/// Whether `at` is reached; else asks to be woken then.
fn is_due(at: Millis, now: Millis, step: &mut Step) -> bool {
    let due = at <= now;
    if !due {
        step.wake(at);
    }
    due
}

fn decide_listed(instance: &DesiredInstance, local: &Local, now: Millis, step: &mut Step) {
    let name = super::runtime_of(&instance.run.workload.task);
    let Some(runtime) = local.runtimes.get(name) else {
        return; // the view says that this node has no such runtime
    };
    if !runtime.is_known() {
        return;
    }
    let found = runtime.found.get(&instance.id);
    let unknown = Memory::default();
    let memory = local.instances.get(&instance.id).unwrap_or(&unknown);
    if memory.in_flight.is_some() {
        return;
    }
    match &instance.goal {
        DesiredGoal::Run => decide_run(instance, name, found, memory, local, now, step),
        DesiredGoal::Stop { .. } => {
            if let Some(found) = found {
                let grace = instance.run.stop_grace_period;
                decide_end(found, name, grace, memory, now, step);
            }
        }
    }
}

fn decide_run(
    instance: &DesiredInstance,
    runtime: &'static str,
    found: Option<&Found>,
    memory: &Memory,
    local: &Local,
    now: Millis,
    step: &mut Step,
) {
    let id = instance.id;
    let policy = &instance.run.restart;
    let may_start = |step: &mut Step| match memory.setback {
        None => true,
        Some(setback) => is_due(
            backoff::next_start(policy, memory.kept.attempts, setback),
            now,
            step,
        ),
    };
    match found.map(|f| (f, &f.state)) {
        None => {
            if !image_is_here(instance, local) || !may_start(step) {
                return;
            }
            if memory.kept.created {
                step.notes.push(Note {
                    instance: Some(id),
                    kind: EventKind::InstanceRestarted,
                    message: format!(
                        "{} was removed by somebody else; putting it back",
                        noun(runtime)
                    ),
                    at: now,
                });
            }
            step.ops.push(Op::Create { id });
        }
        Some((_, FoundState::Created)) => {
            if may_start(step) {
                // Creating does nothing where all is there, and completes what a crash cut short.
                step.ops.push(match memory.complete {
                    true => Op::Start { id },
                    false => Op::Create { id },
                });
            }
        }
        Some((_, FoundState::Exited { exit, by_runtime })) => {
            if may_start(step) {
                let why = if *by_runtime {
                    "its runtime went down and is back".to_owned()
                } else {
                    format!("it {}", super::absorb::exit_text(exit))
                };
                step.notes.push(Note {
                    instance: Some(id),
                    kind: EventKind::InstanceRestarted,
                    message: format!("starting it again: {why}"),
                    at: now,
                });
                step.ops.push(Op::Start { id });
            }
        }
        Some((found, FoundState::Running)) => {
            decide_running(instance, runtime, found, memory, now, step);
        }
    }
}

fn decide_running(
    instance: &DesiredInstance,
    runtime: &'static str,
    found: &Found,
    memory: &Memory,
    now: Millis,
    step: &mut Step,
) {
    let id = instance.id;
    if let Some((probe, failures)) = condemned(memory) {
        if !stop_is_due(memory, now, step) {
            return;
        }
        let answer = match &memory.last_probe {
            Some(ProbeAnswer {
                probe: kind,
                passed: false,
                answer,
            }) if *kind == probe => answer.clone(),
            Some(_) | None => "no answer kept".to_owned(),
        };
        step.notes.push(Note {
            instance: Some(id),
            kind: EventKind::InstanceRestarted,
            message: format!(
                "stopping it to start it again: its {} probe failed {failures} times in a row: {answer}",
                probe_name(probe)
            ),
            at: now,
        });
        step.ops.push(Op::Stop {
            id,
            runtime,
            grace: instance.run.stop_grace_period,
            ending: Ending::Unhealthy { probe, answer },
        });
        return;
    }
    let limits = instance.run.limits;
    if found.limits != limits {
        let due = match memory.limits_tried {
            Some((tried, at)) if tried == limits => is_due(at.plus(LIMITS_RETRY), now, step),
            Some(_) | None => true,
        };
        if due {
            step.ops.push(Op::SetLimits { id, limits });
        }
    }
}

/// The probe whose verdict demands a restart, with its failures in a row.
fn condemned(memory: &Memory) -> Option<(ProbeKind, u32)> {
    [ProbeKind::Startup, ProbeKind::Liveness]
        .into_iter()
        .find_map(|kind| {
            let track = memory.tracks.get(&kind)?;
            (track.verdict == Some(Verdict::Bad)).then_some((kind, track.failures))
        })
}

fn image_is_here(instance: &DesiredInstance, local: &Local) -> bool {
    match image_of(instance) {
        None => true,
        Some(image) => matches!(local.images.get(image), Some(ImageMemory::Present { .. })),
    }
}

/// Stops and then removes.
fn decide_end(
    found: &Found,
    runtime: &'static str,
    grace: Duration,
    memory: &Memory,
    now: Millis,
    step: &mut Step,
) {
    if !stop_is_due(memory, now, step) {
        return;
    }
    step.ops.push(match &found.state {
        FoundState::Running => Op::Stop {
            id: found.id,
            runtime,
            grace,
            ending: Ending::Asked,
        },
        FoundState::Created | FoundState::Exited { .. } => Op::Remove {
            id: found.id,
            runtime,
        },
    });
}

fn stop_is_due(memory: &Memory, now: Millis, step: &mut Step) -> bool {
    match memory.stop_setback {
        None => true,
        Some((attempts, at)) => is_due(at.plus(backoff::plain(attempts)), now, step),
    }
}

/// What carries our mark but is in no set: an orphan of an earlier set, or of a lost node.
fn decide_unlisted(desired: &DesiredSet, local: &Local, now: Millis, step: &mut Step) {
    for (name, runtime) in &local.runtimes {
        if !runtime.is_known() {
            continue;
        }
        let unlisted = |id: &InstanceId| !desired.instances.contains_key(id);
        for found in runtime.found.values().filter(|f| unlisted(&f.id)) {
            let unknown = Memory::default();
            let memory = local.instances.get(&found.id).unwrap_or(&unknown);
            if memory.in_flight.is_some() {
                continue;
            }
            let before = step.ops.len();
            let grace = memory.grace.unwrap_or(DEFAULT_GRACE);
            decide_end(found, name, grace, memory, now, step);
            if found.is_running() && step.ops.len() > before {
                step.notes.push(Note {
                    instance: Some(found.id),
                    kind: EventKind::InstanceStopping,
                    message: format!(
                        "{} is ours but generation {} of this node's desired set does not list it: \
                         stopping it with {} of grace and removing it",
                        noun(name),
                        desired.generation.0,
                        format_duration(grace)
                    ),
                    at: now,
                });
            }
        }
    }
}

fn noun(runtime: &str) -> &'static str {
    if runtime == super::DOCKER {
        "its container"
    } else {
        "its process"
    }
}
