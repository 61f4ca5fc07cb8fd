//! Builders, and a loop of plan → apply → nodes act → time passes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::telling::Told;
use crate::model::instance::{Exit, Failure, FailureKind};
use crate::model::node::{ImageState, NodeFacts, RUNTIME_DOCKER, RUNTIME_PROCESS};
use crate::model::quantity::{CountOrPercent, Resources};
use crate::model::spec::*;
use crate::model::*;
use crate::plan::statuses::next_statuses;
use crate::plan::{IdSource, Plan, PlanInput, Scope, Settings, Spoken, check, plan};

pub const MI: u64 = 1 << 20;

pub fn key(text: &str) -> AppKey {
    format!("shop/{text}").parse().unwrap()
}

pub fn commit(text: &str) -> CommitId {
    CommitId(format!("{text:0<40}"))
}

/// An app of one replica that is healthy as soon as it is ready.
pub fn spec(image: &str) -> AppSpec {
    AppSpec {
        labels: BTreeMap::new(),
        workload: Workload {
            task: Task::Image {
                image: image.to_owned(),
                command: None,
                args: Vec::new(),
                working_dir: None,
            },
            env: BTreeMap::new(),
            files: BTreeMap::new(),
            volumes: Vec::new(),
            ports: Vec::new(),
            user: None,
            capabilities: Vec::new(),
        },
        image_pull_policy: PullPolicy::Missing,
        replicas: 1,
        requests: Resources {
            cpu_millis: 100,
            memory_bytes: 64 * MI,
        },
        limits: Limits::default(),
        health: Health::default(),
        rollout: RolloutPolicy {
            strategy: Strategy::Rolling,
            max_surge: CountOrPercent::Count(1),
            max_unavailable: CountOrPercent::Count(0),
            min_healthy_time: Duration::ZERO,
            healthy_deadline: Duration::from_secs(300),
            start_attempts: 3,
            progress_deadline: Duration::from_secs(600),
            bake_time: Duration::ZERO,
            on_failure: OnFailure::Rollback,
        },
        placement: Placement {
            strategy: PlacementStrategy::Spread,
            constraints: Vec::new(),
        },
        restart: RestartPolicy {
            backoff: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(60),
        },
        stop_grace_period: Duration::from_secs(10),
        on_node_loss: OnNodeLoss {
            action: NodeLossAction::Reschedule,
            after: Duration::from_secs(60),
        },
    }
}

pub trait SpecExt {
    fn with(self, change: impl FnOnce(&mut AppSpec)) -> AppSpec;
    fn replicas(self, n: u32) -> AppSpec;
    fn surge(self, surge: u32, unavailable: u32) -> AppSpec;
    fn host_port(self, port: u16) -> AppSpec;
    fn volume(self, name: &str) -> AppSpec;
    fn constraint(self, constraint: Constraint) -> AppSpec;
}

impl SpecExt for AppSpec {
    fn with(mut self, change: impl FnOnce(&mut AppSpec)) -> AppSpec {
        change(&mut self);
        self
    }
    fn replicas(self, n: u32) -> AppSpec {
        self.with(|s| s.replicas = n)
    }
    fn surge(self, surge: u32, unavailable: u32) -> AppSpec {
        self.with(|s| {
            s.rollout.max_surge = CountOrPercent::Count(surge);
            s.rollout.max_unavailable = CountOrPercent::Count(unavailable);
        })
    }
    fn host_port(self, port: u16) -> AppSpec {
        self.with(|s| {
            s.workload.ports.push(Port {
                name: "http".to_owned(),
                port: 80,
                host_port: Some(port),
                protocol: Protocol::Tcp,
            })
        })
    }
    fn volume(self, name: &str) -> AppSpec {
        self.with(|s| {
            s.workload.volumes.push(Volume::Named {
                name: name.to_owned(),
                path: "/data".to_owned(),
                read_only: false,
            })
        })
    }
    fn constraint(self, constraint: Constraint) -> AppSpec {
        self.with(|s| s.placement.constraints.push(constraint))
    }
}

/// What the instances of an image do on their nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    CrashLoop,
    NeverReady,
    ImageMissing,
    /// Ready, and gone bad when the world says so.
    Sick,
}

pub struct World {
    pub snapshot: Snapshot,
    pub now: Timestamp,
    /// When the present leadership began to watch.
    pub since: Timestamp,
    /// Nodes stored as silent that have spoken.
    pub heard: Spoken,
    pub settings: Settings,
    pub ids: IdSource,
    pub behaviour: BTreeMap<String, Behaviour>,
    /// Fewest ready and most existing instances of each app since `watch`.
    pub low: BTreeMap<AppKey, usize>,
    pub high: BTreeMap<AppKey, usize>,
    pub log: Vec<Event>,
    pub outbox: Vec<OutboxEntry>,
    pub told: Told,
    pub last: Plan,
    /// Every planning run that changed something, for whoever asked by `Some`.
    pub trail: Option<Vec<Moment>>,
}

