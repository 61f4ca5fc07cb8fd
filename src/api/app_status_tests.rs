//! The status document of hand-made states: one case per word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::app::{AppStatus, ObservedWord, RolloutKindWord};
use super::app_status::app_status;
use crate::model::instance::{Exit, InstanceStatus};
use crate::model::node::NodeFacts;
use crate::model::quantity::{CountOrPercent, Resources};
use crate::model::release::{Evidence, Rejection, ReleaseState, Verdict};
use crate::model::rollout::{Order, Rollout, RolloutKind};
use crate::model::source::{Held, SourceSpec};
use crate::model::spec::*;
use crate::model::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn key() -> AppKey {
    "shop/web".parse().unwrap()
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn commit(letter: char) -> CommitId {
    CommitId(letter.to_string().repeat(40))
}

/// A spec whose image is named after its commit.
fn spec(letter: char, replicas: u32) -> AppSpec {
    AppSpec {
        labels: BTreeMap::new(),
        workload: Workload {
            task: Task::Image {
                image: format!("web:{letter}"),
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
        replicas,
        requests: Resources::default(),
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

/// A cluster of one node and one app, built by the changes that would build it.
pub(crate) struct World(pub(crate) Snapshot, pub(crate) Vec<Change>);

impl World {
    fn new() -> World {
        let mut world = World(Snapshot::default(), Vec::new());
        world.change(Change::PutSource(Box::new(source())));
        world.node(Liveness::Ready);
        world
    }

    fn change(&mut self, change: Change) -> &mut World {
        self.0.apply(&change).unwrap();
        self.1.push(change);
        self
    }

    fn node(&mut self, liveness: Liveness) -> &mut World {
        self.change(Change::PutNode(Box::new(Node {
            scheduling_note: None,
            name: "n1".parse().unwrap(),
            facts: NodeFacts::default(),
            scheduling: Scheduling::Active,
            liveness,
            last_heard: NOW,
            registered_at: NOW,
            images: BTreeMap::new(),
        })))
    }

    fn declare(&mut self, letter: char, replicas: u32) -> &mut World {
        let spec = spec(letter, replicas);
        self.change(Change::Declare {
            app: key(),
            source: "shop".parse().unwrap(),
            path: "apps/web.yaml".to_owned(),
            declared: Declared {
                commit: commit(letter),
                digest: spec.digest(),
                spec: Arc::new(spec),
                at: NOW,
            },
        })
    }

    /// Release number `n`, of commit `letter`, becomes the target.
    fn target(&mut self, n: u64, letter: char, replicas: u32, state: ReleaseState) -> &mut World {
        let spec = spec(letter, replicas);
        let id = ReleaseId(uuid(n.into()));
        self.change(Change::AddRelease(Arc::new(Release {
            id,
            app: key(),
            number: n,
            commit: commit(letter),
            spec_digest: spec.digest(),
            workload_digest: spec.workload_digest(),
            spec: Arc::new(spec),
            created_at: NOW,
            state,
            pinned_image: None,
        })));
        self.retarget(n)
    }

    fn retarget(&mut self, n: u64) -> &mut World {
        self.change(Change::SetTarget {
            app: key(),
            release: ReleaseId(uuid(n.into())),
        })
    }

    fn instance(&mut self, id: u128, slot: u32, letter: char, n: u64, ready: bool) -> &mut World {
        self.change(Change::AddInstance(Box::new(Instance {
            id: InstanceId(uuid(id)),
            app: key(),
            slot,
            release: ReleaseId(uuid(n.into())),
            workload: spec(letter, 1).workload_digest(),
            incarnation: 0,
            node: "n1".parse().unwrap(),
            created_at: NOW,
            reason: "first deployment".to_owned(),
            requests: Resources::default(),
            host_ports: Vec::new(),
            volumes: Vec::new(),
            goal: Goal::Run,
            status: None,
        })));
        self.change(Change::Observe {
            app: key(),
            instance: InstanceId(uuid(id)),
            status: Box::new(InstanceStatus {
                phase: InstancePhase::Running,
                ready,
                ready_since: ready.then_some(NOW),
                first_started_at: Some(NOW),
                started_at: Some(NOW),
                exits: 0,
                restarts: 0,
                container_id: Some("c0ffee".to_owned()),
                ports: BTreeMap::from([("http".to_owned(), "127.0.0.1:32768".to_owned())]),
                last_exit: None,
                last_probe: None,
                failure: None,
                log_tail: vec!["hello".to_owned()],
            }),
        })
    }

    fn rollout(
        &mut self,
        kind: RolloutKind,
        from: Option<u64>,
        to: u64,
        phase: RolloutPhase,
    ) -> &mut World {
        self.change(Change::PutRollout(Box::new(Rollout {
            id: RolloutId(uuid(100)),
            app: key(),
            kind,
            from: from.map(|n| ReleaseId(uuid(n.into()))),
            to: ReleaseId(uuid(to.into())),
            strategy: Strategy::Rolling,
            order: Order::StartFirst,
            phase,
            started_at: NOW,
            progress_at: NOW,
            best_healthy: 0,
            baking_since: None,
            finished_at: phase.is_terminal().then_some(NOW),
            prepare: BTreeSet::new(),
            reason: "image changed".to_owned(),
            outcome: None,
            rejection: None,
        })))
    }

    fn reject(&mut self, letter: char, replicas: u32, n: u64) -> &mut World {
        self.change(Change::Quarantine {
            app: key(),
            rejection: Box::new(Rejection {
                back_to: None,
                digest: spec(letter, replicas).digest(),
                commit: commit(letter),
                release: ReleaseId(uuid(n.into())),
                rollout: Some(RolloutId(uuid(100))),
                at: NOW,
                verdict: Verdict::CrashLoop,
                reason: "it exited 3 times before it was ready".to_owned(),
                evidence: Evidence {
                    instance: Some(InstanceId(uuid(9))),
                    slot: Some(0),
                    node: "n1".parse().ok(),
                    exits: 3,
                    last_exit: Some(Exit {
                        code: Some(3),
                        oom_killed: false,
                        ran_for_ms: 12,
                    }),
                    last_probe: None,
                    error: None,
                    log_tail: vec!["boom".to_owned()],
                },
            }),
        })
    }

    /// The document, and that its states are these.
    fn check(&self, sync: SyncState, health: HealthState) -> AppStatus {
        let status = app_status(&self.0, &self.0.apps[&key()]);
        assert_eq!((status.sync, status.health), (sync, health), "{status:#?}");
        status
    }
}

fn source() -> Source {
    Source::new(
        SourceSpec::new(
            "shop".parse().unwrap(),
            "https://forge.example/shop.git",
            "shop".parse().unwrap(),
        ),
        None,
    )
}

const STABLE: ReleaseState = ReleaseState::Stable { at: NOW };

/// Two healthy instances of commit `a`, nothing to do.
pub(crate) fn settled() -> World {
    let mut world = World::new();
    world
        .declare('a', 2)
        .target(1, 'a', 2, STABLE)
        .instance(1, 0, 'a', 1, true)
        .instance(2, 1, 'a', 1, true)
        .rollout(RolloutKind::Forward, None, 1, RolloutPhase::Succeeded);
    world
}

#[test]
fn a_settled_app_is_synced_and_healthy_and_has_nothing_to_say() {
    let status = settled().check(SyncState::Synced, HealthState::Healthy);
    assert_eq!(status.messages, Vec::<String>::new());
    assert_eq!(status.running, status.git);
    assert!(status.rollout.is_none());
    assert_eq!(
        (
            status.replicas.desired,
            status.replicas.ready,
            status.replicas.total
        ),
        (2, 2, 2)
    );
    let last = status.last_rollout.unwrap();
    assert_eq!(last.step, "succeeded");
    assert!(status.instances[0].log_tail.is_empty(), "it did not fail");
}

#[test]
fn the_document_has_the_names_that_others_build_on() {
    let mut world = settled();
    world
        .declare('b', 2)
        .target(2, 'b', 2, ReleaseState::New)
        .rollout(RolloutKind::Forward, Some(1), 2, RolloutPhase::Progressing)
        .reject('b', 2, 2);
    let document = serde_json::to_value(app_status(&world.0, &world.0.apps[&key()])).unwrap();
    let has = |at: &str, names: &[&str]| {
        let part = document.pointer(at).unwrap_or_else(|| panic!("no {at}"));
        for name in names {
            assert!(part.get(name).is_some(), "{at} lacks {name}: {part:#}");
        }
    };
    has(
        "",
        &[
            "project",
            "name",
            "version",
            "sync",
            "health",
            "git",
            "running",
            "rejected",
            "replicas",
            "rollout",
            "instances",
        ],
    );
    has("/git", &["commit", "digest"]);
    has("/running", &["commit", "digest"]);
    has(
        "/rejected",
        &["commit", "digest", "at", "reason", "evidence"],
    );
    has("/replicas", &["desired", "ready", "total"]);
    has(
        "/rollout",
        &[
            "id",
            "kind",
            "strategy",
            "phase",
            "step",
            "from",
            "to",
            "startedAt",
            "reason",
        ],
    );
    has(
        "/instances/0",
        &[
            "id",
            "slot",
            "node",
            "commit",
            "phase",
            "ready",
            "ports",
            "containerId",
        ],
    );
    assert_eq!(document["rejected"]["evidence"]["lastExit"]["code"], 3);
    assert_eq!(document["instances"][0]["ports"]["http"], "127.0.0.1:32768");
    let back: AppStatus = serde_json::from_value(document).unwrap();
    assert_eq!(back.name.as_str(), "web");
}

#[test]
fn a_declared_app_that_was_not_planned_yet_is_out_of_sync() {
    let mut world = World::new();
    world.declare('a', 2);
    let status = world.check(SyncState::OutOfSync, HealthState::Progressing);
    assert_eq!(status.running, None);
    assert_eq!(status.replicas.desired, 2);
}

#[test]
fn during_a_rollout_the_old_release_runs_as_long_as_it_is_kept() {
    let mut world = settled();
    world
        .declare('b', 2)
        .target(2, 'b', 2, ReleaseState::New)
        .rollout(RolloutKind::Forward, Some(1), 2, RolloutPhase::Progressing)
        .instance(3, 0, 'b', 2, false);
    let status = world.check(SyncState::OutOfSync, HealthState::Progressing);
    assert_eq!(status.running.unwrap().commit, commit('a'));
    assert_eq!(status.git.unwrap().commit, commit('b'));
    let rollout = status.rollout.unwrap();
    assert_eq!(rollout.step, "1 of 2 instances updated, 0 ready");
    assert_eq!(rollout.from.unwrap().commit, commit('a'));
    assert_eq!(rollout.to.unwrap().commit, commit('b'));
    assert_eq!((status.replicas.total, status.replicas.updated), (3, 1));

    for old in [1, 2] {
        world.change(Change::SetGoal {
            app: key(),
            instance: InstanceId(uuid(old)),
            goal: Goal::Stop {
                at: NOW,
                reason: "replaced".to_owned(),
            },
        });
    }
    let status = world.check(SyncState::OutOfSync, HealthState::Progressing);
    assert_eq!(status.running.unwrap().commit, commit('b'));
    assert_eq!(
        status.replicas.ready, 0,
        "what is to be stopped does not count"
    );
    assert!(status.instances[0].stopping);
}

#[test]
fn a_change_in_place_runs_at_once() {
    let mut world = settled();
    world
        .declare('a', 3)
        .target(2, 'a', 3, ReleaseState::New)
        .rollout(RolloutKind::Forward, Some(1), 2, RolloutPhase::Progressing);
    let status = world.check(SyncState::OutOfSync, HealthState::Progressing);
    assert_eq!(status.running, status.git);
    assert_eq!(status.replicas.updated, 2);
}

#[test]
fn a_rollback_shows_the_release_it_returns_to_and_why() {
    let mut world = settled();
    world
        .declare('b', 2)
        .target(2, 'b', 2, ReleaseState::New)
        .reject('b', 2, 2)
        .retarget(1)
        .rollout(
            RolloutKind::Rollback { of: None },
            Some(2),
            1,
            RolloutPhase::Progressing,
        );
    let status = world.check(SyncState::Quarantined, HealthState::Progressing);
    assert_eq!(status.running.as_ref().unwrap().commit, commit('a'));
    assert_eq!(status.git.as_ref().unwrap().commit, commit('b'));
    assert_eq!(
        status.rollout.as_ref().unwrap().kind,
        RolloutKindWord::Rollback
    );
    assert_eq!(
        status.messages[0],
        "running aaaaaaaa, Git at bbbbbbbb, bbbbbbbb was rejected: it exited 3 times before it was ready"
    );
}

#[test]
fn after_a_rollback_the_bad_commit_stays_quarantined() {
    let mut world = settled();
    world
        .declare('b', 2)
        .target(2, 'b', 2, ReleaseState::Rejected { at: NOW })
        .reject('b', 2, 2)
        .retarget(1)
        .rollout(
            RolloutKind::Rollback { of: None },
            Some(2),
            1,
            RolloutPhase::Succeeded,
        );
    let status = world.check(SyncState::Quarantined, HealthState::Healthy);
    let rejected = status.rejected.unwrap();
    assert_eq!(rejected.verdict, Verdict::CrashLoop);
    assert_eq!(rejected.evidence.log_tail, ["boom"]);
    assert_eq!(status.last_rollout.unwrap().kind, RolloutKindWord::Rollback);

    // The fix, or a revert to what runs, is no longer rejected.
    world.declare('a', 2);
    let status = world.check(SyncState::Synced, HealthState::Healthy);
    assert!(status.rejected.is_none());
}

#[test]
fn a_first_deployment_that_failed_says_so() {
    let mut world = World::new();
    world
        .declare('a', 2)
        .target(1, 'a', 2, ReleaseState::Rejected { at: NOW })
        .instance(1, 0, 'a', 1, false)
        .reject('a', 2, 1)
        .rollout(RolloutKind::Forward, None, 1, RolloutPhase::Failed);
    let status = world.check(SyncState::Quarantined, HealthState::Failed);
    assert_eq!(
        status.messages[0],
        "aaaaaaaa was rejected: it exited 3 times before it was ready"
    );
    assert_eq!(status.running.unwrap().commit, commit('a'));
}

#[test]
fn a_paused_rollout_is_degraded() {
    let mut world = settled();
    world
        .declare('b', 2)
        .target(2, 'b', 2, ReleaseState::New)
        .rollout(RolloutKind::Forward, Some(1), 2, RolloutPhase::Paused);
    let status = world.check(SyncState::OutOfSync, HealthState::Degraded);
    assert!(
        status.messages[0].starts_with("rollout paused to bbbbbbbb"),
        "{:?}",
        status.messages
    );
}

#[test]
fn an_invalid_spec_keeps_what_runs_and_names_the_place() {
    let mut world = settled();
    world.change(Change::SetInvalid {
        app: key(),
        invalid: Some(Invalid {
            commit: commit('c'),
            problems: vec![Problem {
                file: "apps/web.yaml".to_owned(),
                line: 9,
                column: 3,
                field: "spec.replica".to_owned(),
                text: "replica".to_owned(),
                message: "unknown key \"replica\"".to_owned(),
                hint: Some("did you mean \"replicas\"?".to_owned()),
            }],
        }),
    });
    let status = world.check(SyncState::Invalid, HealthState::Healthy);
    assert_eq!(status.running.unwrap().commit, commit('a'));
    let git = status.git.unwrap();
    assert_eq!((git.commit, git.digest), (commit('c'), None));
    assert_eq!(status.problems.len(), 1);
    assert_eq!(
        status.messages[0],
        "its spec at cccccccc is invalid: apps/web.yaml:9:3: unknown key \"replica\" (did you mean \"replicas\"?)"
    );
}

#[test]
fn a_suspended_app_that_lags_behind_git_is_suspended() {
    let mut world = settled();
    world.change(Change::SetSuspension {
        app: key(),
        suspension: Some(Suspension {
            until: None,
            by: "admin".to_owned(),
            at: NOW,
            reason: Some("freeze".to_owned()),
        }),
    });
    let status = world.check(SyncState::Synced, HealthState::Healthy);
    assert!(status.messages[0].starts_with("suspended by admin: freeze"));
    world.declare('b', 2);
    world.check(SyncState::Suspended, HealthState::Healthy);
}

#[test]
fn a_held_deletion_is_told_with_its_reason() {
    let mut world = settled();
    let mut held = source();
    held.held = Some(Held {
        commit: commit('d'),
        since: NOW,
        deletions: BTreeMap::from([(key(), "apps/web.yaml".to_owned())]),
        reason: "it would delete 4 of 5 apps".to_owned(),
    });
    world.change(Change::PutSource(Box::new(held)));
    let status = world.check(SyncState::Held, HealthState::Healthy);
    assert!(status.held);
    assert!(
        status.messages[0].contains("4 of 5"),
        "{:?}",
        status.messages
    );
}

#[test]
fn an_app_that_is_taken_down_wants_no_replicas() {
    let mut world = settled();
    world.change(Change::Undeclare { app: key() });
    let status = app_status(&world.0, &world.0.apps[&key()]);
    assert_eq!(status.sync, SyncState::OutOfSync);
    assert_eq!(status.git, None);
    assert_eq!(status.replicas.desired, 0);
    assert!(status.messages[0].contains("being taken down"));
}

#[test]
fn what_a_silent_node_holds_is_unknown() {
    let mut world = settled();
    world.node(Liveness::Suspect);
    let status = world.check(SyncState::Synced, HealthState::Unknown);
    assert_eq!((status.replicas.ready, status.replicas.unknown), (0, 2));
    assert!(
        status
            .instances
            .iter()
            .all(|i| i.observed == ObservedWord::Unknown && !i.ready)
    );
    assert_eq!(
        status.messages,
        ["2 of its instances are on nodes that are silent"]
    );
}

#[test]
fn an_instance_that_lost_its_readiness_degrades_the_app() {
    let mut world = World::new();
    world
        .declare('a', 2)
        .target(1, 'a', 2, STABLE)
        .instance(1, 0, 'a', 1, true)
        .instance(2, 1, 'a', 1, false)
        .rollout(RolloutKind::Forward, None, 1, RolloutPhase::Succeeded);
    let status = world.check(SyncState::Synced, HealthState::Degraded);
    assert_eq!(status.messages, ["1 of 2 instances are ready"]);
}

#[test]
fn why_always_has_an_answer() {
    use super::verb::{Funnel, Waiting, why};
    let status = settled().check(SyncState::Synced, HealthState::Healthy);
    let answer = why(&status, Vec::new(), None);
    assert_eq!(
        answer.reasons,
        ["it is synced and healthy: there is nothing to do"]
    );
    let answer = why(
        &status,
        vec![Waiting {
            what: "1 instance(s) to stop".to_owned(),
            until: Some(NOW),
        }],
        Some(Funnel {
            considered: 2,
            excluded: BTreeMap::from([("memory".to_owned(), 2)]),
        }),
    );
    assert_eq!(
        answer.reasons,
        [
            "waits for: 1 instance(s) to stop (until 2023-11-14T22:13:20.000Z)",
            "2 nodes considered: 2 excluded by memory"
        ]
    );
    let room = Waiting {
        what: "a node for slot 1: none of 2 node(s) can take it: 2: memory".to_owned(),
        until: None,
    };
    let funnel = Funnel {
        considered: 2,
        excluded: BTreeMap::from([("memory".to_owned(), 2)]),
    };
    let answer = why(&status, vec![room.clone(), room.clone()], Some(funnel));
    assert_eq!(answer.reasons, [format!("waits for: {}", room.what)]);
}
