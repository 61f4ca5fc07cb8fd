//! Any history of changes: what memory holds and what Postgres gives back are the same.

use evenkeel::model::*;
use proptest::prelude::*;

use super::builders::*;
use super::support::*;

/// A step of a history: what kind of change, and three free choices for its content.
type Choice = (u8, usize, usize, usize);

fn pick<T: Clone>(of: impl Iterator<Item = T>, n: usize) -> Option<T> {
    let all: Vec<T> = of.collect();
    (!all.is_empty()).then(|| all[n % all.len()].clone())
}

/// The change that the choice means now, where it means one that is allowed.
fn change(image: &Snapshot, serial: usize, (kind, a, b, c): Choice) -> Option<Change> {
    let an_app = || pick(image.apps.values().cloned(), a);
    let release_of = |app: &App| pick(app.releases.values().cloned(), b);
    let instance_of = |app: &App| pick(app.instances.values().cloned(), b);
    Some(match kind % 28 {
        0 => {
            let mut source = source(a % 2);
            source.suspended = b % 2 == 0;
            source.last_attempt_at = (c % 2 == 0).then(|| at(c as i64));
            source.last_seen = Some(commit_id(b));
            source.ignored_documents = c as u32;
            source.declared_by = (b % 3 == 0).then(|| source_name(0));
            source.outcome = match c % 3 {
                0 => SyncOutcome::Ok,
                1 => SyncOutcome::Never,
                _ => SyncOutcome::Unreachable {
                    message: "no route".into(),
                },
            };
            source.held = (c % 4 == 0).then(|| evenkeel::model::source::Held {
                commit: commit_id(c),
                since: at(c as i64),
                deletions: [(app(1), "apps/x.yaml".to_owned())].into(),
                reason: "4 of 6 apps would be deleted".into(),
            });
            Change::PutSource(Box::new(source))
        }
        1 => {
            let from = a % 2;
            image.sources.get(&source_name(from))?;
            declare(b % 4, from, c % 5)
        }
        2 => Change::SetInvalid {
            app: app(a % 6),
            invalid: (b % 2 == 0).then(|| Invalid {
                commit: commit_id(b),
                problems: Vec::new(),
            }),
        },
        3 => Change::Undeclare { app: an_app()?.key },
        4 if a % 4 == 0 => Change::RemoveApp { app: an_app()?.key },
        5 => Change::SetSuspension {
            app: an_app()?.key,
            suspension: (b % 2 == 0).then(|| Suspension {
                by: "zoe".into(),
                at: at(1),
                reason: None,
                until: (b % 4 == 0).then(|| at(9)),
            }),
        },
        26 => Change::SetScale {
            app: an_app()?.key,
            scale: (b % 2 == 0).then(|| Scale {
                replicas: b as u32,
                by: "zoe".into(),
                at: at(2),
                reason: Some("sale".into()),
                until: (b % 4 == 0).then(|| at(9)),
            }),
        },
        27 => Change::SetIncarnation {
            app: an_app()?.key,
            incarnation: b as u64,
        },
        4 | 6 => {
            let app = an_app()?;
            let mut release = release(0, serial, serial as u64);
            std::sync::Arc::make_mut(&mut release).app = app.key;
            Change::AddRelease(release)
        }
        7 => {
            let app = an_app()?;
            Change::SetReleaseState {
                release: release_of(&app)?.id,
                app: app.key,
                state: match c % 3 {
                    0 => ReleaseState::New,
                    1 => ReleaseState::Stable { at: at(2) },
                    _ => ReleaseState::Rejected { at: at(3) },
                },
            }
        }
        8 => {
            let app = an_app()?;
            Change::PinImage {
                release: release_of(&app)?.id,
                app: app.key,
                image: format!("registry.local/web@sha256:{c:064x}"),
            }
        }
        9 => {
            let app = an_app()?;
            let release = release_of(&app)?.id;
            let used = app.instances.values().any(|i| i.release == release);
            if used || app.target == Some(release) {
                return None;
            }
            Change::ForgetRelease {
                app: app.key,
                release,
            }
        }
        10 => {
            let app = an_app()?;
            Change::SetTarget {
                release: release_of(&app)?.id,
                app: app.key,
            }
        }
        11 => {
            let app = an_app()?;
            let rejection = rejection(&*release_of(&app)?, Verdict::CrashLoop);
            Change::Quarantine {
                app: app.key,
                rejection: Box::new(rejection),
            }
        }
        12 => Change::Unquarantine {
            app: an_app()?.key,
            digest: spec(b % 8).digest(),
        },
        13 => {
            use RolloutPhase::*;
            let app = an_app()?;
            let to = release_of(&app)?;
            let phase = [Preparing, Progressing, Baking, Paused, Succeeded, Failed][c % 6];
            let number = match &app.rollout {
                Some(last) if c % 2 == 0 => last.id.0.as_u128() as usize,
                _ => serial,
            };
            let mut rollout = rollout(0, number, to.id, phase);
            rollout.app = app.key;
            rollout.rejection = (c % 5 == 0).then(|| rejection(&to, Verdict::NotReady));
            Change::PutRollout(Box::new(rollout))
        }
        14 | 15 => {
            let app = an_app()?;
            Change::AddInstance(Box::new(instance(serial, &*release_of(&app)?, c % 3)))
        }
        16 => {
            let app = an_app()?;
            Change::SetGoal {
                instance: instance_of(&app)?.id,
                app: app.key,
                goal: match c % 2 {
                    0 => Goal::Run,
                    _ => Goal::Stop {
                        at: at(c as i64),
                        reason: "replaced".into(),
                    },
                },
            }
        }
        17 => {
            let app = an_app()?;
            Change::SetRequests {
                instance: instance_of(&app)?.id,
                app: app.key,
                requests: evenkeel::model::quantity::Resources {
                    cpu_millis: c as u64,
                    memory_bytes: b as u64,
                },
            }
        }
        18 => Change::SetHome {
            app: an_app()?.key,
            slot: (b % 3) as u32,
            node: node_name(c % 3),
        },
        19 => {
            let app = an_app()?;
            Change::Observe {
                instance: instance_of(&app)?.id,
                app: app.key,
                status: Box::new(status(c)),
            }
        }
        20 => {
            let app = an_app()?;
            Change::ForgetInstance {
                instance: instance_of(&app)?.id,
                app: app.key,
            }
        }
        21 => Change::PutNode(Box::new(node(a % 3))),
        22 => Change::SetLiveness {
            node: pick(image.nodes.keys().cloned(), a)?,
            liveness: [Liveness::Ready, Liveness::Suspect, Liveness::Lost][b % 3],
            last_heard: at(c as i64),
        },
        23 => Change::SetScheduling {
            node: pick(image.nodes.keys().cloned(), a)?,
            scheduling: [
                Scheduling::Active,
                Scheduling::Cordoned,
                Scheduling::Draining,
            ][b % 3],
            note: (b % 2 == 0).then(|| SchedulingNote {
                by: "zoe".into(),
                at: at(3),
                reason: (c % 2 == 0).then(|| "a disk".into()),
            }),
        },
        24 => Change::SetImage {
            node: pick(image.nodes.keys().cloned(), a)?,
            image: format!("registry.local/web:{}", b % 3),
            state: (c % 2 == 0).then(|| ImageState::Present {
                digest: (c % 4 == 0).then(|| "registry.local/web@sha256:0".into()),
            }),
        },
        _ if a % 2 == 0 => Change::RemoveNode {
            node: node_name(b % 3),
        },
        _ => {
            let source = source_name(b % 3);
            if image.apps_of(&source).len() > 0 {
                return None;
            }
            Change::RemoveSource(source)
        }
    })
}

async fn check(batches: Vec<Vec<Choice>>) {
    let mut leader = leader().await;
    let setup = [
        Change::PutSource(Box::new(source(0))),
        Change::PutNode(Box::new(node(0))),
        declare(0, 0, 0),
        Change::AddRelease(release(0, 1, 1)),
    ];
    leader.commit(&setup, &[]).await;
    let mut serial = 1;
    for batch in batches {
        let mut ahead = leader.image.clone();
        let mut changes = Vec::new();
        for choice in batch {
            serial += 1;
            if let Some(change) = change(&ahead, serial, choice) {
                ahead.apply(&change).unwrap();
                changes.push(change);
            }
        }
        leader.commit(&changes, &[]).await;
        leader.check().await;
    }
    leader.store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn postgres_gives_back_what_memory_holds(
        batches in prop::collection::vec(
            prop::collection::vec((any::<u8>(), 0usize..12, 0usize..12, 0usize..12), 1..60),
            1..6,
        )
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(check(batches));
    }
}