/// A planning run from outside: the cluster before and after it.
pub struct Moment {
    pub now: Timestamp,
    pub before: Snapshot,
    pub changes: Vec<Change>,
    pub after: Snapshot,
}

impl World {
    pub fn new(nodes: &[&str]) -> World {
        let mut world = World {
            snapshot: Snapshot::default(),
            now: Timestamp(1_700_000_000_000),
            since: Timestamp(0),
            heard: Spoken::new(),
            settings: Settings::default(),
            ids: IdSource::new(1),
            behaviour: BTreeMap::new(),
            low: BTreeMap::new(),
            high: BTreeMap::new(),
            log: Vec::new(),
            outbox: Vec::new(),
            told: Told::default(),
            last: Plan::default(),
            trail: None,
        };
        for node in nodes {
            world.add_node(node, 4000, 4096, &[]);
        }
        world
    }

    pub fn add_node(&mut self, name: &str, cpu: u64, mib: u64, attributes: &[(&str, &str)]) {
        let mut all: BTreeMap<String, String> = attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        all.insert(RUNTIME_DOCKER.to_owned(), "true".to_owned());
        all.insert(RUNTIME_PROCESS.to_owned(), "true".to_owned());
        let node = Node {
            name: name.parse().unwrap(),
            facts: NodeFacts {
                address: name.to_owned(),
                capacity: Resources {
                    cpu_millis: cpu,
                    memory_bytes: mib * MI,
                },
                attributes: all,
                agent_version: String::new(),
            },
            scheduling_note: None,
            scheduling: Scheduling::Active,
            liveness: Liveness::Ready,
            last_heard: self.now,
            registered_at: self.now,
            images: BTreeMap::new(),
        };
        self.apply(&[Change::PutNode(Box::new(node))]);
    }

    pub fn apply(&mut self, changes: &[Change]) {
        self.outbox
            .extend(next_statuses("test", &self.snapshot, changes));
        self.told.wake(&self.snapshot, changes);
        self.snapshot.apply_all(changes).unwrap();
        self.told.tell(&self.snapshot);
        self.snapshot.generation = self.snapshot.generation.next();
    }

    pub fn declare(&mut self, app: &str, at: &str, spec: AppSpec) {
        let spec = Arc::new(spec);
        self.apply(&[Change::Declare {
            app: key(app),
            source: "main".parse().unwrap(),
            path: format!("{app}.yaml"),
            declared: Declared {
                commit: commit(at),
                digest: spec.digest(),
                spec,
                at: self.now,
            },
        }]);
    }

    pub fn behave(&mut self, image: &str, behaviour: Behaviour) {
        self.behaviour.insert(image.to_owned(), behaviour);
    }

    pub fn app(&self, name: &str) -> &App {
        &self.snapshot.apps[&key(name)]
    }

    /// One planning run over everything, checked and applied.
    pub fn plan(&mut self) -> Plan {
        let input = PlanInput {
            now: self.now,
            since: self.since,
            heard: &self.heard,
            snapshot: &self.snapshot,
            scope: Scope::All,
            settings: &self.settings,
        };
        let plan = plan(&input, &mut self.ids);
        let violations = check(&self.snapshot, &plan);
        assert!(violations.is_empty(), "{violations:?}\n{plan:#?}");
        let changes = plan.changes.clone();
        let before = self.trail.is_some().then(|| self.snapshot.clone());
        self.apply(&changes);
        if let (Some(trail), Some(before), false) = (&mut self.trail, before, changes.is_empty()) {
            trail.push(Moment {
                now: self.now,
                before,
                changes: changes.clone(),
                after: self.snapshot.clone(),
            });
        }
        self.log.extend(plan.events.iter().cloned());
        self.last = plan.clone();
        self.measure();
        plan
    }

    fn measure(&mut self) {
        for (key, app) in &self.snapshot.apps {
            let ready = app
                .instances
                .values()
                .filter(|i| i.is_ready() && i.wants_run())
                .count();
            let total = app.instances.values().filter(|i| !i.is_over()).count();
            let low = self.low.entry(key.clone()).or_insert(ready);
            *low = (*low).min(ready);
            let high = self.high.entry(key.clone()).or_insert(total);
            *high = (*high).max(total);
        }
    }

