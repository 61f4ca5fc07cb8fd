//! The command line on a live cluster.

use crate::cluster::Cluster;
use crate::specs::{Version, web};

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_on_a_live_cluster() {
    let c = Cluster::start(&[("web.yaml", &web(Version::Good("one")))]).await;
    let first = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &first).await;
    let ok = |args: &[&str]| {
        let (code, out, err) = c.cli(args);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    };
    assert!(ok(&["status"]).contains("web"));
    assert!(ok(&["status", "web", "-p", "shop"]).contains("healthy"));
    let json = ok(&["status", "shop/web", "-o", "json"]);
    let app: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(app["sync"], "synced");
    assert!(ok(&["nodes"]).contains("host"));
    assert!(ok(&["source", "list"]).contains("repo"));
    assert!(ok(&["source", "sync", "repo"]).contains("repo"));
    assert!(ok(&["events"]).contains("rollout.started"));
    assert!(!ok(&["why", "shop/web"]).is_empty());
    ok(&["logs", "shop/web"]);

    // Suspended: a commit waits; resumed: it goes out.
    ok(&["suspend", "shop/web"]);
    let second = c
        .commit(&[("web.yaml", Some(&web(Version::Good("two"))))])
        .await;
    c.wait_app("web", "suspended", |a| {
        a["sync"] == "suspended" && a["git"]["commit"] == second.as_str()
    })
    .await;
    assert!(ok(&["why", "shop/web"]).contains("resume"));
    ok(&["resume", "shop/web"]);
    c.wait_healthy("web", &second).await;

    // Rolled back by hand: held until released.
    ok(&["rollback", "shop/web"]);
    c.wait_app("web", "back at the first", |a| {
        a["running"]["commit"] == first.as_str()
    })
    .await;
    c.wait_rolled_back("web", &second).await;
    ok(&["release", "shop/web"]);
    c.wait_healthy("web", &second).await;

    // Refusals say what to do, with the right exit code.
    let (code, _, err) = c.cli(&["release", "shop/web"]);
    assert_eq!(code, 1, "{err}");
    let (code, _, err) = c.cli(&["status", "shop/nothing"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("evenkeel status"), "{err}");
    let (code, _, _) = c.cli(&["no-such-verb"]);
    assert_eq!(code, 2);
    let (code, _, err) = c.cli(&["--url", "http://127.0.0.1:9", "status"]);
    assert_eq!(code, 3, "{err}");
}
