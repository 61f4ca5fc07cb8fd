//! Values to store, each as full as its type allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::model::instance::{Failure, ProbeKind};
use evenkeel::model::quantity::{CountOrPercent, Resources};
use evenkeel::model::source::Credentials;
use evenkeel::model::spec::*;
use evenkeel::model::*;
use uuid::Uuid;

pub fn at(ms: i64) -> Timestamp {
    Timestamp(1_790_000_000_000 + ms)
}

pub fn app(n: usize) -> AppKey {
    format!("shop/app-{n}").parse().unwrap()
}

pub fn source_name(n: usize) -> SourceName {
    format!("source-{n}").parse().unwrap()
}

pub fn node_name(n: usize) -> NodeName {
    format!("node-{n}").parse().unwrap()
}

pub fn commit_id(n: usize) -> CommitId {
    CommitId(format!("{n:040x}"))
}

pub fn id(n: usize) -> Uuid {
    Uuid::from_u128(n as u128)
}

pub fn source(n: usize) -> Source {
    Source::new(
        SourceSpec {
            path: "apps".into(),
            interval: Duration::from_secs(30),
            credentials: Credentials {
                username: Some("bot".into()),
                token_file: Some("/run/secrets/token".into()),
                ..Credentials::default()
            },
            ..SourceSpec::new(
                source_name(n),
                "https://forge.example/team/apps.git",
                "shop".parse().unwrap(),
            )
        },
        None,
    )
}

pub fn spec(n: usize) -> Arc<AppSpec> {
    let probe = Probe {
        check: Check::Http {
            port: "http".into(),
            path: "/healthz".into(),
            status: vec![(200, 399)],
        },
        interval: Duration::from_millis(1500),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
        grace_period: Duration::ZERO,
    };
    Arc::new(AppSpec {
        labels: BTreeMap::from([("tier".into(), "front".into())]),
        workload: Workload {
            task: Task::Image {
                image: format!("registry.local/web:{n}"),
                command: Some(vec!["/bin/web".into()]),
                args: vec!["--quote=\"'".into()],
                working_dir: None,
            },
            env: BTreeMap::from([("GREETING".into(), "grüß dich, \\u0000 {}".into())]),
            files: BTreeMap::from([(
                "/etc/web.conf".into(),
                FileContent {
                    data: vec![0, 255, n as u8],
                },
            )]),
            volumes: vec![Volume::Named {
                name: "data".into(),
                path: "/var/lib/web".into(),
                read_only: false,
            }],
            ports: vec![Port {
                name: "http".into(),
                port: 8080,
                host_port: None,
                protocol: Protocol::Tcp,
            }],
            user: Some("1000:1000".into()),
            capabilities: vec!["NET_BIND_SERVICE".into()],
        },
        image_pull_policy: PullPolicy::Missing,
        replicas: 3,
        requests: Resources {
            cpu_millis: 250,
            memory_bytes: 128 << 20,
        },
        limits: Limits {
            cpu_millis: Some(1000),
            memory_bytes: None,
        },
        health: Health {
            readiness: Some(probe),
            ..Health::default()
        },
        rollout: RolloutPolicy {
            strategy: Strategy::Rolling,
            max_surge: CountOrPercent::Percent(25),
            max_unavailable: CountOrPercent::Count(0),
            min_healthy_time: Duration::from_secs(10),
            healthy_deadline: Duration::from_secs(300),
            start_attempts: 3,
            progress_deadline: Duration::from_secs(600),
            bake_time: Duration::ZERO,
            on_failure: OnFailure::Rollback,
        },
        placement: Placement {
            strategy: PlacementStrategy::Spread,
            constraints: vec![
                Constraint::Attribute {
                    attribute: "zone".into(),
                    operator: Operator::In,
                    values: vec!["a".into(), "b".into()],
                    value_type: ValueType::String,
                },
                Constraint::MaxPer {
                    attribute: "rack".into(),
                    max: 2,
                },
            ],
        },
        restart: RestartPolicy {
            backoff: Duration::from_secs(1),
            factor: 1.7,
            max: Duration::from_secs(60),
        },
        stop_grace_period: Duration::from_secs(10),
        on_node_loss: OnNodeLoss {
            action: NodeLossAction::Reschedule,
            after: Duration::from_secs(60),
        },
    })
}

pub fn declare(n: usize, from: usize, version: usize) -> Change {
    let spec = spec(version);
    Change::Declare {
        app: app(n),
        source: source_name(from),
        path: format!("apps/app-{n}.yaml"),
        declared: Declared {
            commit: commit_id(version),
            digest: spec.digest(),
            spec,
            at: at(version as i64),
        },
    }
}

/// Its id is `n`, of the app's `number`-th spec.
pub fn release(of: usize, n: usize, number: u64) -> Arc<Release> {
    let spec = spec(n);
    Arc::new(Release {
        id: ReleaseId(id(n)),
        app: app(of),
        number,
        commit: commit_id(n),
        spec_digest: spec.digest(),
        workload_digest: spec.workload_digest(),
        spec,
        created_at: at(n as i64),
        state: ReleaseState::New,
        pinned_image: None,
    })
}

