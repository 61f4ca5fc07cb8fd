//! The main job: deploy, update, heal, scale, take down.

use crate::cluster::Cluster;
use crate::observer::Observer;
use crate::specs::{Version, Web, named, web};

#[tokio::test(flavor = "multi_thread")]
async fn first_deploy_then_a_rolling_update_without_a_gap() {
    let c = Cluster::start(&[("web.yaml", &web(Version::Good("one")))]).await;
    let first = c.source().await["lastApplied"].clone();
    let head = c.repo.head("main").unwrap().to_string();
    let app = c.wait_healthy("web", &head).await;
    assert!(first.is_null() || first == head.as_str());
    assert_eq!(app["instances"].as_array().unwrap().len(), 3);
    assert_eq!(c.containers().await.len(), 3);

    let observer = Observer::start(&c, "web").await;
    let second = c
        .commit(&[("web.yaml", Some(&web(Version::Good("two"))))])
        .await;
    let app = c.wait_healthy("web", &second).await;
    assert_eq!(app["git"]["commit"], second.as_str());
    let seen = observer.finish().await;
    assert!(seen.fewest_ready >= Some(3), "{seen:?}");
    assert!(seen.most_running <= 4, "{seen:?}");
    assert_eq!(seen.events["create"], 3, "{seen:?}");
    assert_eq!(seen.events["destroy"], 3, "{seen:?}");
    assert!(seen.foreign.is_empty(), "{seen:?}");
    assert!(seen.answers["two"] > 0);

    // Every action has a recorded reason.
    let events = c.get("events?limit=200").await;
    let list = events["events"]
        .as_array()
        .or(events["items"].as_array())
        .unwrap();
    let stop = list
        .iter()
        .find(|e| e["kind"] == "instance.stopping")
        .expect("a stop");
    assert!(
        stop["message"].as_str().unwrap().contains("rollout to"),
        "{stop}"
    );
    let started = list
        .iter()
        .filter(|e| e["kind"] == "rollout.started")
        .count();
    assert_eq!(started, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_changes_nothing_restarts_nothing() {
    let c = Cluster::start(&[
        ("web.yaml", &web(Version::Good("one"))),
        ("other.yaml", &named("other", Version::Good("one"))),
    ])
    .await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    c.wait_healthy("other", &head).await;
    let observer = Observer::start(&c, "web").await;
    let second = c
        .commit(&[
            ("README.md", Some("words")),
            ("other.yaml", Some(&named("other", Version::Good("two")))),
        ])
        .await;
    c.wait_healthy("other", &second).await;
    let app = c.app("web").await;
    assert_eq!(app["running"]["commit"], head.as_str());
    assert_eq!(app["sync"], "synced");
    let seen = observer.finish().await;
    // Only `other` was exchanged.
    assert_eq!(
        (seen.events["create"], seen.events["destroy"]),
        (1, 1),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_removed_by_hand_is_put_back() {
    let c = Cluster::start(&[("web.yaml", &named("web", Version::Good("one")))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    let app = c.wait_healthy("web", &head).await;
    let old = app["instances"][0]["containerId"]
        .as_str()
        .unwrap()
        .to_owned();
    c.remove_container(&old).await;
    let app = c
        .wait_app("web", "put back", |a| {
            a["health"] == "healthy" && a["instances"][0]["containerId"] != old.as_str()
        })
        .await;
    assert_eq!(app["running"]["commit"], head.as_str());
    let events = c.get("events?limit=100").await.to_string();
    assert!(
        events.contains("removed outside Evenkeel") || events.contains("instance.restarted"),
        "{events}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_app_is_taken_down_and_replicas_follow_git() {
    let c = Cluster::start(&[
        ("web.yaml", &web(Version::Good("one"))),
        ("old.yaml", &named("old", Version::Good("one"))),
    ])
    .await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    c.wait_healthy("old", &head).await;
    let observer = Observer::start(&c, "web").await;
    let five = Web {
        replicas: 5,
        ..Web::default()
    };
    let second = c
        .commit(&[
            ("old.yaml", None),
            ("web.yaml", Some(&five.spec(Version::Good("one")))),
        ])
        .await;
    c.wait_healthy("web", &second).await;
    c.wait("apps", "old is gone", |apps| {
        !apps.to_string().contains("\"old\"")
    })
    .await;
    assert_eq!(c.containers().await.len(), 5);
    let seen = observer.finish().await;
    assert_eq!(
        (seen.events["create"], seen.events["destroy"]),
        (2, 1),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_file_that_changes_rolls_out() {
    let extra = "  files: {/tmp/page.html: conf/page.html}\n";
    let app = Web {
        replicas: 2,
        extra,
        ..Web::default()
    };
    let spec = app.spec(Version::Good("one"));
    let c = Cluster::start(&[("shop/web.yaml", &spec), ("shop/conf/page.html", "old")]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let second = c.commit(&[("shop/conf/page.html", Some("new"))]).await;
    let app = c.wait_healthy("web", &second).await;
    let address = app["instances"][0]["ports"]["http"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = reqwest::get(format!("http://{address}/page.html"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(page, "new");
    let events = c.get("events?limit=100").await.to_string();
    assert!(events.contains("files./tmp/page.html"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_on_the_live_container() {
    let app = |memory: &str| {
        let extra = format!("  resources: {{limits: {{memory: {memory}, cpu: 500m}}}}\n");
        Web {
            replicas: 1,
            extra: &extra,
            ..Web::default()
        }
        .spec(Version::Good("one"))
    };
    let c = Cluster::start(&[("web.yaml", &app("64Mi"))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let before = c.containers().await;
    let second = c.commit(&[("web.yaml", Some(&app("96Mi")))]).await;
    c.wait_healthy("web", &second).await;
    assert_eq!(before, c.containers().await);
    let end = std::time::Instant::now() + crate::cluster::LONG;
    loop {
        let found = c
            .docker()
            .inspect_container(&before[0], None)
            .await
            .unwrap();
        if found.host_config.unwrap().memory == Some(96 << 20) {
            return;
        }
        assert!(std::time::Instant::now() < end, "the limit never changed");
        crate::cluster::pause().await;
    }
}