    pub fn watch(&mut self) {
        self.low.clear();
        self.high.clear();
        self.log.clear();
        self.measure();
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// Every node that can be heard moves each of its instances one step.
    pub fn nodes_act(&mut self) {
        let mut changes = Vec::new();
        for app in self.snapshot.apps.values() {
            for instance in app.instances.values() {
                let node = &self.snapshot.nodes[&instance.node];
                if node.liveness != Liveness::Ready {
                    continue;
                }
                if let Some(status) = self.next_status(app, instance) {
                    changes.push(Change::Observe {
                        app: app.key.clone(),
                        instance: instance.id,
                        status: Box::new(status),
                    });
                }
            }
        }
        for (name, node) in &self.snapshot.nodes {
            let wanted: BTreeSet<String> = self
                .snapshot
                .preparing_on(name)
                .filter_map(|k| {
                    let app = &self.snapshot.apps[k];
                    let to = app.active_rollout()?.to;
                    app.releases[&to].image().map(str::to_owned)
                })
                .collect();
            for image in wanted {
                let missing = self.behaviour.get(&image) == Some(&Behaviour::ImageMissing);
                let state = if missing {
                    ImageState::Failed {
                        failure: missing_image(),
                    }
                } else {
                    ImageState::Present { digest: None }
                };
                if node.images.get(&image) != Some(&state) {
                    changes.push(Change::SetImage {
                        node: name.clone(),
                        image,
                        state: Some(state),
                    });
                }
            }
        }
        self.apply(&changes);
        self.measure();
    }

    fn next_status(&self, app: &App, instance: &Instance) -> Option<InstanceStatus> {
        let image = app.releases[&instance.release].image().unwrap_or("process");
        let behaviour = self
            .behaviour
            .get(image)
            .copied()
            .unwrap_or(Behaviour::Healthy);
        let now = self.now;
        let mut next = instance.status.clone().unwrap_or(InstanceStatus {
            phase: InstancePhase::Pending,
            ready: false,
            ready_since: None,
            first_started_at: None,
            started_at: None,
            exits: 0,
            restarts: 0,
            container_id: None,
            ports: BTreeMap::new(),
            last_exit: None,
            last_probe: None,
            failure: None,
            log_tail: Vec::new(),
        });
        if !instance.wants_run() {
            next.phase = match next.phase {
                InstancePhase::Stopping => InstancePhase::Stopped,
                InstancePhase::Stopped | InstancePhase::Gone => InstancePhase::Gone,
                _ => InstancePhase::Stopping,
            };
            next.ready = false;
            next.ready_since = None;
        } else {
            let start = |next: &mut InstanceStatus| {
                next.phase = InstancePhase::Running;
                next.started_at = Some(next.started_at.unwrap_or(now));
                next.first_started_at = Some(next.first_started_at.unwrap_or(now));
            };
            match behaviour {
                Behaviour::Healthy => {
                    start(&mut next);
                    next.ready_since = next.ready_since.filter(|_| next.ready).or(Some(now));
                    next.ready = true;
                }
                Behaviour::NeverReady => start(&mut next),
                Behaviour::Sick => {
                    start(&mut next);
                    next.ready = false;
                }
                Behaviour::CrashLoop => {
                    start(&mut next);
                    next.phase = InstancePhase::BackOff;
                    next.exits += 1;
                    next.last_exit = Some(Exit {
                        code: Some(1),
                        oom_killed: false,
                        ran_for_ms: 300,
                    });
                    next.log_tail = vec!["cannot open database".to_owned()];
                }
                Behaviour::ImageMissing => {
                    next.phase = InstancePhase::Preparing;
                    next.failure = Some(missing_image());
                }
            }
        }
        (instance.status.as_ref() != Some(&next)).then_some(next)
    }

    /// Plans and lets the nodes act, a second a round, until nothing changes any more.
    pub fn settle(&mut self) {
        for _ in 0..2000 {
            let generation = self.snapshot.generation;
            let plan = self.plan();
            let before = self.snapshot.clone();
            self.nodes_act();
            let quiet = plan.changes.is_empty()
                && before.apps == self.snapshot.apps
                && before.nodes == self.snapshot.nodes;
            if quiet && plan.wake_at.is_empty() {
                let _ = generation;
                return;
            }
            self.wait(1);
        }
        panic!("never settles: {:#?}", self.last.report);
    }

    pub fn rounds(&mut self, n: usize) {
        for _ in 0..n {
            self.plan();
            self.nodes_act();
            self.wait(1);
        }
    }

    /// `web:2 x3` …: images of wanted, ready instances with their number.
    pub fn serving(&self, app: &str) -> String {
        let app = self.app(app);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for i in app
            .instances
            .values()
            .filter(|i| i.is_ready() && i.wants_run())
        {
            *counts
                .entry(app.releases[&i.release].image().unwrap_or("process"))
                .or_default() += 1;
        }
        let parts: Vec<String> = counts.iter().map(|(i, n)| format!("{i} x{n}")).collect();
        parts.join(", ")
    }

    pub fn told(&self, kind: EventKind) -> Vec<&str> {
        self.log
            .iter()
            .filter(|e| e.kind == kind)
            .map(|e| e.message.as_str())
            .collect()
    }
}

pub fn missing_image() -> Failure {
    Failure {
        kind: FailureKind::ImageNotFound,
        message: "manifest unknown".to_owned(),
    }
}
