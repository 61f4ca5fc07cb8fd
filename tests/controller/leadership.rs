//! One leads, the others follow; nobody acts without the database.

use std::time::Duration;

use evenkeel::controller::{Decision, Error, Refusal, Role};
use evenkeel::model::{Actor, Change, Event, EventKind, SpecDigest, Timestamp};
use evenkeel::store::{EventQuery, Store};

use crate::pg;
use crate::support::{FakeAgent, eventually, options, start, within};

fn note(now: Timestamp) -> Result<Decision, Refusal> {
    let event = Event::new(now, Actor::Controller, EventKind::RolloutProgress, "a note");
    Ok(Decision {
        changes: Vec::new(),
        events: vec![event],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_takes_over_when_the_first_stops() {
    let database = pg::database().await;
    let first = start(&database.store, options("first"));
    first.leads().await;
    let second = start(&database.store, options("second"));
    eventually("the second to follow", async || {
        second.handle.status().is_ready()
    })
    .await;
    let status = second.handle.status();
    assert_eq!(status.role, Role::Follower);
    assert_eq!(status.leader.as_deref(), Some("http://first"));
    let refused = second.handle.transact("test", |_, now, _| note(now)).await;
    assert!(
        matches!(&refused, Err(Error::NotLeader { leader: Some(l) }) if l == "http://first"),
        "{refused:?}"
    );
    let written = first.handle.transact("test", |_, now, _| note(now)).await;
    let generation = written.unwrap().generation;
    eventually("the follower to see it", async || {
        second.handle.status().generation >= generation
    })
    .await;
    first.end().await;
    second.leads().await;
    second.end().await;
}

/// The database alone would take it: there is nothing to be released.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_state_is_not_stored() {
    let database = pg::database().await;
    let controller = start(&database.store, options("only"));
    controller.leads().await;
    let misfit = |now| {
        note(now).map(|mut decision| {
            decision.changes.push(Change::Unquarantine {
                app: "shop/nobody".parse().unwrap(),
                digest: SpecDigest("none".to_owned()),
            });
            decision
        })
    };
    let refused = controller.handle.transact("test", |_, now, _| misfit(now));
    let refused = refused.await;
    assert!(matches!(refused, Err(Error::Internal(_))), "{refused:?}");
    let written = controller.handle.transact("test", |_, now, _| note(now));
    let event = written.await.unwrap().events[0].id;
    let query = EventQuery {
        kind: Some(EventKind::RolloutProgress),
        ..EventQuery::default()
    };
    let told = database.store.events(&query).await.unwrap();
    assert_eq!(told.iter().map(|e| e.id).collect::<Vec<_>>(), [event]);
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_lost_the_lease_writes_nothing_more() {
    let database = pg::database().await;
    let options = options("ousted");
    // No lease is given for longer, and one that is may be taken over.
    let ttl = 2 * options.lease_ttl;
    let controller = start(&database.store, options);
    controller.leads().await;
    let lease = database.store.current_lease().await.unwrap().unwrap();
    database.store.release_lease(lease.epoch).await.unwrap();
    let taken = database
        .store
        .acquire_lease("usurper", "http://usurper", ttl);
    // It may have renewed in between: then the usurper has to wait for its turn.
    let taken = taken.await.unwrap();
    assert!(taken.is_some());
    let before = database.store.generation().await.unwrap();
    let refused = controller
        .handle
        .transact("test", |_, now, _| note(now))
        .await;
    assert!(
        matches!(refused, Err(Error::NotLeader { .. })),
        "{refused:?}"
    );
    assert_eq!(database.store.generation().await.unwrap(), before);
    eventually("it to follow the usurper", async || {
        controller.handle.status().leader.as_deref() == Some("http://usurper")
    })
    .await;
    assert_eq!(controller.handle.status().role, Role::Follower);
    assert!(
        controller
            .handle
            .agent_connected("node-1".parse().unwrap())
            .is_err()
    );
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_nothing_is_decided_and_reads_go_on() {
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let dir = folder.path().join("pg");
    let server = pg::start_in(&dir).await;
    let mut connect = pg::options();
    connect.acquire_timeout = Duration::from_secs(1);
    let store = Store::connect(server.url(), connect).await.unwrap();
    store.migrate().await.unwrap();
    let controller = start(&store, options("lonely"));
    controller.leads().await;
    let mut agent = FakeAgent::connect(&controller.handle, "node-1");
    let first_set = agent.set().await;
    agent.say(Vec::new()).await;

    server.stop().await.unwrap();
    let failed = within(
        "a refusal",
        controller.handle.transact("test", |_, now, _| note(now)),
    );
    let failed = failed.await;
    assert!(
        matches!(
            failed,
            Err(Error::Unavailable(_) | Error::NotLeader { .. } | Error::OutcomeUnknown(_))
        ),
        "{failed:?}"
    );
    eventually("the end of its leadership", async || {
        controller.handle.status().role == Role::Follower
    })
    .await;
    assert!(!controller.handle.status().is_ready());
    let known = controller
        .handle
        .read(|s| s.nodes.contains_key(&agent.node));
    assert!(known.unwrap(), "reads are answered from memory");

    let server = pg::start_in(&dir).await;
    controller.leads().await;
    let written = controller
        .handle
        .transact("test", |_, now, _| note(now))
        .await;
    assert_eq!(written.unwrap().events.len(), 1);
    // The old stream has ended; on a new one the node is told the same, under a new epoch.
    let mut again = FakeAgent::connect(&controller.handle, "node-1");
    let set = again.set().await;
    assert!(set.epoch > first_set.epoch && set.instances == first_set.instances);
    controller.end().await;
    store.close().await;
    server.stop().await.unwrap();
}
