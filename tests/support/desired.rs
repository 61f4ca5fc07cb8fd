//! Instances as a node is told to run them, of which a test says what it is about.
#![allow(
    clippy::unwrap_used,
    reason = "shared by test programs, which fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::model::desired::DesiredGoal;
use evenkeel::model::spec::{Health, Limits, PullPolicy, RestartPolicy, Task, Workload};
use evenkeel::model::{CommitId, DesiredInstance, InstanceId, ReleaseId, RunSpec};
use uuid::Uuid;

pub fn unique() -> Uuid {
    Uuid::from_u128((u128::from(fastrand::u64(..)) << 64) | u128::from(fastrand::u64(..)))
}

/// It runs, with nothing but its task, under ids of its own.
pub fn instance_of(task: Task, change: impl FnOnce(&mut RunSpec)) -> DesiredInstance {
    let image = match &task {
        Task::Image { image, .. } => Some(image.clone()),
        Task::Process { .. } => None,
    };
    let mut run = RunSpec {
        workload: Workload {
            task,
            env: BTreeMap::new(),
            files: BTreeMap::new(),
            volumes: Vec::new(),
            ports: Vec::new(),
            user: None,
            capabilities: Vec::new(),
        },
        image,
        pull_policy: PullPolicy::Missing,
        limits: Limits::default(),
        health: Health::default(),
        restart: RestartPolicy {
            backoff: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(60),
        },
        stop_grace_period: Duration::from_secs(5),
        labels: BTreeMap::new(),
    };
    change(&mut run);
    DesiredInstance {
        id: InstanceId(unique()),
        app: "shop/web".parse().unwrap(),
        slot: 0,
        release: ReleaseId(unique()),
        commit: CommitId("0123456789012345678901234567890123456789".into()),
        goal: DesiredGoal::Run,
        run: Arc::new(run),
    }
}
