//! What agents are told, and what their reports do.

use std::time::Duration;

use evenkeel::api::agent::ToAgent;
use evenkeel::controller::{Error, LogQuery, Role};
use evenkeel::model::{Epoch, Generation, HealthState, InstancePhase, Liveness};
use futures_util::StreamExt as _;
use uuid::Uuid;

use crate::pg;
use crate::support::{
    Controller, FakeAgent, Repository, add_source, app, eventually, instance, options, running,
    start, web, within,
};

/// A leader that follows a repository with the app `web`, and one connected node.
async fn world(replicas: u32) -> (Controller, Repository, FakeAgent, pg::Database) {
    let database = pg::database().await;
    let controller = start(&database.store, options("leader"));
    controller.leads().await;
    let repository = Repository::new(controller.folder.path());
    repository.commit(&[("web.yaml", &app(replicas, "60"))]);
    let mut agent = FakeAgent::connect(&controller.handle, "node-1");
    assert!(agent.set().await.instances.is_empty());
    agent.say(Vec::new()).await;
    add_source(&controller.handle, repository.source()).await;
    (controller, repository, agent, database)
}

fn health(controller: &Controller) -> HealthState {
    let health = controller.handle.read(|s| s.apps[&web()].health_state(0));
    health.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_commit_to_healthy_and_on_to_the_next() {
    let (controller, repository, mut agent, database) = world(2).await;
    let set = agent.set_where(|set| running(set) == 2).await;
    assert_eq!(set.cluster, "test");
    agent.obey(&set).await;
    eventually("health", async || {
        health(&controller) == HealthState::Healthy
    })
    .await;

    // What the node says changes nothing of what it is told, and saying it again costs nothing.
    eventually("an idle planner", async || {
        let active = |s: &evenkeel::model::Snapshot| s.apps[&web()].active_rollout().is_some();
        !controller.handle.read(active).unwrap()
    })
    .await;
    let generation = database.store.generation().await.unwrap();
    agent.obey(&set).await;
    agent.obey(&set).await;
    assert_eq!(database.store.generation().await.unwrap(), generation);
    let quiet = tokio::time::timeout(Duration::from_millis(300), agent.stream.next()).await;
    assert!(
        !matches!(quiet, Ok(Some(ToAgent::Desired { .. }))),
        "a set was sent though nothing had changed: {quiet:?}"
    );

    repository.commit(&[("web.yaml", &app(2, "61"))]);
    let set = agent
        .set_where(|set| running(set) == 4 || set.instances.len() == 4)
        .await;
    agent.obey(&set).await;
    eventually("the exchange", async || {
        let next = tokio::time::timeout(Duration::from_millis(50), agent.stream.next()).await;
        if let Ok(Some(ToAgent::Desired { set })) = next {
            agent.obey(&set).await;
        }
        let instances = controller.handle.read(|s| s.apps[&web()].instances.len());
        instances.unwrap() == 2 && health(&controller) == HealthState::Healthy
    })
    .await;
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_reports_and_displaced_agents_change_nothing() {
    let (controller, _repository, mut agent, _database) = world(1).await;
    let set = agent.set_where(|set| running(set) == 1).await;
    let id = *set.instances.keys().next().unwrap();
    let late = agent.report(vec![instance(id, InstancePhase::Starting, None)]);
    agent.obey(&set).await;
    controller.handle.report(late).await.unwrap();
    let ready = |s: &evenkeel::model::Snapshot| s.apps[&web()].instances[&id].is_ready();
    assert!(controller.handle.read(ready).unwrap());

    let mut successor = FakeAgent::connect(&controller.handle, "node-1");
    successor.session = Uuid::from_u128(2);
    successor.obey(&set).await;
    let ended = within("the older stream's end", async {
        while agent.stream.next().await.is_some() {}
    });
    ended.await;
    let displaced = agent.report(vec![instance(id, InstancePhase::BackOff, None)]);
    let refused = controller.handle.report(displaced).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert!(controller.handle.read(ready).unwrap());
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_counts_from_when_the_leader_began_to_listen() {
    let (controller, _repository, mut agent, database) = world(1).await;
    let set = agent.set_where(|set| running(set) == 1).await;
    agent.obey(&set).await;
    controller.end().await;
    let mut settings = options("second");
    settings.settings.suspect_after = Duration::from_secs(2);
    settings.settings.lost_after = Duration::from_secs(3600);
    let second = start(&database.store, settings);
    second.leads().await;
    let began = tokio::time::Instant::now();
    let liveness = |s: &evenkeel::model::Snapshot| s.nodes[&agent.node].liveness;
    assert_eq!(second.handle.read(liveness).unwrap(), Liveness::Ready);
    eventually("suspicion", async || {
        second.handle.read(liveness).unwrap() == Liveness::Suspect
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(1500));

    let mut again = FakeAgent::connect(&second.handle, "node-1");
    let told = again.set().await;
    assert_eq!(
        told.instances.keys().collect::<Vec<_>>(),
        set.instances.keys().collect::<Vec<_>>(),
        "silence alone moves nothing at once"
    );
    again.obey(&told).await;
    assert_eq!(second.handle.read(liveness).unwrap(), Liveness::Ready);
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_asked_for_on_the_stream_and_handed_on() {
    let (controller, _repository, mut agent, _database) = world(1).await;
    let set = agent.set_where(|set| running(set) == 1).await;
    agent.obey(&set).await;
    let query = LogQuery {
        tail: 10,
        follow: false,
    };
    let mut lines = controller.handle.logs(&web(), None, query).await.unwrap();
    let id = within("the request", async {
        loop {
            match agent.stream.next().await {
                Some(ToAgent::Logs { id, tail: 10, .. }) => return id,
                Some(_) => {}
                None => panic!("the stream has ended"),
            }
        }
    })
    .await;
    let sink = controller.handle.log_sink(id).unwrap();
    assert!(matches!(
        controller.handle.log_sink(id),
        Err(Error::NoStream)
    ));
    sink.send("hello".to_owned()).await.unwrap();
    let line = within("a line", lines.next()).await.unwrap();
    assert_eq!((line.line.as_str(), line.slot), ("hello", 0));
    drop(sink);
    assert!(within("the end", lines.next()).await.is_none());

    drop(agent);
    eventually("the agent's goodbye", async || {
        matches!(
            controller.handle.logs(&web(), None, query).await,
            Err(Error::NoAgent(_))
        )
    })
    .await;
    controller.end().await;
}

/// The database was put back to an older copy: the nodes know later leaderships than it does.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_know_a_later_leadership_are_led_again() {
    let (controller, _repository, mut agent, _database) = world(1).await;
    let set = agent.set_where(|set| running(set) == 1).await;
    let mut ahead = agent.report(Vec::new());
    let known = (Epoch(set.epoch.0 + 5), Generation(set.generation.0 + 100));
    ahead.applied = Some(known);
    let refused = controller.handle.report(ahead.clone()).await;
    assert!(
        matches!(refused, Err(Error::NotLeader { .. })),
        "{refused:?}"
    );
    within("the old stream's end", async {
        while agent.stream.next().await.is_some() {}
    })
    .await;
    // It may still look like the leader it was: only the lease tells the two apart.
    eventually("a later leadership", async || {
        let lease = controller.handle.store().current_lease().await;
        matches!(lease, Ok(Some(lease)) if lease.epoch > known.0)
    })
    .await;
    controller.leads().await;
    let mut again = FakeAgent::connect(&controller.handle, "node-1");
    let told = again.set().await;
    assert!((told.epoch, told.generation) > known, "{:?}", told.epoch);
    assert_eq!(told.instances, set.instances);
    controller.handle.report(ahead).await.unwrap();

    // But not those of another cluster, whose instances it would take for leftovers.
    let mut foreign = FakeAgent::connect(&controller.handle, "node-2");
    let mut report = foreign.report(Vec::new());
    report.applied = Some((Epoch(told.epoch.0 + 1), Generation(1)));
    let refused = controller.handle.report(report).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let mut absurd = again.report(Vec::new());
    absurd.applied = Some((Epoch(i64::MAX), Generation(1)));
    let refused = controller.handle.report(absurd).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(controller.handle.status().role, Role::Leader);
    controller.end().await;
}
