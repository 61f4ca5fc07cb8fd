//! The planner run to its end over several apps at once, on a copy in which nodes do at
//! once what they are told and every new instance becomes healthy.
//!
//! It is the very planner that runs in the cluster: what it would refuse is refused here,
//! what two apps take from each other they take from each other here. No time passes,
//! unless all that is left to do is to wait for one.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::node::ImageState;
use crate::model::snapshot::Observed;
use crate::model::{
    App, AppKey, Change, Goal, Instance, InstanceId, InstancePhase, InstanceStatus, Liveness,
    NodeName, Rejection, RolloutPhase, Snapshot, Timestamp,
};
use crate::plan::NOBODY;
use crate::plan::place::Funnel;
use crate::plan::{IdSource, PlanInput, PlanReport, Scope, Settings, plan};

/// What became of one app.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Slot and node of each instance that was started, in that order.
    pub places: Vec<(u32, NodeName)>,
    pub stops: usize,
    /// Instances that served at the start, and the fewest on the way.
    pub served: usize,
    pub low: usize,
    pub end: End,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum End {
    /// Everything runs as declared, or is gone.
    #[default]
    Reached,
    /// The planner itself refuses it before it begins.
    Refused(Box<Rejection>),
    /// No node can take the next instance.
    NoRoom(Funnel),
    /// What it says it waits for.
    Waits(String),
}

/// Looks at one app are bounded by this many instances in all: a run over tens of thousands
/// of replicas one by one would cost minutes.
const EFFORT: usize = 4_000_000;

/// Times to come (bake, pauses between steps) that are skipped over.
const LEAPS: usize = 64;

/// `snapshot` already holds what the commit declares. Afterwards it is as it would be at the end.
pub fn run_ahead(
    snapshot: &mut Snapshot,
    keys: &BTreeSet<AppKey>,
    now: Timestamp,
    settings: &Settings,
) -> BTreeMap<AppKey, Course> {
    let mut run = Run::new(snapshot, keys, now);
    let mut effort = 0;
    let mut leaps = 0;
    let report = loop {
        let input = PlanInput {
            now: run.now,
            since: Timestamp(0),
            heard: &NOBODY,
            snapshot: run.snapshot,
            scope: Scope::Apps(keys),
            settings,
        };
        let plan = plan(&input, &mut run.ids);
        run.take(&plan.changes);
        let quiet = !run.settle() && plan.changes.is_empty();
        effort += run.instances() + keys.len();
        if effort > EFFORT {
            break None;
        }
        if quiet {
            let next = plan.wake_at.values().min().copied();
            match next.filter(|_| leaps < LEAPS && !run.all_reached()) {
                Some(at) => run.leap(at),
                None => break Some(plan.report),
            }
            leaps += 1;
        }
    };
    run.finish(report.as_ref())
}

struct Run<'a> {
    snapshot: &'a mut Snapshot,
    keys: &'a BTreeSet<AppKey>,
    now: Timestamp,
    ids: IdSource,
    started: BTreeSet<InstanceId>,
    courses: BTreeMap<AppKey, Course>,
}

