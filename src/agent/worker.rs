//! The shell around `step`: wakes when anything happened, decides, and sends out.
//!
//! One task owns [`Local`]; everything slow (operations, looks, probes, log
//! lines, files) runs in tasks of its own that answer with an [`Event`]. There
//! is no delay between an event and the operations that follow from it; only
//! events that are there already are taken in together.

mod looks;
mod probes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::carry::{self, Carried};
use super::found::Found;
use super::memory::{self, MemoryFile};
use super::probe::{Probed, Prober};
use super::report::{NodeView, Notebook};
use super::runtime::{Error, Hint, Runtime};
use super::step::absorb::{Explained, LookAgain, Outcome};
use super::step::local::Look;
use super::step::{Kept, Local, Millis, Note, Op, image_views, instance_view, runtime_of, step};
use crate::model::{DesiredSet, FailureKind, InstanceId};
use looks::Looks;
use probes::Probes;

/// What the ledger says is to be done.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    pub set: Option<Arc<DesiredSet>>,
    /// Why nothing may be touched.
    pub hold: Option<String>,
}

/// Monotonic milliseconds for `step`; follows tokio's clock, so tests can pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            origin: Instant::now(),
        }
    }

    pub fn now(&self) -> Millis {
        Millis(i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    fn instant(&self, at: Millis) -> Instant {
        self.origin + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
    }
}

/// What came back from outside.
enum Event {
    Carried(Box<Carried>),
    Listed(&'static str, Look, Result<Vec<Found>, Error>),
    Looked(&'static str, Look, InstanceId, Result<Option<Found>, Error>),
    Hinted(&'static str, Hint),
    Logged(InstanceId, Option<Vec<String>>),
    Saved,
}

/// How long a change may be held back until the log lines that explain it are there.
const EVIDENCE_WAIT: Duration = Duration::from_millis(500);
/// Events under way; senders wait beyond that.
const QUEUE: usize = 1024;

pub struct Worker {
    clock: Clock,
    runtimes: BTreeMap<&'static str, Arc<dyn Runtime>>,
    local: Local,
    orders: watch::Receiver<Orders>,
    desired: Option<Arc<DesiredSet>>,
    view: watch::Sender<Arc<NodeView>>,
    notebook: Arc<Notebook>,
    memory: MemoryFile,
    /// What the file holds, when it was last written, and whether a write is under way.
    saved: (BTreeMap<InstanceId, Kept>, Instant, bool),
    probes: Probes,
    looks: Looks,
    /// Instances whose new view waits for log lines, and how long.
    evidence: BTreeMap<InstanceId, Instant>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    answers: mpsc::Receiver<Probed>,
}

impl Worker {
    pub fn new(
        runtimes: BTreeMap<&'static str, Arc<dyn Runtime>>,
        memory: MemoryFile,
        prober: Prober,
        orders: watch::Receiver<Orders>,
        view: watch::Sender<Arc<NodeView>>,
        notebook: Arc<Notebook>,
        cancel: CancellationToken,
    ) -> Worker {
        let clock = Clock::start();
        let mut local = Local::new(runtimes.keys().copied());
        let (kept, problem) = memory.load();
        if let Some(why) = problem {
            tracing::warn!(why, "the agent's memory was lost; exits count from zero");
        }
        local.restore(kept.clone(), clock.now());
        let (send_answer, answers) = mpsc::channel(QUEUE);
        Worker {
            clock,
            looks: Looks::new(runtimes.keys().copied()),
            probes: Probes::new(prober, send_answer, cancel.clone()),
            runtimes,
            local,
            orders,
            desired: None,
            view,
            notebook,
            memory,
            saved: (kept, Instant::now(), false),
            evidence: BTreeMap::new(),
            tasks: TaskTracker::new(),
            cancel,
            events: mpsc::channel(QUEUE),
            answers,
        }
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Runs until cancelled. What is under way then is dropped, never waited for.
    pub async fn run(mut self) {
        self.watch_runtimes();
        self.take_orders();
        let mut wake = self.turn();
        let cancel = self.cancel.clone();
        loop {
            let asleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let mut changed = true;
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                ordered = self.orders.changed() => {
                    if ordered.is_err() {
                        break; // the agent is ending
                    }
                    self.take_orders();
                }
                Some(event) = self.events.1.recv() => self.absorb(event),
                Some(probed) = self.answers.recv() => changed = self.absorb_probe(probed),
                () = asleep => {}
            }
            while let Ok(event) = self.events.1.try_recv() {
                self.absorb(event);
                changed = true;
            }
            while let Ok(probed) = self.answers.try_recv() {
                changed |= self.absorb_probe(probed);
            }
            if changed {
                wake = self.turn();
            }
        }
        self.probes.stop_all();
        let (memory, kept) = (self.memory.clone(), self.local.kept());
        if kept != self.saved.0 {
            let saving = tokio::task::spawn_blocking(move || memory.save(&kept));
            if let Ok(Err(error)) = saving.await {
                tracing::warn!(%error, "the agent's memory was not saved");
            }
        }
    }

    fn take_orders(&mut self) {
        let orders = self.orders.borrow_and_update().clone();
        self.local.hold = orders.hold;
        if let Some(set) = orders.set {
            self.local.admit(&set, self.clock.now());
            self.desired = Some(set);
        }
    }

    fn absorb(&mut self, event: Event) {
        let now = self.clock.now();
        let desired = self.desired.clone();
        let desired = desired.as_deref();
        match event {
            Event::Carried(carried) => {
                let Carried {
                    op,
                    runtime,
                    outcome,
                    after,
                } = *carried;
                if let Outcome::Failed(failure) = &outcome {
                    tracing::warn!(op = ?op, kind = ?failure.kind, why = failure.message, "operation failed");
                    if failure.kind == FailureKind::RuntimeUnavailable {
                        self.looks.look_at_all(runtime);
                    }
                }
                let (notes, again) = self
                    .local
                    .op_finished(&op, runtime, outcome, after, desired, now);
                if let (LookAgain::Yes, Some(id)) = (again, op.instance()) {
                    self.look(runtime, id);
                }
                self.note(notes);
            }
            Event::Listed(runtime, look, result) => {
                self.looks.listed(runtime, result.is_ok(), Instant::now());
                match result {
                    Ok(all) => {
                        let notes = self.local.listed(runtime, look, all, desired, now);
                        self.note(notes);
                    }
                    Err(error) => self.unreachable(runtime, &error.message),
                }
            }
            Event::Looked(runtime, look, id, result) => match result {
                Ok(found) => {
                    let notes = self.local.looked(runtime, look, id, found, desired, now);
                    self.note(notes);
                }
                // Whether it is the instance or the runtime is for the list to say.
                Err(_) => self.looks.look_at_all(runtime),
            },
            Event::Hinted(runtime, hint) => match hint {
                Hint::Instance(id) => self.look(runtime, id),
                Hint::All => self.looks.look_at_all(runtime),
                Hint::Down => {
                    self.unreachable(runtime, "it stopped answering");
                    self.looks.look_at_all(runtime);
                }
            },
            Event::Logged(id, lines) => {
                if self.local.logged(id, lines) == Explained::Yes {
                    self.evidence.remove(&id);
                }
            }
            Event::Saved => self.saved.2 = false,
        }
    }

    fn unreachable(&mut self, runtime: &'static str, why: &str) {
        let was_known = self
            .local
            .runtimes
            .get(runtime)
            .is_some_and(super::step::RuntimeState::is_known);
        if was_known {
            tracing::warn!(
                runtime,
                why,
                "the runtime does not answer; nothing is concluded"
            );
        }
        self.local.unreachable(runtime, why);
    }

    /// Whether anything is different after it.
    fn absorb_probe(&mut self, probed: Probed) -> bool {
        let Some(desired) = self.desired.clone() else {
            return false;
        };
        let Some(instance) = desired.instances.get(&probed.id) else {
            return false;
        };
        let now = self.clock.now();
        let told = self.local.probed(instance, probed.run, probed.answer, now);
        self.note(told.notes);
        told.changed
    }

    fn note(&self, notes: Vec<Note>) {
        for note in &notes {
            match note.instance {
                Some(instance) => {
                    tracing::info!(%instance, kind = note.kind.as_str(), "{}", note.message);
                }
                None => tracing::info!(kind = note.kind.as_str(), "{}", note.message),
            }
        }
        self.notebook.write(notes);
    }

    /// Decides and sends out. Returns when to do so again though nothing happens.
    fn turn(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        let mut wake = None;
        let mut wake_at = |at: Instant| wake = Some(wake.map_or(at, |w: Instant| w.min(at)));
        if let Some(desired) = self.desired.clone() {
            let decided = step(&desired, &self.local, now);
            if let Some(at) = decided.wake_at {
                wake_at(self.clock.instant(at));
            }
            self.note(decided.notes);
            for op in decided.ops {
                self.send_out(op, &desired, now);
            }
            self.probes.keep(&desired, &self.local, &self.runtimes);
            self.fetch_evidence(&desired);
        }
        if let Some(at) = self.list_runtimes() {
            wake_at(at);
        }
        if let Some(at) = self.save_memory() {
            wake_at(at);
        }
        if let Some(at) = self.publish() {
            wake_at(at);
        }
        wake
    }

    fn send_out(&mut self, op: Op, desired: &DesiredSet, now: Millis) {
        let instance = op.instance().and_then(|id| desired.instances.get(&id));
        let name = match &op {
            Op::Pull { .. } => super::step::DOCKER,
            Op::Stop { runtime, .. } | Op::Remove { runtime, .. } => runtime,
            Op::Create { .. } | Op::Start { .. } | Op::SetLimits { .. } => match instance {
                Some(instance) => runtime_of(&instance.run.workload.task),
                None => return,
            },
        };
        let Some(runtime) = self.runtimes.get(name) else {
            return;
        };
        tracing::debug!(op = ?op, "begins");
        self.local.op_started(&op, now);
        let carrying = carry::carry_out(
            op,
            Arc::clone(runtime),
            desired.cluster.clone(),
            instance.cloned(),
        );
        self.spawn(async move { Event::Carried(Box::new(carrying.await)) });
    }

    /// Runs it in a task that ends with the agent and answers with an event.
    fn spawn(&self, work: impl Future<Output = Event> + Send + 'static) {
        let sender = self.events.0.clone();
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                event = work => {
                    // Nobody takes it only when the agent is ending.
                    let _ = sender.send(event).await;
                }
            }
        });
    }

    fn fetch_evidence(&mut self, desired: &DesiredSet) {
        let wanted: BTreeSet<InstanceId> = self
            .local
            .instances
            .iter_mut()
            .filter(|(_, memory)| memory.wants_logs)
            .map(|(id, memory)| {
                memory.wants_logs = false;
                *id
            })
            .collect();
        for id in wanted {
            let Some(instance) = desired.instances.get(&id) else {
                continue;
            };
            let name = runtime_of(&instance.run.workload.task);
            let Some(runtime) = self.runtimes.get(name) else {
                continue;
            };
            self.evidence.insert(id, Instant::now() + EVIDENCE_WAIT);
            let lines = carry::last_lines(Arc::clone(runtime), id);
            self.spawn(async move { Event::Logged(id, lines.await) });
        }
    }

    /// Writes the memory if it changed, at most once per [`memory::PAUSE`]; soon where the next
    /// start waits longer because of what would be lost.
    fn save_memory(&mut self) -> Option<Instant> {
        let (saved, at, busy) = &mut self.saved;
        if *busy {
            return None;
        }
        let due = *at + memory::pause(saved, &self.local);
        if Instant::now() < due {
            return Some(due);
        }
        let kept = self.local.kept();
        if kept == *saved {
            return None;
        }
        (*saved, *at, *busy) = (kept.clone(), Instant::now(), true);
        let file = self.memory.clone();
        self.spawn(async move {
            let saving = tokio::task::spawn_blocking(move || file.save(&kept));
            if let Ok(Err(error)) = saving.await {
                tracing::warn!(%error, "the agent's memory was not saved");
            }
            Event::Saved
        });
        None
    }

    /// Shows the node as it is now. An instance that waits for its evidence stays as it was.
    fn publish(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.evidence.retain(|_, until| *until > now);
        let before = Arc::clone(&self.view.borrow());
        let mut view = NodeView {
            settled: self.looks.settled(),
            ..NodeView::default()
        };
        if let Some(desired) = &self.desired {
            view.applied = Some((desired.epoch, desired.generation));
            view.images = image_views(desired, &self.local);
            for instance in desired.instances.values() {
                let held = self.evidence.contains_key(&instance.id);
                let shown = match before.instances.get(&instance.id) {
                    Some(old) if held => Some(old.clone()),
                    Some(_) | None => instance_view(instance, &self.local, self.clock.now()),
                };
                view.instances.extend(shown.map(|v| (instance.id, v)));
            }
        }
        if view != *before {
            self.view.send_replace(Arc::new(view));
        }
        self.evidence.values().min().copied()
    }
}
