//! Plans what was marked, at once, and what is due, in time.
//!
//! Invariants: what could not be carried out stays marked. An app that the
//! planner cannot handle does not keep the others from being planned. In debug
//! builds a plan that breaks an invariant is refused.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::image::Leading;
use super::leadership::chain;
use super::{Error, Handle, lock};
use crate::model::{AppKey, Change, Snapshot};
use crate::plan::agenda::Agenda;
use crate::plan::hearing::Unheard;
use crate::plan::report::Waiting;
use crate::plan::{self, AppReport, Decision, IdSource, Plan, PlanInput, Refusal, Scope};

/// Apps planned in one transaction, and the instances they have or want: bounds its size,
/// and how long others wait for theirs.
const BATCH: usize = 4096;
const BATCH_INSTANCES: usize = 25_000;

/// Everything is looked at this often even if nothing asks for it.
const SAFETY_NET: Duration = Duration::from_secs(120);

/// Longest sleep, so that a wall clock that is set shifts no timer by more.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// After looking at apps in which nothing had to be done, for as long at least everybody
/// else has his turn: one look later covers all that came in between. At most this long.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// First pause after the database did not take a plan; doubles up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Until an app that the planner failed on is tried again, unless it changes.
const AFTER_PLANNER_ERROR: Duration = Duration::from_secs(30);

/// How one batch ended.
enum Outcome {
    Done,
    /// The planner or the store cannot cope with something in it.
    Bad(String),
    /// Nothing can be done at present.
    Later(Error),
}

struct Reconciler {
    handle: Handle,
    agenda: Agenda,
    unheard: Unheard,
    /// Spent since the last rest on looking at apps.
    looking: Duration,
}

pub(super) async fn run(handle: Handle, term: CancellationToken) {
    lock(&handle.0.marks).all = true;
    lock(&handle.0.reports).clear();
    let mut reconciler = Reconciler {
        handle,
        agenda: Agenda::default(),
        unheard: Unheard::default(),
        looking: Duration::ZERO,
    };
    let mut safety_net = Instant::now() + SAFETY_NET;
    let mut retry = RETRY;
    loop {
        let apps = tokio::select! {
            _ = term.cancelled() => return,
            apps = reconciler.next(safety_net) => apps,
        };
        if Instant::now() >= safety_net {
            safety_net = Instant::now() + SAFETY_NET;
        }
        match reconciler.plan_all(apps).await {
            Ok(()) => {
                retry = RETRY;
                let rest = std::mem::take(&mut reconciler.looking).min(LONGEST_REST);
                tokio::select! {
                    _ = term.cancelled() => return,
                    _ = sleep(rest) => {}
                }
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "plans cannot be carried out at present, trying again");
                tokio::select! {
                    _ = term.cancelled() => return,
                    _ = sleep(retry) => retry = (retry * 2).min(RETRY_MAX),
                }
            }
        }
    }
}

impl Reconciler {
    /// Waits until something is to be planned.
    async fn next(&mut self, safety_net: Instant) -> BTreeSet<AppKey> {
        loop {
            let mut marks = std::mem::take(&mut *lock(&self.handle.0.marks));
            lock(&self.handle.0.meter).take_marks();
            marks.all |= Instant::now() >= safety_net;
            let due = self.agenda.take_due(self.handle.now());
            if !marks.is_empty() || !due.is_empty() {
                marks.apps.extend(due);
                for node in &marks.told {
                    marks.apps.extend(self.unheard.told(node));
                }
                let resolved = self
                    .handle
                    .read(|s| marks.clone().resolve(s, &self.agenda.blocked));
                match resolved {
                    Ok(apps) => {
                        self.forget_removed(&marks.apps);
                        if !apps.is_empty() {
                            return apps;
                        }
                    }
                    Err(_) => lock(&self.handle.0.marks).all = true,
                }
            }
            let mut until = safety_net.min(Instant::now() + LONGEST_SLEEP);
            if let Some(at) = self.agenda.next() {
                let wait = at.since(self.handle.now()).max(Duration::from_millis(1));
                until = until.min(Instant::now() + wait);
            }
            tokio::select! {
                _ = self.handle.0.marked.notified() => {}
                _ = sleep_until(until) => {}
            }
        }
    }

    fn forget_removed(&mut self, apps: &BTreeSet<AppKey>) {
        for app in apps {
            let exists = self.handle.read(|s| s.apps.contains_key(app));
            if matches!(exists, Ok(false)) {
                self.agenda.forget(app);
                lock(&self.handle.0.reports).remove(app);
            }
        }
    }

