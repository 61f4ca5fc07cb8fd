//! An Engine that is killed, stopped and started again under its instances.

use std::time::{Duration, Instant};

use bollard::query_parameters::KillContainerOptionsBuilder;
use evenkeel::agent::runtime::docker::Docker;
use evenkeel::agent::runtime::{FoundState, Hint, LogQuery, Runtime as _};
use evenkeel::model::FailureKind;
use evenkeel::model::spec::PullPolicy;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use crate::engine::{Engine, IMAGE};
use crate::support::{RUN_ON, Site, instance};

/// The next hint that is not about a single instance; at most 30 s.
async fn next_wide(hints: &mut BoxStream<'static, Hint>) -> Hint {
    let next = async {
        loop {
            match hints.next().await.expect("the watch never ends") {
                Hint::Instance(_) => {}
                wide @ (Hint::All | Hint::Down) => return wide,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), next)
        .await
        .expect("a hint comes")
}

/// What an agent that was away meanwhile thinks of it.
async fn verdict_of_a_fresh_agent(site: &Site, id: evenkeel::model::InstanceId) -> FoundState {
    let fresh = Docker::new(site.config.clone());
    fresh.inspect(id).await.unwrap().unwrap().state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_takes_along_is_not_the_apps_fault() {
    let mut engine = Engine::start().await;
    let site = Site::at(&engine.socket());
    let mut hints = site.docker.watch();
    assert_eq!(next_wide(&mut hints).await, Hint::All);

    let steady = instance(RUN_ON, |_| {});
    let crashed = instance("exit 7", |_| {});
    let before = site.run(&steady).await;
    site.run(&crashed).await;
    let (exit, by_runtime) = site.exit(crashed.id).await;
    assert_eq!((exit.code, by_runtime), (Some(7), false));

    // kill -9: the containers live on until the next Engine finds them.
    engine.kill();
    assert_eq!(next_wide(&mut hints).await, Hint::Down);
    let began = Instant::now();
    let cluster = &site.config.cluster;
    for error in [
        site.docker.inspect(steady.id).await.unwrap_err(),
        site.docker.list().await.unwrap_err(),
        site.docker.start(crashed.id).await.unwrap_err(),
        site.docker.create(cluster, &steady).await.unwrap_err(),
        site.docker
            .prepare(IMAGE, PullPolicy::Missing)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind, FailureKind::RuntimeUnavailable, "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "it fails fast");
    engine.start_again().await;
    assert_eq!(next_wide(&mut hints).await, Hint::All);
    let (exit, by_runtime) = site.exit(steady.id).await;
    assert!(by_runtime, "{exit:?}");
    let (_, by_runtime) = site.exit(crashed.id).await;
    assert!(!by_runtime, "a crash stays a crash");
    let verdict = verdict_of_a_fresh_agent(&site, steady.id).await;
    assert!(
        matches!(
            verdict,
            FoundState::Exited {
                by_runtime: true,
                ..
            }
        ),
        "{verdict:?}"
    );

    // It comes back as the same instance, and a crash of its own is its own.
    site.docker.start(steady.id).await.unwrap();
    let after = site.docker.inspect(steady.id).await.unwrap().unwrap();
    assert_eq!(after.state, FoundState::Running);
    assert_eq!(after.handle, before.handle);
    assert_ne!(after.starts, before.starts);
    let options = KillContainerOptionsBuilder::default()
        .signal("KILL")
        .build();
    let client = engine.client();
    client
        .kill_container(&after.handle, Some(options))
        .await
        .unwrap();
    let (exit, by_runtime) = site.exit(steady.id).await;
    assert_eq!((exit.code, by_runtime), (Some(137), false));

    // Stopped as by a service manager: it stops its containers before it goes.
    site.docker.start(steady.id).await.unwrap();
    engine.stop().await;
    assert_eq!(next_wide(&mut hints).await, Hint::Down);
    engine.start_again().await;
    assert_eq!(next_wide(&mut hints).await, Hint::All);
    let (exit, by_runtime) = site.exit(steady.id).await;
    assert!(by_runtime, "{exit:?}");
    let verdict = verdict_of_a_fresh_agent(&site, steady.id).await;
    assert!(
        matches!(
            verdict,
            FoundState::Exited {
                by_runtime: true,
                ..
            }
        ),
        "{verdict:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_in_flight_end_when_the_engine_is_killed() {
    let mut engine = Engine::start().await;
    let site = Site::at(&engine.socket());
    let stubborn = instance(
        "trap 'echo asked' TERM; while :; do sleep 0.05; done",
        |_| {},
    );
    site.run(&stubborn).await;
    let id = stubborn.id;
    let follow = LogQuery {
        tail: 10,
        follow: true,
    };
    let mut lines = site.docker.logs(id, follow).await.unwrap();
    let docker = site.docker.clone();
    let stopping = tokio::spawn(async move { docker.stop(id, Duration::from_secs(60)).await });
    let deadline = Duration::from_secs(15);
    let line = tokio::time::timeout(deadline, lines.next()).await.unwrap();
    assert_eq!(line.unwrap().unwrap(), "asked");
    engine.kill();
    let result = tokio::time::timeout(deadline, stopping).await.unwrap();
    let error = result.unwrap().unwrap_err();
    assert_eq!(error.kind, FailureKind::RuntimeUnavailable, "{error}");
    tokio::time::timeout(deadline, async { while lines.next().await.is_some() {} })
        .await
        .expect("the log ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_starts_before_its_engine_finds_it_later() {
    let mut engine = Engine::start().await;
    let site = Site::at(&engine.socket());
    engine.stop().await;
    let mut hints = site.docker.watch();
    assert_eq!(next_wide(&mut hints).await, Hint::Down);
    let error = Docker::connect(site.config.clone()).await.err().unwrap();
    assert_eq!(error.kind, FailureKind::RuntimeUnavailable);
    engine.start_again().await;
    assert_eq!(next_wide(&mut hints).await, Hint::All);
    let it = instance(RUN_ON, |_| {});
    assert_eq!(site.run(&it).await.state, FoundState::Running);
}
