//! What happened moves [`Local`]: looks, ends of operations, answers of probes.
//! Each function returns the notes that people should read.

use std::collections::BTreeMap;

use super::hysteresis::{Track, Verdict};
use super::local::{Look, Setback, SetbackKind};
use super::{
    Ending, ImageMemory, InFlight, Local, Memory, Millis, Note, Op, OpKind, Reach, probe_name,
};
use crate::agent::found::{Found, FoundState};
use crate::model::desired::DesiredGoal;
use crate::model::instance::{Exit, Failure, FailureKind, ProbeAnswer, ProbeKind};
use crate::model::quantity::format_duration;
use crate::model::spec::{Health, Probe};
use crate::model::{DesiredInstance, DesiredSet, EventKind, InstanceId};

use super::backoff;

/// Different answers of probes that are remembered. Between an exit and its being noticed
/// there is time for one or two.
const ANSWERS_KEPT: usize = 4;

/// Milliseconds before the exit a runtime tells in which answers count as after it: a
/// container's programs are killed one by one, and its end is told when the last is gone.
const DYING_MS: i64 = 100;

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done,
    /// A pull: what was found out about the image.
    Pulled {
        digest: Option<String>,
    },
    Failed(Failure),
}

impl Local {
    /// The runtime answered with all it holds.
    pub fn listed(
        &mut self,
        runtime: &'static str,
        look: Look,
        all: Vec<Found>,
        desired: Option<&DesiredSet>,
        now: Millis,
    ) -> Vec<Note> {
        let mut notes = Vec::new();
        let state = self.runtimes.entry(runtime).or_default();
        state.reach = Reach::Known;
        let first = !state.looked;
        state.looked = true;
        let mut all: BTreeMap<InstanceId, Found> = all.into_iter().map(|f| (f.id, f)).collect();
        let mut ids: Vec<InstanceId> = state.found.keys().copied().collect();
        ids.extend(all.keys().filter(|id| !state.found.contains_key(id)));
        // After a start of the agent, what is remembered but not found is absent for certain.
        if first && let Some(set) = desired {
            ids.extend(
                set.instances
                    .values()
                    .filter(|i| super::runtime_of(&i.run.workload.task) == runtime)
                    .map(|i| i.id),
            );
            ids.sort_unstable();
            ids.dedup();
        }
        for id in ids {
            let found = all.remove(&id);
            let runs = found.as_ref().is_some_and(Found::is_running);
            notes.extend(self.looked(runtime, look, id, found, desired, now));
            if first
                && runs
                && let Some(memory) = self.instances.get_mut(&id)
            {
                memory.adopted = Some(now);
            }
        }
        notes
    }

    /// The runtime does not answer.
    pub fn unreachable(&mut self, runtime: &'static str, why: &str) {
        let state = self.runtimes.entry(runtime).or_default();
        state.reach = Reach::Unknown {
            why: why.to_owned(),
        };
    }

    /// One instance as the runtime holds it, or its absence.
    pub fn looked(
        &mut self,
        runtime: &'static str,
        look: Look,
        id: InstanceId,
        found: Option<Found>,
        desired: Option<&DesiredSet>,
        now: Millis,
    ) -> Vec<Note> {
        let memory = self.instances.entry(id).or_default();
        if memory.in_flight.is_some() {
            memory.look_again = true;
            return Vec::new();
        }
        if look.0 <= memory.valid_from {
            return Vec::new();
        }
        memory.valid_from = look.0;
        self.take_in(runtime, id, found, desired, now)
    }

    fn take_in(
        &mut self,
        runtime: &'static str,
        id: InstanceId,
        found: Option<Found>,
        desired: Option<&DesiredSet>,
        now: Millis,
    ) -> Vec<Note> {
        let instance = desired.and_then(|set| set.instances.get(&id));
        let memory = self.instances.entry(id).or_default();
        let mut notes = Vec::new();
        match &found {
            None => memory.absent(),
            Some(found) => {
                memory.kept.created = true;
                match &found.state {
                    FoundState::Created => memory.not_running(),
                    FoundState::Running => {
                        memory.run_seen(found, now);
                        if let Some(instance) = instance {
                            memory.judge_readiness(instance, now, &mut notes);
                        }
                    }
                    FoundState::Exited { exit, by_runtime } => {
                        memory.run_seen(found, now);
                        memory.exited(found.starts, exit, *by_runtime, instance, now, &mut notes);
                    }
                }
            }
        }
        let state = self.runtimes.entry(runtime).or_default();
        match found {
            Some(found) => state.found.insert(id, found),
            None => state.found.remove(&id),
        };
        notes
    }