pub fn rejection(release: &Release, verdict: Verdict) -> Rejection {
    Rejection {
        back_to: (verdict == Verdict::Operator).then(|| ReleaseId(id(8))),
        digest: release.spec_digest.clone(),
        commit: release.commit.clone(),
        release: release.id,
        rollout: Some(RolloutId(id(7))),
        at: at(5),
        verdict,
        reason: "exited 3 times with code 3".into(),
        evidence: Evidence {
            instance: Some(InstanceId(id(9))),
            slot: Some(1),
            node: Some(node_name(1)),
            exits: 3,
            last_exit: Some(Exit {
                code: Some(3),
                oom_killed: false,
                ran_for_ms: 120,
            }),
            last_probe: Some(ProbeAnswer {
                probe: ProbeKind::Readiness,
                passed: false,
                answer: "GET :8080/healthz: 503".into(),
            }),
            error: None,
            log_tail: vec!["panic: no database".into()],
        },
    }
}

pub fn rollout(of: usize, n: usize, to: ReleaseId, phase: RolloutPhase) -> Rollout {
    Rollout {
        id: RolloutId(id(n)),
        app: app(of),
        kind: match n % 3 {
            0 => RolloutKind::Forward,
            1 if n.is_multiple_of(2) => RolloutKind::Restart,
            1 => RolloutKind::Rollback { of: None },
            _ => RolloutKind::Rollback {
                of: Some(RolloutId(id(n - 1))),
            },
        },
        from: n.is_multiple_of(2).then(|| ReleaseId(id(n + 1000))),
        to,
        strategy: match n % 2 {
            0 => Strategy::Rolling,
            _ => Strategy::Recreate,
        },
        order: match n % 2 {
            0 => Order::StartFirst,
            _ => Order::StopFirst,
        },
        phase,
        started_at: at(10),
        progress_at: at(20),
        best_healthy: 2,
        baking_since: (phase == RolloutPhase::Baking).then(|| at(30)),
        finished_at: phase.is_terminal().then(|| at(40)),
        prepare: [node_name(0), node_name(1)].into(),
        reason: "commit 1f3c9a2b".into(),
        outcome: phase.is_terminal().then(|| "all healthy".into()),
        rejection: None,
    }
}

/// Holds a port and a volume that no other instance holds.
pub fn instance(n: usize, release: &Release, node: usize) -> Instance {
    Instance {
        id: InstanceId(id(n)),
        app: release.app.clone(),
        slot: n as u32,
        release: release.id,
        workload: release.workload_digest.clone(),
        incarnation: n as u64 % 3,
        node: node_name(node),
        created_at: at(n as i64),
        reason: "scale up".into(),
        requests: release.spec.requests,
        host_ports: vec![(n as u16, Protocol::Tcp)],
        volumes: vec![format!("data-{n}")],
        goal: Goal::Run,
        status: None,
    }
}

pub fn status(n: usize) -> InstanceStatus {
    InstanceStatus {
        phase: match n % 3 {
            0 => InstancePhase::Running,
            1 => InstancePhase::BackOff,
            _ => InstancePhase::Gone,
        },
        ready: n.is_multiple_of(3),
        ready_since: n.is_multiple_of(3).then(|| at(n as i64)),
        first_started_at: Some(at(1)),
        started_at: Some(at(2)),
        exits: n as u32,
        restarts: 1,
        container_id: Some("f00d".into()),
        ports: BTreeMap::from([("http".into(), "10.0.0.1:32768".into())]),
        last_exit: None,
        last_probe: None,
        failure: n.is_multiple_of(2).then(|| Failure {
            kind: FailureKind::PullFailed,
            message: "connection reset".into(),
        }),
        log_tail: vec!["line 1".into(), "zeile 2 \u{1f6a2}".into()],
    }
}

pub fn node(n: usize) -> Node {
    Node {
        name: node_name(n),
        scheduling_note: n.is_multiple_of(2).then(|| SchedulingNote {
            by: "zoe".into(),
            at: at(4),
            reason: None,
        }),
        facts: NodeFacts {
            address: "10.0.0.1".into(),
            capacity: Resources {
                cpu_millis: 8000,
                memory_bytes: 16 << 30,
            },
            attributes: BTreeMap::from([("zone".into(), "a".into())]),
            agent_version: "0.1.0".into(),
        },
        scheduling: Scheduling::Active,
        liveness: Liveness::Ready,
        last_heard: at(1),
        registered_at: at(0),
        images: BTreeMap::from([("registry.local/web:1".into(), ImageState::Pulling)]),
    }
}

pub fn event(n: usize, kind: EventKind) -> Event {
    Event::new(
        at(n as i64),
        Actor::Controller,
        kind,
        format!("event {n} because of commit {n}"),
    )
}
