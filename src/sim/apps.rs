//! What developers commit: specs, and images that behave in their own way.
//!
//! How an image behaves stands in its reference, so that nothing else needs to be remembered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::rng::Rng;
use crate::model::declaration::{Catalog, Declaration};
use crate::model::quantity::{CountOrPercent, Resources};
use crate::model::spec::*;
use crate::model::{AppKey, AppSpec, CommitId, Problem};

const MI: u64 = 1 << 20;

/// What the containers of an image do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    /// Exits a moment after each start.
    Crashes,
    /// Runs and never answers its probe.
    NeverReady,
    /// The registry does not know it.
    Missing,
    /// The runtime refuses to create it.
    Refused,
    /// Serves for a while and then no more.
    Sickens,
    /// Takes long to be pulled.
    Heavy,
    /// Ignores the signal to stop until it is killed.
    Stubborn,
}

impl Behaviour {
    const ALL: [(Behaviour, &'static str); 8] = [
        (Behaviour::Healthy, "healthy"),
        (Behaviour::Crashes, "crashes"),
        (Behaviour::NeverReady, "neverready"),
        (Behaviour::Missing, "missing"),
        (Behaviour::Refused, "refused"),
        (Behaviour::Sickens, "sickens"),
        (Behaviour::Heavy, "heavy"),
        (Behaviour::Stubborn, "stubborn"),
    ];

    fn word(self) -> &'static str {
        Behaviour::ALL
            .iter()
            .find(|(b, _)| *b == self)
            .map_or("healthy", |(_, word)| word)
    }

    /// Whether it serves for good once it runs.
    pub fn is_good(self) -> bool {
        match self {
            Behaviour::Healthy | Behaviour::Heavy | Behaviour::Stubborn => true,
            Behaviour::Crashes
            | Behaviour::NeverReady
            | Behaviour::Missing
            | Behaviour::Refused
            | Behaviour::Sickens => false,
        }
    }
}

/// An image as its reference tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    pub behaviour: Behaviour,
    /// Milliseconds of its own: from start to serving, or to its end.
    pub delay: u64,
}

/// Reads `web:7-healthy-800`, with or without a digest behind it.
pub fn image(reference: &str) -> Image {
    let mut parts = reference.split('@').next().unwrap_or("").split('-').rev();
    let delay = parts.next().and_then(|d| d.parse().ok()).unwrap_or(500);
    let word = parts.next().unwrap_or("healthy");
    let behaviour = Behaviour::ALL
        .iter()
        .find(|(_, w)| *w == word)
        .map_or(Behaviour::Healthy, |(b, _)| *b);
    Image { behaviour, delay }
}

fn new_image(name: &str, version: u64, rng: &mut Rng) -> String {
    let behaviour = match rng.below(20) {
        0 => Behaviour::Crashes,
        1 => Behaviour::NeverReady,
        2 => Behaviour::Missing,
        3 => Behaviour::Refused,
        4 => Behaviour::Sickens,
        5 => Behaviour::Heavy,
        6 => Behaviour::Stubborn,
        _ => Behaviour::Healthy,
    };
    let delay = match behaviour {
        Behaviour::Sickens => rng.between(2_000, 40_000),
        _ => rng.between(100, 4_000),
    };
    format!("{name}:{version}-{}-{delay}", behaviour.word())
}

/// One document in the repository.
#[derive(Clone, Debug, PartialEq)]
pub enum Doc {
    Valid(Arc<AppSpec>),
    /// The app's name can be read, its spec cannot.
    Invalid,
    /// Not even that.
    Unreadable,
}

/// App → its document. Every app has its own file.
pub type Tree = BTreeMap<AppKey, Doc>;

pub fn path(app: &AppKey) -> String {
    format!("{}.yaml", app.name)
}

pub fn catalog(tree: &Tree) -> Catalog {
    let mut catalog = Catalog {
        spec_files: tree.len(),
        ..Catalog::default()
    };
    let problem = |app: &AppKey| Problem {
        file: path(app),
        line: 1,
        column: 1,
        field: String::new(),
        text: String::new(),
        message: "broken".to_owned(),
        hint: None,
    };
    for (app, doc) in tree {
        match doc {
            Doc::Valid(spec) => {
                catalog.apps.insert(
                    app.clone(),
                    Declaration {
                        app: app.clone(),
                        path: path(app),
                        line: 1,
                        spec: Arc::clone(spec),
                        digest: spec.digest(),
                    },
                );
            }
            Doc::Invalid => {
                catalog.problems.push(problem(app));
                catalog
                    .invalid
                    .insert(app.clone(), (path(app), vec![problem(app)]));
            }
            Doc::Unreadable => {
                catalog.problems.push(problem(app));
                catalog.unreadable.insert(path(app));
            }
        }
    }
    catalog
}