    /// Marks that an operation of [`super::Step::ops`] is being carried out.
    pub fn op_started(&mut self, op: &Op, now: Millis) {
        if let Op::Pull { image, .. } = op {
            let (attempts, last) = match self.images.get(image) {
                Some(ImageMemory::Failed {
                    attempts, failure, ..
                }) => (*attempts, Some(failure.clone())),
                Some(
                    ImageMemory::Pulling { .. } | ImageMemory::Present { .. } | ImageMemory::Lost,
                )
                | None => (0, None),
            };
            self.images.insert(
                image.clone(),
                ImageMemory::Pulling {
                    since: now,
                    attempts,
                    last,
                },
            );
        }
        let Some(id) = op.instance() else { return };
        let memory = self.instances.entry(id).or_default();
        memory.in_flight = Some(InFlight {
            kind: op.kind(),
            since: now,
        });
        match op {
            Op::Stop { ending, .. } => {
                memory.ending = Some(ending.clone());
                memory.lose_readiness();
            }
            Op::SetLimits { limits, .. } => memory.limits_tried = Some((*limits, now)),
            Op::Pull { .. } | Op::Create { .. } | Op::Start { .. } | Op::Remove { .. } => {}
        }
    }

    /// An operation ended; `after` is a look at the instance from after its end, if there was one.
    /// Returns also whether another look is needed.
    pub fn op_finished(
        &mut self,
        op: &Op,
        runtime: &'static str,
        outcome: Outcome,
        after: Option<Option<Found>>,
        desired: Option<&DesiredSet>,
        now: Millis,
    ) -> (Vec<Note>, LookAgain) {
        let Some(id) = op.instance() else {
            return (self.pulled(op, outcome, now), LookAgain::No);
        };
        self.clock += 1;
        let clock = self.clock;
        let memory = self.instances.entry(id).or_default();
        memory.in_flight = None;
        memory.valid_from = clock;
        let again = if std::mem::take(&mut memory.look_again) || after.is_none() {
            LookAgain::Yes
        } else {
            LookAgain::No
        };
        let mut notes = Vec::new();
        let outcome = match (outcome, &after) {
            (Outcome::Done, Some(found)) if !took_effect(op.kind(), found.as_ref()) => {
                Outcome::Failed(Failure {
                    kind: FailureKind::StartFailed,
                    message: format!(
                        "the {runtime} runtime said that it was done, but it is not: {}",
                        state_text(found.as_ref())
                    ),
                })
            }
            (outcome, _) => outcome,
        };
        match outcome {
            Outcome::Done | Outcome::Pulled { .. } => match op.kind() {
                OpKind::Create => {
                    memory.kept.created = true;
                    memory.complete = true;
                    memory.failure = None;
                }
                OpKind::Start => {
                    memory.failure = None;
                    memory.setback = None;
                }
                OpKind::Stop | OpKind::Remove => memory.stop_setback = None,
                OpKind::SetLimits | OpKind::Pull => {}
            },
            Outcome::Failed(failure) => {
                let new = memory.failure.as_ref() != Some(&failure);
                if new && failure.kind != FailureKind::RuntimeUnavailable {
                    notes.push(Note {
                        instance: Some(id),
                        kind: EventKind::InstanceFailed,
                        message: format!("{}: {}", doing(op.kind()), failure.message),
                        at: now,
                    });
                }
                let lost = matches!(
                    failure.kind,
                    FailureKind::ImageNotFound | FailureKind::PullFailed
                );
                memory.op_failed(op.kind(), failure, now);
                if lost && let Some(instance) = desired.and_then(|set| set.instances.get(&id)) {
                    self.image_lost(instance);
                }
            }
        }
        if let Some(found) = after {
            notes.extend(self.take_in(runtime, id, found, desired, now));
        }
        (notes, again)
    }

