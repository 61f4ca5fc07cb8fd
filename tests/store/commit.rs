//! What a commit writes, and what it refuses.

use evenkeel::model::*;
use evenkeel::store::{Commit, Error, MIGRATIONS, Store};

use super::builders::*;
use super::pg;
use super::store_cases::first_sync;
use super::support::*;

#[tokio::test]
async fn an_empty_database_is_an_empty_snapshot() {
    let leader = leader().await;
    check_same(&Snapshot::default(), &leader.image);
}

#[tokio::test]
async fn what_is_committed_is_loaded() {
    let mut leader = leader().await;
    let committed = leader.commit(&first_sync(), &[]).await;
    assert_eq!(committed.generation, Generation(1));
    leader.check().await;
}

#[tokio::test]
async fn an_app_goes_with_all_that_belongs_to_it() {
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    leader
        .commit(&[Change::RemoveApp { app: app(0) }], &[])
        .await;
    leader.check().await;
    assert_eq!(leader.store.releases(&app(0)).await.unwrap(), []);
    assert_eq!(leader.store.rollouts(&app(0), 10).await.unwrap(), []);
}

#[tokio::test]
async fn an_app_may_be_removed_and_declared_again_in_one_commit() {
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    let again = [Change::RemoveApp { app: app(0) }, declare(0, 0, 2)];
    leader.commit(&again, &[]).await;
    leader.check().await;
}

#[tokio::test]
async fn a_stale_generation_writes_nothing() {
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    let stale = Commit {
        epoch: leader.epoch,
        base: Generation(0),
        cause: "late",
        changes: &[declare(1, 0, 1)],
        events: &[event(1, EventKind::AppDeclared)],
        outbox: &[],
    };
    match leader.store.commit(stale).await {
        Err(Error::StaleGeneration { base, current, .. }) => {
            assert_eq!((base, current), (Generation(0), Generation(1)));
        }
        other => panic!("{other:?}"),
    }
    leader.check().await;
    assert_eq!(leader.store.events(&Default::default()).await.unwrap(), []);
}

#[tokio::test]
async fn a_stale_epoch_writes_nothing() {
    let mut old = leader().await;
    old.commit(&first_sync(), &[]).await;
    old.store.release_lease(old.epoch).await.unwrap();
    for successor in [None, Some("you")] {
        if let Some(name) = successor {
            old.store.acquire_lease(name, "", TTL).await.unwrap();
        }
        match old.try_commit(&[declare(1, 0, 1)], &[]).await {
            Err(Error::StaleEpoch { held, .. }) => assert_eq!(held, old.epoch),
            other => panic!("{other:?}"),
        }
    }
    old.check().await;
}

#[tokio::test]
async fn a_rule_of_the_schema_is_named_and_nothing_is_written() {
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    let other = Change::AddRelease(release(0, 9, 1));
    let target = Change::SetTarget {
        app: app(0),
        release: ReleaseId(id(77)),
    };
    let forget = Change::ForgetRelease {
        app: app(0),
        release: ReleaseId(id(1)),
    };
    let orphans = [
        (Change::AddRelease(release(8, 9, 1)), "releases_app_fkey"),
        (
            Change::PutRollout(Box::new(rollout(
                8,
                9,
                ReleaseId(id(1)),
                RolloutPhase::Progressing,
            ))),
            "rollouts_app_fkey",
        ),
    ];
    // There is such a release, but it is another app's.
    let mut stranger = instance(78, &release(0, 1, 1), 0);
    stranger.app = app(1);
    let stranger = vec![declare(1, 0, 1), Change::AddInstance(Box::new(stranger))];
    for (changes, name) in [
        (
            vec![Change::RemoveSource(source_name(0))],
            "apps_source_fkey",
        ),
        (vec![declare(1, 5, 1)], "apps_source_fkey"),
        (vec![other], "releases_number_key"),
        (vec![target], "apps_target_fkey"),
        (vec![forget], "apps_target_fkey"),
        (stranger, "instances_release_fkey"),
    ]
    .into_iter()
    .chain(orphans.map(|(change, name)| (vec![change], name)))
    {
        match leader.try_commit(&changes, &[]).await {
            Err(Error::Constraint { constraint, .. }) => assert_eq!(constraint, name),
            other => panic!("{name}: {other:?}"),
        }
        leader.check().await;
    }
}