pub fn commit_id(number: usize) -> CommitId {
    CommitId(format!("{number:08x}{:0<32}", ""))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A new app, of one of a few characters.
pub fn new_spec(app: &AppKey, index: usize, rng: &mut Rng) -> AppSpec {
    let probed = rng.chance(700);
    let readiness = probed.then(|| Probe {
        check: Check::Tcp {
            port: "http".to_owned(),
        },
        interval: seconds(rng.between(1, 3)),
        timeout: seconds(1),
        success_threshold: 1,
        failure_threshold: rng.between(1, 3) as u32,
        grace_period: Duration::ZERO,
    });
    let stateful = rng.chance(150);
    let fixed_port = !stateful && rng.chance(150);
    let mut volumes = Vec::new();
    if stateful {
        volumes.push(Volume::Named {
            name: "data".to_owned(),
            path: "/data".to_owned(),
            read_only: false,
        });
    }
    let name = app.name.as_str();
    AppSpec {
        labels: BTreeMap::new(),
        workload: Workload {
            task: Task::Image {
                // The first is mostly good, as what is in production is.
                image: if rng.chance(850) {
                    format!("{name}:1-healthy-{}", rng.between(100, 3000))
                } else {
                    new_image(name, 1, rng)
                },
                command: None,
                args: Vec::new(),
                working_dir: None,
            },
            env: BTreeMap::new(),
            files: BTreeMap::new(),
            volumes,
            ports: vec![Port {
                name: "http".to_owned(),
                port: 80,
                host_port: fixed_port.then_some(8000 + (index % 3) as u16),
                protocol: Protocol::Tcp,
            }],
            user: None,
            capabilities: Vec::new(),
        },
        image_pull_policy: PullPolicy::Missing,
        replicas: if stateful {
            rng.between(1, 2) as u32
        } else {
            rng.between(1, 6) as u32
        },
        requests: Resources {
            cpu_millis: rng.between(50, 600),
            memory_bytes: rng.between(32, 700) * MI,
        },
        limits: Limits::default(),
        health: Health {
            startup: None,
            readiness,
            liveness: None,
        },
        rollout: policy(stateful || fixed_port, rng),
        placement: Placement {
            strategy: *rng
                .pick(&[
                    PlacementStrategy::Spread,
                    PlacementStrategy::Binpack,
                    PlacementStrategy::Random,
                ])
                .unwrap_or(&PlacementStrategy::Spread),
            constraints: if rng.chance(150) {
                vec![Constraint::MaxPer {
                    attribute: "node".to_owned(),
                    max: rng.between(1, 2) as u32,
                }]
            } else {
                Vec::new()
            },
        },
        restart: RestartPolicy {
            backoff: seconds(1),
            factor: 2.0,
            max: seconds(20),
        },
        stop_grace_period: seconds(rng.between(1, 6)),
        on_node_loss: OnNodeLoss {
            action: if rng.chance(850) {
                NodeLossAction::Reschedule
            } else {
                NodeLossAction::Hold
            },
            after: seconds(rng.between(20, 60)),
        },
    }
}

fn policy(one_at_a_time: bool, rng: &mut Rng) -> RolloutPolicy {
    let unavailable = if one_at_a_time {
        1
    } else {
        rng.between(0, 2) as u32
    };
    let surge = rng.between(u64::from(unavailable == 0), 2) as u32;
    RolloutPolicy {
        strategy: if rng.chance(100) {
            Strategy::Recreate
        } else {
            Strategy::Rolling
        },
        max_surge: CountOrPercent::Count(surge),
        max_unavailable: CountOrPercent::Count(unavailable),
        min_healthy_time: seconds(rng.between(0, 8)),
        healthy_deadline: seconds(rng.between(30, 90)),
        start_attempts: rng.between(1, 3) as u32,
        progress_deadline: seconds(rng.between(90, 240)),
        bake_time: seconds(*rng.pick(&[0, 0, 5, 20]).unwrap_or(&0)),
        on_failure: if rng.chance(850) {
            OnFailure::Rollback
        } else {
            OnFailure::Pause
        },
    }
}

/// The same with an image that serves.
pub fn good_version(app: &AppKey, old: &AppSpec, version: u64, rng: &mut Rng) -> AppSpec {
    let mut spec = old.clone();
    if let Task::Image { image, .. } = &mut spec.workload.task {
        let delay = rng.between(100, 3_000);
        *image = format!("{}:{version}-healthy-{delay}", app.name);
    }
    spec
}

/// The same with an image that no runtime takes.
pub fn refused_version(app: &AppKey, old: &AppSpec, version: u64) -> AppSpec {
    let mut spec = old.clone();
    if let Task::Image { image, .. } = &mut spec.workload.task {
        *image = format!("{}:{version}-{}-0", app.name, Behaviour::Refused.word());
    }
    spec
}

/// A developer's next version of a spec.
pub fn next_spec(app: &AppKey, old: &AppSpec, version: u64, rng: &mut Rng) -> AppSpec {
    let mut spec = old.clone();
    match rng.below(12) {
        0 => spec.replicas = rng.between(0, 7) as u32,
        1 => {
            spec.workload.env.insert("V".into(), version.to_string());
        }
        2 => spec.rollout = policy(spec.rollout.max_unavailable.of_rounding_down(9) > 0, rng),
        3 => spec.requests.memory_bytes = rng.between(32, 900) * MI,
        4 => {
            spec.labels.insert("v".into(), version.to_string());
        }
        _ => {
            if let Task::Image { image, .. } = &mut spec.workload.task {
                *image = new_image(app.name.as_str(), version, rng);
            }
        }
    }
    spec
}