    fn pulled(&mut self, op: &Op, outcome: Outcome, now: Millis) -> Vec<Note> {
        let Op::Pull { image, .. } = op else {
            return Vec::new();
        };
        let (attempts, last) = match self.images.get(image) {
            Some(ImageMemory::Pulling { attempts, last, .. }) => (*attempts, last.clone()),
            Some(ImageMemory::Present { .. } | ImageMemory::Failed { .. } | ImageMemory::Lost)
            | None => (0, None),
        };
        let mut notes = Vec::new();
        if let Outcome::Failed(failure) = &outcome
            && last.as_ref() != Some(failure)
            && failure.kind != FailureKind::RuntimeUnavailable
        {
            notes.push(Note {
                instance: None,
                kind: EventKind::InstanceFailed,
                message: format!("pulling {image} failed: {}", failure.message),
                at: now,
            });
        }
        let next = match outcome {
            Outcome::Pulled { digest } => ImageMemory::Present { digest },
            Outcome::Done => ImageMemory::Present { digest: None },
            Outcome::Failed(failure) => ImageMemory::Failed {
                // An Engine that does not answer says nothing of the image.
                attempts: match failure.kind {
                    FailureKind::RuntimeUnavailable => attempts.max(1),
                    FailureKind::ImageNotFound
                    | FailureKind::PullFailed
                    | FailureKind::Rejected
                    | FailureKind::StartFailed => attempts.saturating_add(1),
                },
                failure,
                at: now,
            },
        };
        self.images.insert(image.clone(), next);
        notes
    }

    /// Creation failed for want of the image: somebody removed it since it was pulled.
    fn image_lost(&mut self, instance: &DesiredInstance) {
        if let Some(image) = super::decide::image_of(instance)
            && matches!(self.images.get(image), Some(ImageMemory::Present { .. }))
        {
            self.images.insert(image.to_owned(), ImageMemory::Lost);
        }
    }

    /// The last lines of an instance's output, fetched because something happened to it. `None`:
    /// they could not be had.
    pub fn logged(&mut self, id: InstanceId, lines: Option<Vec<String>>) -> Explained {
        let Some(lines) = lines else {
            // One that runs and cannot be asked may have gone with its runtime: word of that
            // comes first, as long as it does not take long.
            let mut runtimes = self.runtimes.values();
            let runs = runtimes.any(|r| r.found.get(&id).is_some_and(Found::is_running));
            return if runs {
                Explained::Perhaps
            } else {
                Explained::Yes
            };
        };
        if let Some(memory) = self.instances.get_mut(&id) {
            memory.kept.log_tail = lines;
        }
        Explained::Yes
    }

    /// A probe was answered in the run `run`. An answer like the last one changes nothing
    /// (see [`Probed::changed`]).
    pub fn probed(
        &mut self,
        instance: &DesiredInstance,
        run: u64,
        answer: ProbeAnswer,
        now: Millis,
    ) -> Probed {
        let mut told = Probed::default();
        let Some(memory) = self.instances.get_mut(&instance.id) else {
            return told;
        };
        let Some(probe) = probe_of(&instance.run.health, answer.probe) else {
            return told;
        };
        if memory.kept.seen_run != Some(run) || memory.running_since.is_none() {
            return told; // of a run that is over
        }
        let before = (memory.last_probe.clone(), memory.ready_since);
        let started = match answer.probe {
            ProbeKind::Startup => memory.running_since,
            // These two begin when the startup probe has passed.
            ProbeKind::Readiness | ProbeKind::Liveness => memory
                .tracks
                .get(&ProbeKind::Startup)
                .and_then(|t| t.turned_at)
                .or(memory.running_since),
        }
        .unwrap_or(now);
        let kind = answer.probe;
        let turned =
            memory
                .tracks
                .entry(kind)
                .or_default()
                .answer(probe, started, answer.passed, now);
        // A failure is worth more than the passes of the other probes after it.
        let keep = memory
            .last_probe
            .as_ref()
            .is_some_and(|last| !last.passed && last.probe != kind && answer.passed);
        if !keep {
            memory.answered(answer.clone(), now);
        }
        if turned == Some(Verdict::Bad) {
            memory.wants_logs = true;
            let already = memory.ready_since.is_some() && kind == ProbeKind::Readiness;
            if kind == ProbeKind::Readiness {
                told.notes.push(Note {
                    instance: Some(instance.id),
                    kind: EventKind::InstanceUnready,
                    message: format!(
                        "{} {} probe failed: {}",
                        if already {
                            "no longer ready:"
                        } else {
                            "not ready:"
                        },
                        probe_name(kind),
                        answer.answer
                    ),
                    at: now,
                });
            }
        }
        memory.judge_readiness(instance, now, &mut told.notes);
        told.changed =
            turned.is_some() || before != (memory.last_probe.clone(), memory.ready_since);
        told
    }
}

/// What an answer of a probe came to.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Probed {
    pub notes: Vec<Note>,
    /// Whether anything is different from before it.
    pub changed: bool,
}

