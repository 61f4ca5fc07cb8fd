//! `source sync --wait` and `source approve --wait`: exit codes by what becomes of the commit.

use serde_json::Value;

use super::Book;
use super::steer::spec;
use crate::cluster::{Cluster, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_waited_sync_ends_with_the_commits_verdict() {
    // Nothing but what is asked for here syncs.
    let setup = Setup {
        runtime: Some("process"),
        interval: "1h",
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &spec("one", 2))]).await;
    let book = Book::new(|args| c.cli(args));
    let sync = ["source", "sync", "repo", "--wait"];
    let (out, err) = book.expect(&sync, 0);
    assert!(err.contains("healthy: shop/web"), "{err}");
    assert!(out.starts_with("repo  ok"), "{out}");

    // It waits for the sync, and for what follows from it.
    let second = c
        .repo
        .commit("two", &[("web.yaml", Some(&spec("two", 2)))])
        .to_string();
    let shown = book.json(&sync);
    assert_eq!(shown["lastApplied"], second.as_str());
    let app = c.app("web").await;
    assert_eq!(app["running"]["commit"], second.as_str(), "{app:#}");
    assert_eq!(app["rollout"], Value::Null);

    let bad = spec("bad", 2).replace("exec sleep 3600", "exit 7");
    let bad_commit = c
        .repo
        .commit("bad", &[("web.yaml", Some(&bad))])
        .to_string();
    let (_, err) = book.expect(&sync, 1);
    assert!(
        err.contains(&bad_commit[..8]) && err.contains("exited with code 7"),
        "{err}"
    );
    assert!(err.contains("\n  try: evenkeel status shop/web"), "{err}");
    same_words(&book, &c).await;

    c.repo.commit(
        "invalid",
        &[("web.yaml", Some("apiVersion: evenkeel.dev/v1\nkind: App\n"))],
    );
    let (_, err) = book.expect(&sync, 1);
    assert!(err.contains("web.yaml:"), "{err}");

    let slow = spec("slow", 2).replace("300ms", "1h");
    c.repo.commit("slow", &[("web.yaml", Some(&slow))]);
    let (_, err) = book.expect(&[&sync[..], &["--timeout", "3s"]].concat(), 4);
    assert!(
        err.contains("gave up waiting after 3s") && err.contains("rolling out"),
        "{err}"
    );
    assert!(err.contains("instances updated"), "how far it is: {err}");

    // What nobody rolls out is not waited for.
    book.expect(&["rollout", "abort", "web", "--wait"], 0);
    book.expect(&["suspend", "web", "--reason", "a sale"], 0);
    c.repo
        .commit("three", &[("web.yaml", Some(&spec("three", 2)))]);
    let (_, err) = book.expect(&sync, 1);
    assert!(err.contains("a sale"), "{err}");
    assert!(err.contains("\n  try: evenkeel resume shop/web"), "{err}");
    let (_, err) = book.expect(&["resume", "web", "--wait"], 0);
    assert!(err.contains("shop/web: "), "{err}");
    book.expect(&sync, 0);

    // A branch that went.
    let head = c.repo.head("main").unwrap().to_string();
    c.repo.delete_branch("main");
    let (_, err) = book.expect(&sync, 1);
    assert!(err.contains("cannot be followed"), "{err}");
    c.repo.reset("main", &head);
    held(&book, &c).await;
}

/// Three of four apps go only when somebody says so, and that is waited for to its end.
async fn held(book: &Book<'_>, c: &Cluster) {
    let sync = ["source", "sync", "repo", "--wait"];
    let app = |n: usize| spec("one", 1).replace("name: web", &format!("name: more-{n}"));
    let names = [0, 1, 2].map(|n| format!("more-{n}.yaml"));
    let texts = [0, 1, 2].map(app);
    let all: Vec<(&str, Option<&str>)> = (0..3)
        .map(|n| (names[n].as_str(), Some(texts[n].as_str())))
        .collect();
    c.repo.commit("four", &all);
    book.expect(&sync, 0);
    let none: Vec<(&str, Option<&str>)> = names.iter().map(|n| (n.as_str(), None)).collect();
    c.repo.commit("one", &none);
    let (_, err) = book.expect(&sync, 1);
    assert!(err.contains("evenkeel source approve repo"), "{err}");
    let (_, err) = book.expect(&["source", "approve", "repo", "--wait"], 0);
    assert!(err.contains("no app is changed by it"), "{err}");
    let (code, out, _) = c.cli(&["apps"]);
    assert!(code == 0 && !out.contains("more-"), "{out}");
}

/// A state has one name, wherever it is read: document, table, reason, record, metric.
async fn same_words(book: &Book<'_>, c: &Cluster) {
    let at_rest = |a: &Value| {
        let settled = a["sync"] == "quarantined" && a["health"] == "healthy";
        settled && a["rollout"].is_null()
    };
    c.wait_app("web", "back", at_rest).await;
    let (table, _) = book.expect(&["status"], 0);
    assert!(table.contains("shop/web  quarantined  healthy"), "{table}");
    let (why, _) = book.expect(&["why", "web"], 0);
    assert!(why.contains("is quarantined and healthy"), "{why}");
    let history = book.json(&["rollout", "history", "web"]);
    assert_eq!(history[1]["phase"], "rolledBack", "{history:#}");
    let (table, _) = book.expect(&["rollout", "history", "web"], 0);
    assert!(table.contains("  rolledBack  "), "{table}");
    let record = book.json(&["events", "--kind", "rollout.rolledBack"]);
    assert_eq!(record.as_array().unwrap().len(), 1);
    let metrics = c.http.get(format!("{}/metrics", c.url()));
    let metrics = metrics.bearer_auth(c.token()).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let of_web = "{project=\"shop\",app=\"web\"";
    for line in [
        format!("evenkeel_app_state{of_web},sync=\"quarantined\",health=\"healthy\"}} 1"),
        format!("evenkeel_rollouts_total{of_web},outcome=\"rolledBack\"}} 1"),
        format!("evenkeel_rollbacks_total{of_web}}} 1"),
        "evenkeel_apps_quarantined 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}: {metrics}");
    }
}