#[tokio::test]
async fn a_release_that_an_instance_runs_cannot_be_forgotten() {
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    let newer = release(0, 2, 2);
    leader
        .commit(
            &[
                Change::AddRelease(newer.clone()),
                Change::SetTarget {
                    app: app(0),
                    release: newer.id,
                },
            ],
            &[],
        )
        .await;
    let forget = Change::ForgetRelease {
        app: app(0),
        release: ReleaseId(id(1)),
    };
    match leader.try_commit(std::slice::from_ref(&forget), &[]).await {
        Err(Error::Constraint { constraint, .. }) => {
            assert_eq!(constraint, "instances_release_fkey");
        }
        other => panic!("{other:?}"),
    }
    // Together with the instance it may, in either order.
    let gone = Change::ForgetInstance {
        app: app(0),
        instance: InstanceId(id(4)),
    };
    leader.commit(&[forget, gone], &[]).await;
    leader.check().await;
}

#[tokio::test]
async fn a_change_of_what_is_not_there_is_noticed() {
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    for change in [
        Change::Undeclare { app: app(8) },
        Change::RemoveApp { app: app(8) },
        Change::Observe {
            app: app(0),
            instance: InstanceId(id(99)),
            status: Box::new(status(0)),
        },
        // There, but of another app.
        Change::ForgetInstance {
            app: app(1),
            instance: InstanceId(id(4)),
        },
        Change::SetLiveness {
            node: node_name(3),
            liveness: Liveness::Lost,
            last_heard: at(0),
        },
    ] {
        match leader.try_commit(std::slice::from_ref(&change), &[]).await {
            Err(Error::Diverged { .. }) => {}
            other => panic!("{change:?}: {other:?}"),
        }
    }
    leader.check().await;
}

#[tokio::test]
async fn invalid_specs_of_unknown_apps_change_nothing() {
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    let invalid = |n| Change::SetInvalid {
        app: app(n),
        invalid: Some(Invalid {
            commit: commit_id(2),
            problems: Vec::new(),
        }),
    };
    leader.commit(&[invalid(0), invalid(7)], &[]).await;
    leader.check().await;
}

/// A container may print NUL, which Postgres cannot hold: that must not stop the cluster.
#[tokio::test]
async fn nul_characters_are_replaced() {
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    let mut seen = status(0);
    seen.log_tail = vec!["a\0b".into(), "\\u0000".into()];
    let observe = Change::Observe {
        app: app(0),
        instance: InstanceId(id(4)),
        status: Box::new(seen),
    };
    let mut loud = event(1, EventKind::InstanceExited);
    loud.message = "said \0".into();
    loud.detail = serde_json::json!({"log": ["x\0"]});
    leader.commit(&[observe], &[loud]).await;
    let loaded = leader.store.load().await.unwrap();
    let instance = &loaded.apps[&app(0)].instances[&InstanceId(id(4))];
    assert_eq!(
        instance.status.as_ref().unwrap().log_tail,
        ["a\u{fffd}b", "\\u0000"]
    );
    let events = leader.store.events(&Default::default()).await.unwrap();
    assert_eq!(events[0].message, "said \u{fffd}");
    assert_eq!(events[0].detail["log"][0], "x\u{fffd}");
}