/// Whether an operation that succeeded shows in what is found after it. If it does not, it
/// must not be tried again at once, for ever.
fn took_effect(kind: OpKind, found: Option<&Found>) -> bool {
    let state = found.map(|f| &f.state);
    match kind {
        OpKind::Create => state.is_some(),
        OpKind::Start => !matches!(state, Some(FoundState::Created)),
        OpKind::Stop => !matches!(state, Some(FoundState::Running)),
        OpKind::Remove => state.is_none(),
        OpKind::Pull | OpKind::SetLimits => true,
    }
}

fn state_text(found: Option<&Found>) -> &'static str {
    match found.map(|f| &f.state) {
        None => "there is none",
        Some(FoundState::Created) => "it was never started",
        Some(FoundState::Running) => "it runs",
        Some(FoundState::Exited { .. }) => "it has ended but is there",
    }
}

/// Whether all is known that explains what happened to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explained {
    Yes,
    /// More may come: until then, and not for long, what happened is not told.
    Perhaps,
}

/// Whether the caller must look at the instance once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookAgain {
    Yes,
    No,
}

fn doing(kind: OpKind) -> &'static str {
    match kind {
        OpKind::Pull => "pulling the image failed",
        OpKind::Create => "creating it failed",
        OpKind::Start => "starting it failed",
        OpKind::Stop => "stopping it failed",
        OpKind::Remove => "removing it failed",
        OpKind::SetLimits => "changing its limits failed",
    }
}

pub(super) fn probe_of(health: &Health, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => health.startup.as_ref(),
        ProbeKind::Readiness => health.readiness.as_ref(),
        ProbeKind::Liveness => health.liveness.as_ref(),
    }
}

/// `exited with code 1 after 2.3s`, `was killed for using too much memory …`.
pub(super) fn exit_text(exit: &Exit) -> String {
    let how = match (exit.oom_killed, exit.code) {
        (true, _) => "was killed for using more memory than its limit".to_owned(),
        (false, Some(code)) => format!("exited with code {code}"),
        (false, None) => "ended".to_owned(),
    };
    let ran = exit.ran_for_ms;
    if ran < 10_000 {
        format!("{how} after {}.{}s", ran / 1000, ran % 1000 / 100)
    } else {
        format!("{how} after {}s", ran / 1000)
    }
}

impl Memory {
    fn absent(&mut self) {
        self.complete = false;
        self.kept.seen_run = None;
        self.kept.counted_run = None;
        self.not_running();
    }

    fn not_running(&mut self) {
        self.running_since = None;
        self.tracks.clear();
        self.lose_readiness();
    }

    fn lose_readiness(&mut self) {
        self.ready_since = None;
        self.kept.ready_run = None;
    }

    /// Notices a new run.
    fn run_seen(&mut self, found: &Found, now: Millis) {
        let same = self.kept.seen_run == Some(found.starts);
        if !same {
            self.kept.seen_run = Some(found.starts);
            self.kept.runs = self.kept.runs.saturating_add(1);
            self.not_running();
            self.ending = None;
            self.adopted = None;
        }
        if found.is_running() {
            self.failure = None;
            if self.running_since.is_none() {
                self.running_since = Some(Millis(
                    now.0
                        .saturating_sub(i64::try_from(found.running_ms).unwrap_or(0)),
                ));
                if same && self.kept.ready_run == Some(found.starts) {
                    // An earlier agent process saw it ready: it needs a failed probe to fall.
                    self.tracks.insert(ProbeKind::Startup, Track::taken_over());
                    self.tracks
                        .insert(ProbeKind::Readiness, Track::taken_over());
                }
            }
        }
    }

    fn answered(&mut self, answer: ProbeAnswer, now: Millis) {
        if self.answers.last().map(|(_, last)| last) != Some(&answer) {
            if self.answers.len() == ANSWERS_KEPT {
                self.answers.remove(0);
            }
            self.answers.push((now, answer.clone()));
        }
        self.last_probe = Some(answer);
    }

    /// "Connection refused" by what has just ended would hide what it said while it ran.
    fn forget_answers_after(&mut self, since: Millis, exit: &Exit) {
        let ran = i64::try_from(exit.ran_for_ms).unwrap_or(i64::MAX);
        let end = Millis(since.0.saturating_add(ran).saturating_sub(DYING_MS));
        let said = self.answers.iter().rev().find(|(at, _)| *at <= end);
        if let Some((_, last)) = said {
            self.last_probe = Some(last.clone());
        }
        self.answers.clear();
    }

