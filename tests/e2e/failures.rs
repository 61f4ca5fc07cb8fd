//! Versions that fail: rolled back by themselves, quarantined, with evidence.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::observer::Observer;
use crate::specs::{Version, Web, web};

async fn deployed(first: &str) -> (Cluster, String) {
    let c = Cluster::start(&[("web.yaml", first)]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    (c, head)
}

fn seen_all_along(seen: &crate::observer::Seen) {
    assert!(seen.fewest_ready >= Some(3), "{seen:?}");
    assert!(seen.most_running <= 4, "{seen:?}");
    assert!(seen.foreign.is_empty(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_version_rolls_back_with_evidence_and_stays_quarantined() {
    let (c, good) = deployed(&web(Version::Good("one"))).await;
    let observer = Observer::start(&c, "web").await;
    let bad = c
        .commit(&[("web.yaml", Some(&web(Version::Crashes("two"))))])
        .await;
    let app = c.wait_rolled_back("web", &bad).await;
    assert_eq!(app["running"]["commit"], good.as_str());
    assert_eq!(app["git"]["commit"], bad.as_str());
    let evidence = &app["rejected"]["evidence"];
    assert_eq!(evidence["lastExit"]["code"], 3, "{evidence}");
    assert!(
        evidence["logTail"]
            .to_string()
            .contains("cannot open the database"),
        "{evidence}"
    );
    // Ten further polls: nothing is tried again.
    let count = |source: &Value| source["lastAttemptAt"].as_str().map(str::to_owned);
    let mut polls = 0;
    let mut last = count(&c.source().await);
    let before = observer.seen();
    while polls < 10 {
        let now = c.wait("sources/repo", "polled", |s| count(s) != last).await;
        last = count(&now);
        polls += 1;
    }
    let after = c.app("web").await;
    assert_eq!(after["sync"], "quarantined");
    let seen = observer.finish().await;
    assert_eq!(before.events.get("create"), seen.events.get("create"));
    assert_eq!(seen.events["create"], 1, "{seen:?}");
    assert_eq!(seen.events["destroy"], 1, "{seen:?}");
    seen_all_along(&seen);
    let (code, out, _) = c.cli(&["status", "shop/web"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("quarantined") && out.contains("cannot open the database"),
        "{out}"
    );

    // The fix goes out by itself.
    let fixed = c
        .commit(&[("web.yaml", Some(&web(Version::Good("three"))))])
        .await;
    let app = c.wait_healthy("web", &fixed).await;
    assert!(app["rejected"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_second_replica_fails_the_first_is_restored_too() {
    let (c, good) = deployed(&web(Version::Good("one"))).await;
    let observer = Observer::start(&c, "web").await;
    let bad = c
        .commit(&[("web.yaml", Some(&web(Version::BadBeyondFirst("two"))))])
        .await;
    let app = c.wait_rolled_back("web", &bad).await;
    assert_eq!(app["running"]["commit"], good.as_str());
    let seen = observer.finish().await;
    seen_all_along(&seen);
    assert!(seen.answers.get("two").is_some_and(|n| *n > 0), "{seen:?}");
    // New slot 0, the failing slot 1, and slot 0 of the old version again.
    assert_eq!(seen.events["create"], 3, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn never_ready_within_the_deadline() {
    let policy = "{minHealthyTime: 300ms, healthyDeadline: 3s}";
    let app = Web {
        rollout: policy,
        ..Web::default()
    };
    let (c, good) = deployed(&app.spec(Version::Good("one"))).await;
    let observer = Observer::start(&c, "web").await;
    let bad = c
        .commit(&[("web.yaml", Some(&app.spec(Version::NeverReady("two"))))])
        .await;
    let app = c.wait_rolled_back("web", &bad).await;
    assert_eq!(app["running"]["commit"], good.as_str());
    assert!(
        app["rejected"]["reason"]
            .as_str()
            .unwrap()
            .contains("healthyDeadline")
    );
    assert_eq!(app["rejected"]["evidence"]["lastProbe"]["passed"], false);
    seen_all_along(&observer.finish().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_stops_nothing() {
    let (c, good) = deployed(&web(Version::Good("one"))).await;
    let observer = Observer::start(&c, "web").await;
    let missing = Web {
        image: "evenkeel-test:no-such-tag",
        extra: "  imagePullPolicy: never\n",
        ..Web::default()
    };
    let bad = c
        .commit(&[("web.yaml", Some(&missing.spec(Version::Good("two"))))])
        .await;
    let app = c.wait_rolled_back("web", &bad).await;
    assert_eq!(app["running"]["commit"], good.as_str());
    let seen = observer.finish().await;
    seen_all_along(&seen);
    assert_eq!(seen.events.get("create"), None, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_that_fails_says_so_and_a_fix_repairs_it() {
    let c = Cluster::start(&[("web.yaml", &web(Version::Crashes("one")))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    let app = c
        .wait_app("web", "failed", |a| {
            a["sync"] == "quarantined" && a["health"] == "failed"
        })
        .await;
    assert_eq!(app["rejected"]["commit"], head.as_str());
    let fixed = c
        .commit(&[("web.yaml", Some(&web(Version::Good("two"))))])
        .await;
    c.wait_healthy("web", &fixed).await;
    assert_eq!(c.containers().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_commit_takes_over_from_a_failing_one() {
    let (c, _) = deployed(&web(Version::Good("one"))).await;
    let observer = Observer::start(&c, "web").await;
    c.commit(&[("web.yaml", Some(&web(Version::NeverReady("two"))))])
        .await;
    c.wait_app("web", "rolling", |a| !a["rollout"].is_null())
        .await;
    let fixed = c
        .commit(&[("web.yaml", Some(&web(Version::Good("three"))))])
        .await;
    c.wait_healthy("web", &fixed).await;
    seen_all_along(&observer.finish().await);
}