    /// On an error what is left is marked again.
    async fn plan_all(&mut self, mut left: BTreeSet<AppKey>) -> Result<(), Error> {
        self.hold_back(&mut left);
        while !left.is_empty() {
            let planned = match self.handle.read(|s| first_batch(s, &left)) {
                Ok(batch) => self.plan_batch(&batch).await.map(|()| batch),
                Err(error) => Err(error),
            };
            match planned {
                Ok(batch) => left.retain(|app| !batch.contains(app)),
                Err(error) => {
                    lock(&self.handle.0.marks).apps.extend(left);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Apps of which a node has still to speak in this leadership. It does, or counts as silent.
    fn hold_back(&mut self, apps: &mut BTreeSet<AppKey>) {
        let Ok(leading) = self.handle.0.image.leading() else {
            return;
        };
        let held = self.handle.read(|snapshot| {
            let agents = lock(&self.handle.0.agents);
            let (unheard, hearing) = (&mut self.unheard, &agents.hearing);
            unheard.hold_back(hearing, leading.epoch, snapshot, apps)
        });
        for (app, node) in held.into_iter().flatten() {
            let report = AppReport {
                waiting: vec![Waiting {
                    what: format!("the first word of node {node} since this controller leads"),
                    until: None,
                }],
                ..AppReport::default()
            };
            lock(&self.handle.0.reports).insert(app, Arc::new(report));
        }
    }

    async fn plan_batch(&mut self, batch: &BTreeSet<AppKey>) -> Result<(), Error> {
        match self.attempt(batch).await {
            Outcome::Done => return Ok(()),
            Outcome::Later(error) => return Err(error),
            Outcome::Bad(why) if batch.len() > 1 => {
                tracing::error!(
                    apps = batch.len(),
                    why,
                    "a plan of several apps failed, planning each alone"
                );
            }
            Outcome::Bad(why) => {
                self.condemn(batch, &why);
                return Ok(());
            }
        }
        for app in batch {
            let single = BTreeSet::from([app.clone()]);
            match self.attempt(&single).await {
                Outcome::Done => {}
                Outcome::Later(error) => return Err(error),
                Outcome::Bad(why) => self.condemn(&single, &why),
            }
        }
        Ok(())
    }

    /// Leaves the apps as they are, says so, and tries again after a while.
    fn condemn(&mut self, apps: &BTreeSet<AppKey>, why: &str) {
        let until = self.handle.now() + AFTER_PLANNER_ERROR;
        for app in apps {
            tracing::error!(%app, why, "this app cannot be planned and stays as it is; please report this");
            self.agenda.set(app, Some(until));
            let report = AppReport {
                waiting: vec![Waiting {
                    what: format!("planning failed, this is a bug of Evenkeel: {why}"),
                    until: Some(until),
                }],
                ..AppReport::default()
            };
            lock(&self.handle.0.reports).insert(app.clone(), Arc::new(report));
        }
    }

    async fn attempt(&mut self, apps: &BTreeSet<AppKey>) -> Outcome {
        let leading = match self.handle.0.image.leading() {
            Ok(leading) => leading,
            Err(error) => return Outcome::Later(error),
        };
        let begun = Instant::now();
        let moving = self.look(apps, &leading).await;
        self.looking += begun.elapsed();
        let outcome = match moving.is_empty() {
            true => Outcome::Done,
            false => self.carry_out(&moving, &leading).await,
        };
        self.handle.meter(|counts| {
            counts.plan_time.add(begun.elapsed());
            counts.plans_failed += u64::from(!matches!(outcome, Outcome::Done));
        });
        outcome
    }

    /// Keeps what is to be said of the apps in which nothing is to be done, and returns the
    /// others. Nobody is kept from deciding meanwhile: what changes is marked again.
    async fn look(&mut self, apps: &BTreeSet<AppKey>, leading: &Leading) -> BTreeSet<AppKey> {
        let settings = self.handle.0.options.settings;
        let mut moving = BTreeSet::new();
        for app in apps {
            let now = self.handle.now();
            let one = BTreeSet::from([app.clone()]);
            let looked = self.handle.read(|snapshot| {
                if is_declared_anew(snapshot, app) {
                    return None;
                }
                let input = PlanInput {
                    now,
                    since: leading.watched_since(),
                    heard: &self.handle.heard_of_silent(leading, snapshot, &one, now),
                    snapshot,
                    scope: Scope::Apps(&one),
                    settings: &settings,
                };
                // Nothing of it is carried out, so its ids are nobody's.
                plan_caught(&input, &[], &mut IdSource::new(0)).ok()
            });
            match looked {
                Ok(Some(plan)) if plan.changes.is_empty() && plan.events.is_empty() => {
                    self.keep(&one, plan);
                }
                Ok(_) | Err(_) => drop(moving.insert(app.clone())),
            }
            tokio::task::yield_now().await;
        }
        moving
    }

    async fn carry_out(&mut self, apps: &BTreeSet<AppKey>, leading: &Leading) -> Outcome {
        let settings = self.handle.0.options.settings;
        let mut planned: Result<Plan, String> = Ok(Plan::default());
        let cause = match apps.first() {
            Some(app) if apps.len() == 1 => format!("plan {app}"),
            Some(_) | None => format!("plan {} apps", apps.len()),
        };
        let result = self
            .handle
            .transact(&cause, |snapshot, now, ids| {
                let input = PlanInput {
                    now,
                    since: leading.watched_since(),
                    heard: &self.handle.heard_of_silent(leading, snapshot, apps, now),
                    snapshot,
                    scope: Scope::Apps(apps),
                    settings: &settings,
                };
                planned = plan_checked(&input, &[], ids);
                Ok::<_, Refusal>(match &mut planned {
                    Ok(plan) => Decision {
                        changes: std::mem::take(&mut plan.changes),
                        events: std::mem::take(&mut plan.events),
                    },
                    Err(_) => Decision::default(),
                })
            })
            .await;
        match (result, planned) {
            (Err(Error::Internal(error)), _) => Outcome::Bad(chain(&*error)),
            (Err(error), _) => Outcome::Later(error),
            (Ok(_), Err(why)) => Outcome::Bad(why),
            (Ok(_), Ok(plan)) => {
                self.keep(apps, plan);
                Outcome::Done
            }
        }
    }

    /// Keeps what the plan said of each app until the next one.
    fn keep(&mut self, apps: &BTreeSet<AppKey>, mut plan: Plan) {
        let now = self.handle.now();
        for app in apps {
            self.agenda.planned(app, &plan, now);
            let report = plan.report.apps.remove(app).unwrap_or_default();
            lock(&self.handle.0.reports).insert(app.clone(), Arc::new(report));
        }
    }
}

/// Whether the app is to move for sure.
fn is_declared_anew(snapshot: &Snapshot, app: &AppKey) -> bool {
    snapshot.apps.get(app).is_some_and(|app| {
        let target = app.target_release().map(|r| &r.spec_digest);
        app.declared
            .as_ref()
            .is_some_and(|d| Some(&d.digest) != target)
    })
}

/// The first apps, as many as one transaction takes; one at least.
fn first_batch(snapshot: &Snapshot, apps: &BTreeSet<AppKey>) -> BTreeSet<AppKey> {
    let mut room = BATCH_INSTANCES;
    let mut batch = BTreeSet::new();
    for key in apps.iter().take(BATCH) {
        let weight = snapshot.apps.get(key).map_or(0, |app| {
            let wanted = app
                .declared
                .as_ref()
                .map_or(0, |d| d.spec.replicas as usize);
            wanted.max(app.instances.len())
        });
        if weight > room && !batch.is_empty() {
            break;
        }
        room = room.saturating_sub(weight);
        batch.insert(key.clone());
    }
    batch
}

/// Plans as if `observed` were in the snapshot, or says what is wrong with the planner.
pub(super) fn plan_checked(
    input: &PlanInput<'_>,
    observed: &[Change],
    ids: &mut IdSource,
) -> Result<Plan, String> {
    let plan = plan_caught(input, observed, ids)?;
    if cfg!(debug_assertions) {
        let mut seen = input.snapshot.clone();
        seen.apply_all(observed).map_err(|e| e.to_string())?;
        let violations = plan::check(&seen, &plan);
        if let Some(first) = violations.first() {
            return Err(format!(
                "the plan breaks {} invariant(s), the first: {}",
                violations.len(),
                first.0
            ));
        }
    }
    Ok(plan)
}

/// The same for a plan that is not carried out.
fn plan_caught(
    input: &PlanInput<'_>,
    observed: &[Change],
    ids: &mut IdSource,
) -> Result<Plan, String> {
    catch_unwind(AssertUnwindSafe(|| plan::plan_after(input, observed, ids)))
        .map_err(|panic| format!("the planner panicked: {}", panic_text(&*panic)))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)")
}