    fn exited(
        &mut self,
        run: u64,
        exit: &Exit,
        by_runtime: bool,
        instance: Option<&DesiredInstance>,
        now: Millis,
        notes: &mut Vec<Note>,
    ) {
        let since = self.running_since;
        self.not_running();
        if self.kept.counted_run == Some(run) {
            return;
        }
        self.kept.counted_run = Some(run);
        if let Some(since) = since {
            self.forget_answers_after(since, exit);
        }
        self.kept.last_exit = Some(exit.clone());
        let Some(instance) = instance else { return };
        let ending = match (&instance.goal, self.ending.take()) {
            (DesiredGoal::Stop { .. }, _) => Some(Ending::Asked),
            (DesiredGoal::Run, ending) => ending,
        };
        let policy = &instance.run.restart;
        let mut note = |message: String| {
            notes.push(Note {
                instance: Some(instance.id),
                kind: EventKind::InstanceExited,
                message,
                at: now,
            });
        };
        match ending {
            Some(Ending::Asked) => return,
            None if by_runtime => {
                self.setback = None;
                note("ended because its runtime went down; starting it again".to_owned());
                return;
            }
            Some(Ending::Unhealthy { .. }) | None => {}
        }
        self.kept.exits = self.kept.exits.saturating_add(1);
        self.wants_logs = true;
        let stable = u64::try_from(policy.stable_after().as_millis()).unwrap_or(u64::MAX);
        if exit.ran_for_ms >= stable {
            self.kept.attempts = 0;
        }
        self.kept.attempts = self.kept.attempts.saturating_add(1);
        self.setback = Some(Setback {
            at: now,
            kind: SetbackKind::Transient,
        });
        let wait = format_duration(backoff::delay(policy, self.kept.attempts));
        if ending.is_none() {
            note(format!("{}; starting it again in {wait}", exit_text(exit)));
        }
    }

    fn op_failed(&mut self, kind: OpKind, failure: Failure, now: Millis) {
        match kind {
            OpKind::Create | OpKind::Start => {
                let setback = match failure.kind {
                    FailureKind::RuntimeUnavailable => SetbackKind::Runtime,
                    FailureKind::ImageNotFound | FailureKind::Rejected => SetbackKind::Conclusive,
                    FailureKind::PullFailed | FailureKind::StartFailed => SetbackKind::Transient,
                };
                if setback != SetbackKind::Runtime {
                    self.kept.attempts = self.kept.attempts.saturating_add(1);
                    self.wants_logs = true;
                }
                self.setback = Some(Setback {
                    at: now,
                    kind: setback,
                });
                self.failure = Some(failure);
            }
            OpKind::Stop | OpKind::Remove => {
                let attempts = self.stop_setback.map_or(0, |(n, _)| n);
                self.stop_setback = Some((attempts.saturating_add(1), now));
                self.failure = Some(failure);
            }
            // It runs on with the old limits, and is tried again.
            OpKind::SetLimits => self.failure = Some(failure),
            OpKind::Pull => {}
        }
    }

    /// Whether its probes and its run make it ready; notes the turn.
    pub(super) fn judge_readiness(
        &mut self,
        instance: &DesiredInstance,
        now: Millis,
        notes: &mut Vec<Note>,
    ) {
        let health = &instance.run.health;
        let good = |kind: ProbeKind| {
            probe_of(health, kind).is_none() || self.tracks.get(&kind).is_some_and(Track::is_good)
        };
        let ready = self.running_since.is_some()
            && self.ending.is_none()
            && good(ProbeKind::Startup)
            && good(ProbeKind::Readiness);
        if !ready {
            self.lose_readiness();
            return;
        }
        if self.ready_since.is_some() {
            return;
        }
        let unprobed = health.startup.is_none() && health.readiness.is_none();
        self.ready_since = if unprobed {
            self.running_since
        } else {
            Some(now)
        };
        self.kept.ever_ready = true;
        if self.kept.ready_run == self.kept.seen_run {
            return; // an earlier agent process has told it
        }
        self.kept.ready_run = self.kept.seen_run;
        let took = now.since(self.running_since.unwrap_or(now));
        notes.push(Note {
            instance: Some(instance.id),
            kind: EventKind::InstanceReady,
            message: format!(
                "ready {}.{}s after its start",
                took / 1000,
                took % 1000 / 100
            ),
            at: now,
        });
    }
}
