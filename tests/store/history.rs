//! Events, commits seen, rollouts: listed, and forgotten in time.

use std::time::Duration;

use evenkeel::model::*;
use evenkeel::store::{CommitRecord, Error, EventQuery, Retention};

use super::builders::*;
use super::support::*;

fn numbers(events: &[Event]) -> Vec<i64> {
    events.iter().map(|e| e.at.0 - at(0).0).collect()
}

#[tokio::test]
async fn events_are_filtered_and_paged() {
    let mut leader = leader().await;
    let events: Vec<Event> = (0..10)
        .map(|n| Event {
            app: Some(app(n % 2)),
            source: (n < 5).then(|| source_name(0)),
            commit: Some(commit_id(n)),
            rollout: Some(RolloutId(id(n))),
            instance: Some(InstanceId(id(n))),
            node: Some(node_name(n)),
            actor: Actor::User("zoë".into()),
            detail: serde_json::json!({"n": n, "z": null, "a": [1.5]}),
            ..event(
                n,
                match n % 3 {
                    0 => EventKind::InstanceExited,
                    _ => EventKind::SyncOk,
                },
            )
        })
        .collect();
    let stored = leader.commit(&[], &events).await.events;
    let first = stored[0].id;
    let query = |change: fn(&mut EventQuery)| {
        let mut query = EventQuery::default();
        change(&mut query);
        query
    };
    let store = leader.store.clone();
    let list = async |query: EventQuery| numbers(&store.events(&query).await.unwrap());
    assert_eq!(list(query(|_| {})).await, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(list(query(|q| q.limit = 2)).await, [9, 8]);
    assert_eq!(list(query(|q| q.app = Some(app(1)))).await, [9, 7, 5, 3, 1]);
    assert_eq!(
        list(query(|q| {
            q.source = Some(source_name(0));
            q.kind = Some(EventKind::InstanceExited);
        }))
        .await,
        [3, 0]
    );
    let after = EventQuery {
        after_id: Some(first + 6),
        limit: 2,
        ..EventQuery::default()
    };
    assert_eq!(list(after).await, [7, 8]);
    let before = EventQuery {
        before_id: Some(first + 2),
        ..EventQuery::default()
    };
    assert_eq!(list(before).await, [1, 0]);
    let all = leader.store.events(&EventQuery::default()).await.unwrap();
    assert!(all.iter().rev().eq(stored.iter()));
}

fn record(n: usize) -> CommitRecord {
    let problem = Problem {
        file: "apps/web.yaml".into(),
        line: 3,
        column: 1,
        field: "spec.replcas".into(),
        text: "replcas".into(),
        message: "unknown key".into(),
        hint: Some("did you mean replicas?".into()),
    };
    CommitRecord {
        source: source_name(0),
        commit: commit_id(n),
        author: "Zoë <zoe@forge.example>".into(),
        subject: format!("Change {n}"),
        committed_at: at(n as i64),
        seen_at: at(n as i64),
        valid: Some(n.is_multiple_of(2)),
        problem_count: n as u32,
        problems: vec![problem; n],
    }
}

#[tokio::test]
async fn commits_are_kept_with_a_bounded_number_of_problems() {
    let mut leader = leader().await;
    let nobody = leader
        .store
        .record_commits(leader.epoch, &[record(1)])
        .await;
    assert!(
        matches!(nobody, Err(Error::Constraint { .. })),
        "{nobody:?}"
    );
    leader
        .commit(&[Change::PutSource(Box::new(source(0)))], &[])
        .await;
    let records = [record(1), record(150)];
    leader
        .store
        .record_commits(leader.epoch, &records)
        .await
        .unwrap();
    let update = CommitRecord {
        valid: None,
        ..record(1)
    };
    leader
        .store
        .record_commits(leader.epoch, std::slice::from_ref(&update))
        .await
        .unwrap();
    let listed = leader.store.commits(&source_name(0), 10).await.unwrap();
    assert_eq!(listed[0].problem_count, 150);
    assert_eq!(listed[0].problems.len(), 100);
    assert_eq!(listed[1], update);
    let late = leader
        .store
        .record_commits(Epoch(leader.epoch.0 - 1), &records)
        .await;
    assert!(matches!(late, Err(Error::StaleEpoch { .. })), "{late:?}");
}

#[tokio::test]
async fn retention_keeps_the_newest_and_what_is_in_use() {
    let mut leader = leader().await;
    let release = release(0, 1, 1);
    let mut used = source(0);
    used.last_applied = Some(commit_id(1));
    let mut changes = vec![
        Change::PutSource(Box::new(used)),
        declare(0, 0, 1),
        Change::AddRelease(release.clone()),
    ];
    for n in 10..20 {
        let phase = RolloutPhase::Superseded;
        changes.push(Change::PutRollout(Box::new(rollout(
            0, n, release.id, phase,
        ))));
    }
    let events: Vec<Event> = (0..10).map(|n| event(n, EventKind::SyncOk)).collect();
    leader.commit(&changes, &events).await;
    // An old one becomes the last again: that must not be forgotten.
    let oldest = rollout(0, 10, release.id, RolloutPhase::Paused);
    leader
        .commit(&[Change::PutRollout(Box::new(oldest))], &[])
        .await;
    let records: Vec<CommitRecord> = (1..6).map(record).collect();
    leader
        .store
        .record_commits(leader.epoch, &records)
        .await
        .unwrap();

    let retention = Retention {
        events_max_age: Duration::from_secs(u32::MAX.into()),
        events_max_count: 3,
        rollouts_per_app: 2,
        commits_per_source: 2,
    };
    let late = leader.store.collect(Epoch(0), &retention).await;
    assert!(matches!(late, Err(Error::StaleEpoch { .. })), "{late:?}");
    let collected = leader
        .store
        .collect(leader.epoch, &retention)
        .await
        .unwrap();
    assert_eq!(
        (collected.events, collected.rollouts, collected.commits),
        (7, 7, 2)
    );
    assert!(!collected.more);
    leader.check().await;
    let kept = leader.store.events(&EventQuery::default()).await.unwrap();
    assert_eq!(numbers(&kept), [9, 8, 7]);
    let rollouts = leader.store.rollouts(&app(0), 10).await.unwrap();
    let ids: Vec<_> = rollouts.iter().map(|r| r.id).collect();
    assert_eq!(ids, [19, 18, 10].map(|n| RolloutId(id(n))));
    let commits = leader.store.commits(&source_name(0), 10).await.unwrap();
    let kept: Vec<_> = commits.into_iter().map(|c| c.commit).collect();
    assert_eq!(kept, [5, 4, 1].map(commit_id));
}

#[tokio::test]
async fn old_events_go_by_age() {
    let mut leader = leader().await;
    let old = Event {
        at: Timestamp(1_000_000_000_000),
        ..event(0, EventKind::SyncOk)
    };
    let future = Event {
        at: Timestamp(9_000_000_000_000),
        ..event(0, EventKind::SyncOk)
    };
    leader.commit(&[], &[old, future]).await;
    let collected = leader
        .store
        .collect(leader.epoch, &Retention::default())
        .await
        .unwrap();
    assert_eq!(collected.events, 1);
}

#[tokio::test]
async fn releases_are_listed_newest_first() {
    let mut leader = leader().await;
    let releases = [release(0, 1, 1), release(0, 2, 2), release(1, 3, 1)];
    let mut changes = vec![
        Change::PutSource(Box::new(source(0))),
        declare(0, 0, 1),
        declare(1, 0, 1),
    ];
    changes.extend(releases.iter().cloned().map(Change::AddRelease));
    leader.commit(&changes, &[]).await;
    let listed = leader.store.releases(&app(0)).await.unwrap();
    assert_eq!(listed, [(*releases[1]).clone(), (*releases[0]).clone()]);
}

#[tokio::test]
async fn deliveries_are_kept_per_source_and_go_with_it() {
    let mut leader = leader().await;
    let add = |n| Change::PutSource(Box::new(source(n)));
    leader.commit(&[add(0), add(1)], &[]).await;
    let log = |id: &str| {
        let mut log = DeliveryLog::default();
        log.add(DeliveryRecord {
            at: at(7),
            vendor: Some(Vendor::BitbucketCloud),
            event: "repo:push".into(),
            id: Some(id.into()),
            verdict: DeliveryVerdict::Ignored,
            detail: "zoë\0".into(),
        });
        log
    };
    let store = leader.store.clone();
    assert!(store.deliveries().await.unwrap().is_empty());
    let batch = [
        (source_name(0), log("a")),
        (source_name(1), log("b")),
        (source_name(9), log("its source is gone")),
    ];
    store.save_deliveries(leader.epoch, &batch).await.unwrap();
    let again = [(source_name(0), log("c"))];
    store.save_deliveries(leader.epoch, &again).await.unwrap();
    let saved = store.deliveries().await.unwrap();
    assert_eq!(
        saved.keys().cloned().collect::<Vec<_>>(),
        [source_name(0), source_name(1)]
    );
    let mut wanted = log("c");
    wanted.last[0].detail = "zoë\u{fffd}".into();
    assert_eq!(saved[&source_name(0)], wanted);
    assert_eq!(store.deliveries_of(&source_name(0)).await.unwrap(), wanted);
    let none = store.deliveries_of(&source_name(9)).await.unwrap();
    assert_eq!(none, DeliveryLog::default());

    // Another leads by now.
    let stale = Epoch(leader.epoch.0 - 1);
    let refused = store.save_deliveries(stale, &again).await;
    assert!(
        matches!(refused, Err(Error::StaleEpoch { .. })),
        "{refused:?}"
    );
    leader
        .commit(&[Change::RemoveSource(source_name(0))], &[])
        .await;
    let left = store.deliveries().await.unwrap();
    assert_eq!(left.into_keys().collect::<Vec<_>>(), [source_name(1)]);
}