impl<'a> Run<'a> {
    fn new(snapshot: &'a mut Snapshot, keys: &'a BTreeSet<AppKey>, now: Timestamp) -> Run<'a> {
        let courses = keys.iter().map(|key| {
            let served = snapshot.apps.get(key).map_or(0, |a| serving(snapshot, a));
            let course = Course {
                served,
                low: served,
                ..Course::default()
            };
            (key.clone(), course)
        });
        Run {
            courses: courses.collect(),
            snapshot,
            keys,
            now,
            // Ids and drawn numbers must not differ between two looks at the same thing.
            ids: IdSource::new(0),
            started: BTreeSet::new(),
        }
    }

    /// Applies what was planned, and notes it.
    fn take(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::AddInstance(instance) => {
                    self.started.insert(instance.id);
                    if let Some(course) = self.courses.get_mut(&instance.app) {
                        course.places.push((instance.slot, instance.node.clone()));
                    }
                }
                Change::SetGoal {
                    app,
                    goal: Goal::Stop { .. },
                    ..
                } => {
                    if let Some(course) = self.courses.get_mut(app) {
                        course.stops += 1;
                    }
                }
                _ => {}
            }
            // It was made for this very snapshot: one that does not fit is a bug that
            // `plan::check` finds in the tests, and here only blurs the picture.
            let _ = self.snapshot.apply(change);
        }
        for (key, course) in &mut self.courses {
            let app = self.snapshot.apps.get(key);
            let serving = app.map_or(0, |app| serving(self.snapshot, app));
            course.low = course.low.min(serving);
        }
    }

    /// Nodes do what they were told. Says whether that changed anything.
    fn settle(&mut self) -> bool {
        let mut news = Vec::new();
        for app in self.keys.iter().filter_map(|k| self.snapshot.apps.get(k)) {
            self.settle_app(app, &mut news);
        }
        for change in &news {
            let _ = self.snapshot.apply(change);
        }
        !news.is_empty()
    }

    fn settle_app(&self, app: &App, news: &mut Vec<Change>) {
        let heard = |name: &NodeName| {
            let node = self.snapshot.nodes.get(name);
            node.filter(|n| n.liveness == Liveness::Ready)
        };
        let target = app.target_release();
        for instance in app.instances.values().filter(|i| heard(&i.node).is_some()) {
            let new = self.started.contains(&instance.id)
                || target.is_some_and(|t| t.workload_digest == instance.workload);
            let next = match instance.goal {
                Goal::Stop { .. } if !instance.is_gone() => ended(),
                Goal::Run if new && !instance.is_ready() && !instance.is_gone() => healthy(),
                Goal::Run | Goal::Stop { .. } => continue,
            };
            news.push(Change::Observe {
                app: app.key.clone(),
                instance: instance.id,
                status: Box::new(next),
            });
        }
        let Some(rollout) = app.active_rollout() else {
            return;
        };
        let image = app.releases.get(&rollout.to).and_then(|r| r.image());
        let Some(image) = image else { return };
        for node in rollout.prepare.iter().filter_map(heard) {
            let there = matches!(node.images.get(image), Some(ImageState::Present { .. }));
            if !there {
                news.push(Change::SetImage {
                    node: node.name.clone(),
                    image: image.to_owned(),
                    state: Some(ImageState::Present { digest: None }),
                });
            }
        }
    }

    /// Goes on at `at`, with no deadline nearer than before.
    fn leap(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        let active: Vec<_> = self
            .keys
            .iter()
            .filter_map(|key| self.snapshot.apps.get(key)?.active_rollout().cloned())
            .collect();
        for mut rollout in active {
            rollout.progress_at = self.now;
            let _ = self.snapshot.apply(&Change::PutRollout(Box::new(rollout)));
        }
    }

    fn instances(&self) -> usize {
        let apps = self.keys.iter().filter_map(|k| self.snapshot.apps.get(k));
        apps.map(|app| app.instances.len()).sum()
    }

    fn all_reached(&self) -> bool {
        let mut apps = self.keys.iter().filter_map(|k| self.snapshot.apps.get(k));
        apps.all(|app| is_reached(self.snapshot, app))
    }

    fn finish(mut self, report: Option<&PlanReport>) -> BTreeMap<AppKey, Course> {
        for (key, course) in &mut self.courses {
            let Some(app) = self.snapshot.apps.get(key) else {
                continue;
            };
            if is_reached(self.snapshot, app) {
                continue;
            }
            let told = report.and_then(|r| r.apps.get(key));
            course.end = match (app.rejection_of_declared(), told) {
                (Some(rejection), _) => End::Refused(Box::new(rejection.clone())),
                (None, None) => End::Waits(
                    "it has too many instances to be followed to its end one by one".to_owned(),
                ),
                (None, Some(told)) => match &told.funnel {
                    Some(funnel) => End::NoRoom(funnel.clone()),
                    None => {
                        let words = told.waiting.iter().map(|w| w.what.as_str());
                        End::Waits(words.collect::<Vec<_>>().join("; "))
                    }
                },
            };
        }
        self.courses
    }
}

/// Nothing is left to do but to let time pass.
fn is_reached(snapshot: &Snapshot, app: &App) -> bool {
    let Some(declared) = &app.declared else {
        return app.instances.is_empty();
    };
    let Some(target) = app.target_release() else {
        return false;
    };
    let moving = app
        .active_rollout()
        .is_some_and(|r| r.phase != RolloutPhase::Baking);
    let wanted = |i: &&Instance| i.wants_run() && app.is_current(i, target);
    let right = app.instances.values().filter(wanted).count();
    target.spec_digest == declared.digest
        && !moving
        && right == app.instances.len()
        && serving(snapshot, app) == app.replicas_of(target) as usize
}

/// Instances that serve where that can be seen.
fn serving(snapshot: &Snapshot, app: &App) -> usize {
    let instances = app.instances.values();
    instances
        .filter(|i| i.wants_run() && i.is_ready())
        .filter(|i| !matches!(snapshot.observe(i), Observed::Unknown))
        .count()
}

fn healthy() -> InstanceStatus {
    // Long enough for any `minHealthyTime`.
    let long_ago = Some(Timestamp(i64::MIN / 2));
    InstanceStatus {
        phase: InstancePhase::Running,
        ready: true,
        ready_since: long_ago,
        first_started_at: long_ago,
        started_at: long_ago,
        exits: 0,
        restarts: 0,
        container_id: None,
        ports: BTreeMap::new(),
        last_exit: None,
        last_probe: None,
        failure: None,
        log_tail: Vec::new(),
    }
}

fn ended() -> InstanceStatus {
    InstanceStatus {
        phase: InstancePhase::Gone,
        ready: false,
        ready_since: None,
        ..healthy()
    }
}
