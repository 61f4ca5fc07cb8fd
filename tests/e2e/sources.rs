//! Git in trouble: nothing that cannot be read is ever a delete.

use std::path::Path;
use std::process::Stdio;

use crate::cluster::{Cluster, LONG, Setup, pause};
use crate::git_http::Mode;
use crate::observer::Observer;
use crate::specs::{Version, named, web};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_beside_good_ones() {
    let c = Cluster::start(&[
        ("web.yaml", &web(Version::Good("one"))),
        ("api.yaml", &named("api", Version::Good("one"))),
    ])
    .await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    c.wait_healthy("api", &head).await;
    let broken = web(Version::Good("two")).replace("replicas: 3", "replicaz: 3");
    let second = c
        .commit(&[
            ("web.yaml", Some(&broken)),
            ("api.yaml", Some(&named("api", Version::Good("two")))),
        ])
        .await;
    c.wait_healthy("api", &second).await;
    let app = c
        .wait_app("web", "invalid", |a| a["sync"] == "invalid")
        .await;
    assert_eq!(app["running"]["commit"], head.as_str());
    assert_eq!(app["health"], "healthy");
    let problems = c.source().await["problems"].to_string();
    assert!(
        problems.contains("replicaz") && problems.contains("replicas"),
        "{problems}"
    );
    // Not YAML at all.
    c.commit(&[("web.yaml", Some("{{{ nothing"))]).await;
    c.wait_app("web", "still invalid", |a| a["sync"] == "invalid")
        .await;
    assert_eq!(c.containers().await.len(), 4);
    let fixed = c
        .commit(&[("web.yaml", Some(&web(Version::Good("three"))))])
        .await;
    c.wait_healthy("web", &fixed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mass_deletion_waits_for_a_person_and_the_rest_is_applied() {
    let files: Vec<(String, String)> = ["a", "b", "c", "d"]
        .iter()
        .map(|n| (format!("{n}.yaml"), named(n, Version::Good("one"))))
        .collect();
    let list: Vec<(&str, &str)> = files
        .iter()
        .map(|(p, t)| (p.as_str(), t.as_str()))
        .collect();
    let c = Cluster::start(&list).await;
    let head = c.repo.head("main").unwrap().to_string();
    for name in ["a", "b", "c", "d"] {
        c.wait_healthy(name, &head).await;
    }
    let second = c
        .commit(&[
            ("a.yaml", Some(&named("a", Version::Good("two")))),
            ("b.yaml", None),
            ("c.yaml", None),
            ("d.yaml", None),
        ])
        .await;
    c.wait_healthy("a", &second).await;
    c.wait_app("b", "held", |a| a["sync"] == "held").await;
    assert_eq!(c.containers().await.len(), 4);
    let (code, out, err) = c.cli(&["source", "approve", "repo"]);
    assert_eq!(code, 0, "{out}{err}");
    c.wait("apps", "only a is left", |apps| {
        !apps.to_string().contains("\"d\"")
    })
    .await;
    let end = std::time::Instant::now() + LONG;
    while c.containers().await.len() != 1 {
        assert!(
            std::time::Instant::now() < end,
            "{:?}",
            c.containers().await
        );
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_an_empty_tree_and_a_deleted_branch_remove_nothing() {
    let c = Cluster::start(&[("web.yaml", &web(Version::Good("one")))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let observer = Observer::start(&c, "web").await;

    c.git.set_mode(Mode::Outage);
    c.wait("sources/repo", "unreachable", |s| {
        s["outcome"].to_string().contains("nreachable")
    })
    .await;
    c.git.set_mode(Mode::Serve);
    c.wait("sources/repo", "ok again", |s| {
        s["outcome"].to_string().contains("ok")
    })
    .await;

    c.repo.commit("empty", &[("web.yaml", None)]);
    c.wait("sources/repo", "lost", |s| {
        s["outcome"].to_string().contains("lost")
    })
    .await;
    c.repo.reset("main", &head);
    c.wait("sources/repo", "ok again", |s| {
        s["outcome"].to_string().contains("ok")
    })
    .await;

    c.repo.delete_branch("main");
    c.wait("sources/repo", "branch missing", |s| {
        !s["outcome"].to_string().contains("ok")
    })
    .await;
    c.repo.reset("main", &head);
    c.wait("sources/repo", "ok again", |s| {
        s["outcome"].to_string().contains("ok")
    })
    .await;
    let seen = observer.finish().await;
    assert!(seen.events.is_empty(), "{seen:?}");
    assert!(seen.fewest_ready >= Some(3), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_force_push_is_followed_without_deleting() {
    let c = Cluster::start(&[("web.yaml", &web(Version::Good("one")))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let observer = Observer::start(&c, "web").await;
    let rewritten = c.repo.force_push(
        "main",
        "rewritten",
        &[("web.yaml", &web(Version::Good("two")))],
    );
    c.sync().await;
    c.wait_healthy("web", &rewritten).await;
    let seen = observer.finish().await;
    assert!(seen.fewest_ready >= Some(3), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_goes_on_after_a_restart() {
    let marks = tempfile::tempdir().unwrap();
    let started = marks.path().join("started");
    // It takes its time to go.
    let script = format!(
        "trap \"\" TERM; echo $$ >> {}; while :; do sleep 1; done",
        started.display()
    );
    let slow = format!(
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {{name: web, project: shop}}\nspec:\n  \
         process: {{command: [/bin/sh, -c, '{script}']}}\n  stopGracePeriod: 10s\n"
    );
    let setup = Setup {
        runtime: Some("process"),
        ..Setup::default()
    };
    let mut c = Cluster::start_with(setup, &[("web.yaml", &slow)]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let mut removal = c.cli_command(&["source", "remove", "repo", "--prune"]);
    let removal = removal.stdout(Stdio::piped()).stderr(Stdio::piped());
    let removal = removal.spawn().unwrap();
    c.wait("events?kind=app.undeclared", "undeclared", |events| {
        events["items"].as_array().is_some_and(|i| !i.is_empty())
    })
    .await;
    let source = c.source().await;
    assert_eq!(source["apps"], 1, "it is over already: {source:#}");
    c.kill();
    // Git still declares the app, and a controller that starts looks there.
    c.up().await;
    let done = tokio::task::spawn_blocking(|| removal.wait_with_output()).await;
    let done = done.unwrap().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}\n{}", c.log());
    assert_eq!(c.get("apps").await["items"], serde_json::json!([]));
    assert!(c.try_get("sources/repo").await.is_err());
    let pids = std::fs::read_to_string(&started).unwrap();
    let pids: Vec<&str> = pids.lines().collect();
    assert_eq!(pids.len(), 1, "it was started again");
    let process = Path::new("/proc").join(pids[0]);
    assert!(!process.exists(), "{} is still there", process.display());
}
