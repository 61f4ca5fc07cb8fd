//! Lists of changes: those that fit what is there, and those that do not.

use evenkeel::model::*;

use super::super::builders::*;
use super::{Case, Lasts, Told, acquire, commit, first_sync, put_source};

fn release_id(n: usize) -> ReleaseId {
    ReleaseId(id(n))
}

fn instance_id(n: usize) -> InstanceId {
    InstanceId(id(n))
}

/// After [`first_sync`], each list by itself: the good ones one after the other, the bad ones
/// with nothing written.
fn tried(name: &'static str, lists: Vec<(Vec<Change>, bool)>) -> Case {
    let mut steps = vec![
        (acquire("a", Lasts::Long), Told::Leads(1)),
        (commit(1, 0, first_sync()), Told::Written(1)),
    ];
    let mut generation = 1;
    for (changes, fits) in lists {
        let told = if fits {
            Told::Written(generation + 1)
        } else {
            Told::DoesNotFit
        };
        steps.push((commit(1, generation, changes), told));
        generation += i64::from(fits);
    }
    Case { name, steps }
}

pub fn lists() -> Vec<Case> {
    let remove = || Change::RemoveApp { app: app(0) };
    let undeclare = || Change::Undeclare { app: app(0) };
    let forget_release = |n| Change::ForgetRelease {
        app: app(0),
        release: release_id(n),
    };
    let forget_instance = |n| Change::ForgetInstance {
        app: app(0),
        instance: instance_id(n),
    };
    let target = |n| Change::SetTarget {
        app: app(0),
        release: release_id(n),
    };
    let remove_source = || Change::RemoveSource(source_name(0));
    let all_of = |one: fn() -> Vec<Change>| one().into_iter().map(|c| (vec![c], false)).collect();
    vec![
        tried(
            "an app goes with all that belongs to it",
            vec![
                (vec![undeclare()], true),
                (vec![remove()], true),
                (vec![remove()], false),
                (vec![undeclare()], false),
                (vec![declare(0, 0, 2)], true),
                (vec![remove(), declare(0, 0, 3)], true),
            ],
        ),
        tried(
            "a source goes after its apps, in whatever order they are named",
            vec![
                (vec![remove_source()], false),
                (vec![remove_source(), remove()], true),
                (vec![remove_source()], true),
                (vec![declare(0, 0, 1)], false),
                (vec![declare(0, 0, 1), put_source(0).remove(0)], true),
                (vec![remove(), remove_source()], true),
            ],
        ),
        tried(
            "a release stays while something points at it",
            vec![
                (vec![forget_release(1)], false),
                (vec![Change::AddRelease(release(0, 2, 2)), target(2)], true),
                (vec![forget_release(1)], false),
                (vec![forget_release(1), forget_instance(4)], true),
                (vec![forget_release(1)], true),
                (vec![forget_release(2)], false),
            ],
        ),
        tried(
            "a release goes with the change of the target that was it, whatever else changes",
            vec![
                (vec![Change::AddRelease(release(0, 2, 2))], true),
                (
                    vec![
                        target(2),
                        forget_instance(4),
                        forget_release(1),
                        Change::SetSuspension {
                            app: app(0),
                            suspension: None,
                        },
                        declare(0, 0, 3),
                    ],
                    true,
                ),
                (vec![forget_release(2), declare(0, 0, 4)], false),
                (vec![target(2), declare(0, 0, 4)], true),
            ],
        ),
        tried(
            "no two of the same",
            vec![
                (vec![Change::AddRelease(release(0, 9, 1))], false),
                (vec![Change::AddRelease(release(0, 1, 9))], false),
                (vec![first_sync().remove(6)], false),
                (vec![Change::AddRelease(release(0, 2, 2))], true),
                (vec![forget_instance(4), first_sync().remove(6)], true),
            ],
        ),
        tried(
            "what does not fit takes the rest of its list with it",
            vec![
                (vec![declare(1, 0, 2), forget_instance(99)], false),
                (vec![forget_instance(99), declare(1, 0, 2)], false),
                (vec![declare(1, 0, 2), forget_instance(4)], true),
            ],
        ),
        tried("what is not there cannot be changed", all_of(of_nothing)),
        tried(
            "what is not there need not be taken away",
            needless().into_iter().map(|c| (vec![c], true)).collect(),
        ),
        tried("every change of what is there", changes_of_all()),
    ]
}

