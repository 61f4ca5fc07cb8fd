//! Builders for the agent's tests, those in `tests/agent` too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::model::desired::DesiredGoal;
use crate::model::spec::{Check, Health, Limits, Probe, PullPolicy, RestartPolicy, Task, Workload};
use crate::model::{
    CommitId, DesiredInstance, DesiredSet, Epoch, Generation, InstanceId, ReleaseId, RunSpec,
};

pub const IMAGE: &str = "registry.invalid/web:1";

pub fn id(n: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(n))
}

/// A probe of port `http`: every second, three failures.
pub fn tcp_probe() -> Probe {
    Probe {
        check: Check::Tcp {
            port: "http".into(),
        },
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
        grace_period: Duration::ZERO,
    }
}

pub fn instance(n: u128) -> DesiredInstance {
    DesiredInstance {
        id: id(n),
        app: "shop/web".parse().unwrap(),
        slot: 0,
        release: ReleaseId(Uuid::from_u128(1000 + n)),
        commit: CommitId("0123456789abcdef0123456789abcdef01234567".into()),
        goal: DesiredGoal::Run,
        run: Arc::new(RunSpec {
            workload: Workload {
                task: Task::Image {
                    image: IMAGE.into(),
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
            image: Some(IMAGE.into()),
            pull_policy: PullPolicy::Missing,
            limits: Limits::default(),
            health: Health::default(),
            restart: RestartPolicy {
                backoff: Duration::from_secs(1),
                factor: 2.0,
                max: Duration::from_secs(60),
            },
            stop_grace_period: Duration::from_secs(7),
            labels: BTreeMap::new(),
        }),
    }
}

pub trait Tweak: Sized {
    /// With another run spec.
    fn with(self, change: impl FnOnce(&mut RunSpec)) -> Self;
    /// With the goal to end.
    fn stopping(self) -> Self;
}

impl Tweak for DesiredInstance {
    fn with(mut self, change: impl FnOnce(&mut RunSpec)) -> DesiredInstance {
        change(Arc::make_mut(&mut self.run));
        self
    }

    fn stopping(mut self) -> DesiredInstance {
        self.goal = DesiredGoal::Stop {
            reason: "replaced".into(),
        };
        self
    }
}

pub fn set(generation: i64, instances: impl IntoIterator<Item = DesiredInstance>) -> DesiredSet {
    DesiredSet {
        cluster: "test".into(),
        node: "n1".parse().unwrap(),
        epoch: Epoch(1),
        generation: Generation(generation),
        instances: instances.into_iter().map(|i| (i.id, i)).collect(),
        images: BTreeMap::new(),
    }
}
