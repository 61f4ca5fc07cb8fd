//! Killed with -9 in the middle of a rollout and started again: the end is the
//! same, nothing restarts that did not need to, nothing stops serving.

use std::time::Instant;

use crate::cluster::{Cluster, LONG, Setup, pause};
use crate::engine::Engine;
use crate::observer::{Observer, Seen};
use crate::specs::{Version, Web, web};

fn slow() -> Web<'static> {
    Web {
        rollout: "{minHealthyTime: 1500ms, startAttempts: 2}",
        ..Web::default()
    }
}

async fn rolling(c: &Cluster) -> String {
    let second = c
        .commit(&[("web.yaml", Some(&slow().spec(Version::Good("two"))))])
        .await;
    c.wait_app("web", "in the middle", |a| {
        a["instances"].as_array().is_some_and(|list| {
            list.iter()
                .any(|i| i["commit"] == second.as_str() && i["ready"] == true)
        })
    })
    .await;
    second
}

fn exact(seen: &Seen) {
    assert!(seen.fewest_ready >= Some(3), "{seen:?}");
    assert!(seen.most_running <= 4, "{seen:?}");
    assert_eq!(seen.events["create"], 3, "{seen:?}");
    assert_eq!(seen.events["destroy"], 3, "{seen:?}");
    assert!(seen.foreign.is_empty(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_process_dies_mid_rollout() {
    let mut c = Cluster::start(&[("web.yaml", &slow().spec(Version::Good("one")))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let observer = Observer::start(&c, "web").await;
    let second = rolling(&c).await;
    c.kill();
    // Nodes keep serving with no controller and no database.
    let samples = observer.seen().samples;
    let end = Instant::now() + LONG;
    while observer.seen().samples < samples + 20 {
        assert!(Instant::now() < end);
        pause().await;
    }
    c.up().await;
    c.wait_healthy("web", &second).await;
    exact(&observer.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_and_start_restarts_nothing() {
    let mut c = Cluster::start(&[("web.yaml", &web(Version::Good("one")))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let observer = Observer::start(&c, "web").await;
    c.stop().await;
    c.up().await;
    c.wait_healthy("web", &head).await;
    let seen = observer.finish().await;
    assert!(seen.events.is_empty(), "{seen:?}");
    assert!(seen.fewest_ready >= Some(3), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_dies_mid_rollout() {
    let c = Cluster::start(&[("web.yaml", &slow().spec(Version::Good("one")))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let observer = Observer::start(&c, "web").await;
    let second = rolling(&c).await;
    let pid = nix::unistd::Pid::from_raw(c.postmaster());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    c.wait_healthy("web", &second).await;
    exact(&observer.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_dies_mid_rollout() {
    let mut engine = Engine::start().await;
    let setup = Setup {
        socket: engine.socket(),
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &slow().spec(Version::Good("one")))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let second = rolling(&c).await;
    engine.kill();
    // The agent has noticed; nothing may be concluded from it.
    let end = Instant::now() + LONG;
    while !c.whole_log().contains("the runtime does not answer") {
        assert!(Instant::now() < end, "nobody noticed:\n{}", c.log());
        pause().await;
    }
    engine.start_again().await;
    let app = c.wait_healthy("web", &second).await;
    assert!(app["rejected"].is_null(), "{app}");
    assert_eq!(c.containers().await.len(), 3);
    drop(c);
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_and_agent_die_apart_mid_rollout() {
    let setup = Setup {
        database: Some(crate::pg::url().await),
        ..Setup::default()
    };
    let spec = slow().spec(Version::Good("one"));
    let mut c = Cluster::start_with(setup, &[("web.yaml", &spec)]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let observer = Observer::start(&c, "web").await;
    let second = rolling(&c).await;
    c.kill_agent();
    c.start_agent();
    c.wait_app("web", "further on", |a| {
        let new = a["instances"].as_array().map_or(0, |list| {
            list.iter()
                .filter(|i| i["commit"] == second.as_str() && i["ready"] == true)
                .count()
        });
        new >= 2
    })
    .await;
    c.kill();
    c.up().await;
    c.wait_healthy("web", &second).await;
    exact(&observer.finish().await);
}