/// Changes of apps, instances, releases and nodes that [`first_sync`] does not know.
fn of_nothing() -> Vec<Change> {
    let (no_app, here) = (app(8), app(0));
    let observe = |app, n| Change::Observe {
        app,
        instance: instance_id(n),
        status: Box::new(status(0)),
    };
    let unknown = release(8, 50, 1);
    let of_unknown = release(0, 51, 7);
    vec![
        Change::RemoveApp {
            app: no_app.clone(),
        },
        Change::Undeclare {
            app: no_app.clone(),
        },
        Change::SetSuspension {
            app: no_app.clone(),
            suspension: None,
        },
        Change::SetScale {
            app: no_app.clone(),
            scale: None,
        },
        Change::SetIncarnation {
            app: no_app.clone(),
            incarnation: 2,
        },
        Change::SetTarget {
            app: no_app.clone(),
            release: release_id(1),
        },
        Change::SetTarget {
            app: here.clone(),
            release: release_id(77),
        },
        Change::AddRelease(unknown.clone()),
        Change::AddInstance(Box::new(instance(60, &unknown, 0))),
        Change::AddInstance(Box::new(instance(61, &of_unknown, 0))),
        Change::PutRollout(Box::new(rollout(8, 62, unknown.id, RolloutPhase::Baking))),
        Change::Quarantine {
            app: no_app.clone(),
            rejection: Box::new(rejection(&unknown, Verdict::CrashLoop)),
        },
        Change::SetHome {
            app: no_app.clone(),
            slot: 0,
            node: node_name(0),
        },
        observe(no_app, 4),
        observe(here.clone(), 99),
        Change::SetGoal {
            app: here.clone(),
            instance: instance_id(99),
            goal: Goal::Run,
        },
        // There, but of another app.
        Change::ForgetInstance {
            app: app(1),
            instance: instance_id(4),
        },
        Change::SetReleaseState {
            app: here.clone(),
            release: release_id(77),
            state: ReleaseState::New,
        },
        Change::PinImage {
            app: here,
            release: release_id(77),
            image: "web@sha256:1".to_owned(),
        },
        Change::SetLiveness {
            node: node_name(3),
            liveness: Liveness::Lost,
            last_heard: at(0),
        },
        Change::SetScheduling {
            node: node_name(3),
            scheduling: Scheduling::Active,
            note: None,
        },
        Change::SetImage {
            node: node_name(3),
            image: "web:1".to_owned(),
            state: Some(node::ImageState::Pulling),
        },
    ]
}

fn needless() -> Vec<Change> {
    vec![
        Change::RemoveSource(source_name(4)),
        Change::RemoveNode { node: node_name(4) },
        Change::SetInvalid {
            app: app(8),
            invalid: None,
        },
        Change::Unquarantine {
            app: app(0),
            digest: release(0, 5, 5).spec_digest.clone(),
        },
        Change::ForgetRelease {
            app: app(0),
            release: release_id(77),
        },
        Change::SetImage {
            node: node_name(0),
            image: "web:77".to_owned(),
            state: None,
        },
    ]
}

fn changes_of_all() -> Vec<(Vec<Change>, bool)> {
    let first = release(0, 1, 1);
    let app = || app(0);
    let instance = instance_id(4);
    let ended = rollout(0, 3, first.id, RolloutPhase::RolledBack);
    let next = rollout(0, 6, first.id, RolloutPhase::Progressing);
    let changes = vec![
        Change::Observe {
            app: app(),
            instance,
            status: Box::new(status(3)),
        },
        Change::SetGoal {
            app: app(),
            instance,
            goal: Goal::Stop {
                reason: "rollout to 00000002".to_owned(),
                at: at(7),
            },
        },
        Change::SetReleaseState {
            app: app(),
            release: first.id,
            state: ReleaseState::Rejected { at: at(8) },
        },
        Change::PinImage {
            app: app(),
            release: first.id,
            image: "web@sha256:1".to_owned(),
        },
        Change::Quarantine {
            app: app(),
            rejection: Box::new(rejection(&first, Verdict::Operator)),
        },
        Change::Unquarantine {
            app: app(),
            digest: first.spec_digest.clone(),
        },
        Change::PutRollout(Box::new(ended)),
        Change::PutRollout(Box::new(next)),
        Change::SetHome {
            app: app(),
            slot: 1,
            node: node_name(0),
        },
        Change::SetIncarnation {
            app: app(),
            incarnation: 2,
        },
        Change::SetInvalid {
            app: app(),
            invalid: Some(Invalid {
                commit: commit_id(2),
                problems: Vec::new(),
            }),
        },
        Change::SetLiveness {
            node: node_name(0),
            liveness: Liveness::Suspect,
            last_heard: at(3),
        },
        Change::SetScheduling {
            node: node_name(0),
            scheduling: Scheduling::Draining,
            note: None,
        },
        Change::SetImage {
            node: node_name(0),
            image: "web:2".to_owned(),
            state: Some(node::ImageState::Pulling),
        },
        Change::RemoveNode { node: node_name(0) },
    ];
    changes.into_iter().map(|c| (vec![c], true)).collect()
}