/// Lists that fill several statements of one kind.
#[tokio::test]
async fn a_large_commit_is_written_whole() {
    let mut leader = leader().await;
    let mut changes = vec![Change::PutSource(Box::new(source(0)))];
    for n in 0..2500 {
        let release = release(n, n + 1, 1);
        changes.push(declare(n, 0, n + 1));
        changes.push(Change::SetTarget {
            app: app(n),
            release: release.id,
        });
        changes.push(Change::AddRelease(release));
    }
    let events: Vec<Event> = (0..2500)
        .map(|n| event(n, EventKind::AppDeclared))
        .collect();
    let committed = leader.commit(&changes, &events).await;
    leader.check().await;
    assert!(committed.events.is_sorted_by_key(|e| e.id));
    assert_eq!(committed.events.len(), 2500);
    let stored = leader
        .store
        .events(&evenkeel::store::EventQuery {
            after_id: Some(0),
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(stored, committed.events[..1001]);
}

/// Every word that a checked column may hold, so that a new variant without its migration fails
/// here and not in production.
#[tokio::test]
async fn every_variant_has_its_place_in_the_schema() {
    use ReleaseState::*;
    use RolloutPhase::*;
    let mut leader = leader().await;
    leader.commit(&first_sync(), &[]).await;
    let release = release(0, 1, 1);
    let mut changes = Vec::new();
    for phase in [
        Preparing,
        Progressing,
        Baking,
        Paused,
        Succeeded,
        RolledBack,
        Failed,
        Superseded,
    ] {
        for n in [30, 31, 32] {
            changes.push(Change::PutRollout(Box::new(rollout(
                0, n, release.id, phase,
            ))));
        }
    }
    for verdict in [
        Verdict::CrashLoop,
        Verdict::ImageMissing,
        Verdict::CannotStart,
        Verdict::Infeasible,
        Verdict::NotReady,
        Verdict::FailedBake,
        Verdict::NoProgress,
        Verdict::Operator,
    ] {
        changes.push(Change::Quarantine {
            app: app(0),
            rejection: Box::new(rejection(&release, verdict)),
        });
    }
    for state in [New, Stable { at: at(1) }, Rejected { at: at(2) }] {
        changes.push(Change::SetReleaseState {
            app: app(0),
            release: release.id,
            state,
        });
    }
    for scheduling in [
        Scheduling::Cordoned,
        Scheduling::Draining,
        Scheduling::Active,
    ] {
        changes.push(Change::SetScheduling {
            node: node_name(0),
            scheduling,
            note: None,
        });
    }
    for liveness in [Liveness::Suspect, Liveness::Lost, Liveness::Ready] {
        changes.push(Change::SetLiveness {
            node: node_name(0),
            liveness,
            last_heard: at(3),
        });
    }
    // One at a time: the last of a list would hide the others.
    for change in changes {
        leader.commit(std::slice::from_ref(&change), &[]).await;
        leader.check().await;
    }
    let events: Vec<Event> = EventKind::ALL.iter().map(|&k| event(1, k)).collect();
    let committed = leader.commit(&[], &events).await;
    let mut stored = leader.store.events(&Default::default()).await.unwrap();
    stored.reverse();
    assert_eq!(stored, committed.events);
}

#[tokio::test]
async fn migrating_again_or_side_by_side_is_harmless() {
    let leader = leader().await;
    let (a, b) = tokio::join!(leader.store.migrate(), leader.store.migrate());
    a.unwrap();
    b.unwrap();
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused() {
    let leader = leader().await;
    let pool = sqlx::PgPool::connect(&leader.url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', true, '', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let error = leader.store.migrate().await.unwrap_err();
    assert!(matches!(error, Error::Migration { .. }));
    assert!(error.to_string().contains("later one"), "{error}");
}

/// The macro that embeds them does not notice new files by itself.
#[test]
fn all_migrations_are_embedded() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension() == Some("sql".as_ref()))
        .count();
    assert_eq!(MIGRATIONS.iter().count(), files);
}

#[tokio::test]
async fn connecting_to_nothing_ends_at_its_deadline() {
    let options = evenkeel::store::ConnectOptions {
        connect_deadline: std::time::Duration::from_millis(300),
        ..pg::options()
    };
    let url = "postgres://nobody@localhost/none?host=/nonexistent";
    let error = Store::connect(url, options).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_said_at_once() {
    let url = pg::url().await;
    let (_, parameters) = url.split_once('?').unwrap();
    let error = Store::connect(
        &format!("postgres://evenkeel@localhost/none?{parameters}"),
        pg::options(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}
