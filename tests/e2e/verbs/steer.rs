//! What operators look at and steer, each verb as a table and as a document.

use serde_json::{Value, json};

use super::{Book, is_online};
use crate::cluster::{Cluster, Setup};

pub(super) fn spec(version: &str, replicas: u32) -> String {
    format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: web, project: shop}}
spec:
  process: {{command: ["/bin/sh", "-c", "echo started; exec sleep 3600"]}}
  env: {{VERSION: "{version}", DB_PASSWORD: "hunter{version}"}}
  replicas: {replicas}
  resources: {{requests: {{memory: 16Mi, cpu: 10m}}}}
  rollout: {{minHealthyTime: 300ms}}
  stopGracePeriod: 1s
"#
    )
}

fn ids(app: &Value) -> Vec<String> {
    let instances = app["instances"].as_array().unwrap();
    let running = instances.iter().filter(|i| i["stopping"] == false);
    running
        .map(|i| i["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_speaks_to_people_and_to_programs() {
    let setup = Setup {
        runtime: Some("process"),
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &spec("one", 2))]).await;
    let first = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &first).await;
    let book = Book::new(|args| c.cli(args));

    looks(&book, &c);
    restarts_and_scales(&book, &c).await;
    let second = suspends(&book, &c).await;
    rolls_back(&book, &c, &first, &second).await;
    steers_rollouts(&book, &c, &second).await;
    nodes(&book, &c).await;
    super::sources::sources(&book, &c).await;
    tokens(&book);
    plans(&book, &c);

    // Every verb there is, but those that need no server.
    book.check(is_online);
}

fn looks(book: &Book<'_>, c: &Cluster) {
    assert!(book.text(&["apps"]).contains("shop/web"));
    assert_eq!(book.json(&["apps"])[0]["sync"], "synced");
    assert!(
        book.text(&["apps", "--unwell"])
            .contains("all apps are synced and healthy")
    );
    assert!(book.text(&["status"]).contains("shop/web"));
    let status = book.yaml(&["status", "web"]);
    assert_eq!(
        (&status["health"], &status["replicas"]["ready"]),
        (&json!("healthy"), &json!(2))
    );
    assert_eq!(
        book.json(&["status", "web", "--wait"]),
        book.json(&["status", "web"])
    );
    assert!(
        book.text(&["why", "web"])
            .contains("shop/web is synced and healthy")
    );
    assert_eq!(book.json(&["why", "web"])["health"], "healthy");
    assert!(
        book.text(&["diff", "web"])
            .contains("what runs is what is declared")
    );
    assert_eq!(book.json(&["diff", "web"])["fields"], json!([]));
    assert!(
        book.text(&["events", "--app", "web"])
            .contains("rollout.succeeded")
    );
    let one = book.json(&["events", "--kind", "release.stable", "-n", "1"]);
    assert_eq!(
        (one.as_array().unwrap().len(), &one[0]["app"]),
        (1, &json!("shop/web"))
    );
    assert!(book.text(&["logs", "web"]).contains(" started\n"));
    // Lines come one by one, so each is a document.
    let args = [
        "logs",
        "web",
        "--tail",
        "1",
        "--instance",
        &ids(&book.json(&["status", "web"]))[0],
    ];
    let line = book.json(&args);
    assert_eq!(
        (&line["line"], &line["instance"]),
        (&json!("started"), &json!(args[5]))
    );
    assert_eq!(book.text(&["exec", "web", "--", "echo", "hi"]), "hi\n");
    let (code, out, _) = c.cli(&["exec", "web", "-o", "json", "--", "sh", "-c", "exit 4"]);
    book.programs.borrow_mut().insert("exec".into());
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &done["code"]), (4, &json!(4)));
}

async fn restarts_and_scales(book: &Book<'_>, c: &Cluster) {
    // Other instances of the same release, shown as a rollout.
    let before = ids(&c.app("web").await);
    let app = book.json(&["restart", "web", "--reason", "a leak", "--wait"]);
    assert_eq!(app["lastRollout"]["kind"], "restart", "{app:#}");
    assert_eq!(app["lastRollout"]["phase"], "succeeded");
    assert!(ids(&app).iter().all(|id| !before.contains(id)), "{app:#}");
    assert!(book.text(&["restart", "web", "--wait"]).contains("synced"));
    let history = book.json(&["rollout", "history", "web"]);
    assert_eq!(history[0]["kind"], "restart");
    assert!(history[1]["reason"].as_str().unwrap().contains("a leak"));
    assert!(
        book.text(&["rollout", "history", "web"])
            .contains("restart")
    );

    // Visible, and ended by name.
    let app = book.json(&["scale", "web", "3", "--for", "2h", "--wait"]);
    assert_eq!(app["replicas"]["ready"], 3, "{app:#}");
    assert_eq!(app["scaled"]["by"], "admin");
    assert!(
        book.text(&["status", "web"])
            .contains("scaled to 3 by admin until")
    );
    assert!(book.text(&["why", "web"]).contains("scaled to 3"));
    assert!(
        book.refused(&["scale", "web", "99999"], 2)
            .contains("10000")
    );
    assert!(
        book.text(&["scale", "web", "--reset", "--wait"])
            .contains("2/2")
    );
    assert_eq!(book.json(&["status", "web"])["scaled"], Value::Null);
    assert!(
        book.refused(&["scale", "web", "--reset"], 1)
            .contains("not scaled")
    );
}

/// Suspended for a time; what waits is shown field by field, secrets hidden.
async fn suspends(book: &Book<'_>, c: &Cluster) -> String {
    assert!(book.text(&["suspend", "web"]).contains("suspended"));
    assert!(book.text(&["resume", "web"]).contains("synced"));
    let app = book.json(&["suspend", "web", "--for", "1h", "--reason", "sale"]);
    assert!(app["suspended"]["until"].is_string(), "{app:#}");
    let second = c.commit(&[("web.yaml", Some(&spec("two", 2)))]).await;
    c.wait_app("web", "suspended", |a| {
        a["sync"] == "suspended" && a["git"]["commit"] == second.as_str()
    })
    .await;
    let text = book.text(&["diff", "web"]);
    assert!(
        text.contains("env.VERSION") && text.contains("+ two"),
        "{text}"
    );
    let hidden = !text.contains("hunter") && text.contains("env.DB_PASSWORD");
    assert!(hidden, "{text}");
    let app = book.json(&["resume", "web", "--wait"]);
    assert_eq!(
        (&app["sync"], &app["health"]),
        (&json!("synced"), &json!("healthy"))
    );
    c.wait_healthy("web", &second).await;
    assert!(book.text(&["rollout", "watch", "web"]).contains("synced"));
    assert_eq!(book.json(&["rollout", "watch", "web"])["sync"], "synced");
    assert!(
        book.refused(&["rollout", "pause", "web"], 1)
            .contains("no rollout of shop/web")
    );
    assert!(
        book.refused(&["rollout", "abort", "web"], 1)
            .contains("evenkeel rollback")
    );
    second
}

/// Back to a chosen release, until a new commit.
async fn rolls_back(book: &Book<'_>, c: &Cluster, first: &str, second: &str) {
    let app = book.json(&["rollback", "web", "--to", &first[..8], "--wait"]);
    assert_eq!(app["running"]["commit"], first, "{app:#}");
    assert_eq!(app["sync"], "quarantined");
    let words = "until a new commit changes the app";
    assert!(book.text(&["status", "web"]).contains(words));
    assert!(
        book.refused(&["rollback", "web", "--to", "ffffffff"], 1)
            .contains("can go back to")
    );
    let app = book.json(&["release", "web", "--wait"]);
    assert_eq!(app["running"]["commit"], second, "{app:#}");
    c.wait_healthy("web", second).await;
    assert!(
        book.text(&["rollback", "web", "--wait"])
            .contains("quarantined")
    );
    book.text(&["release", "web", "--wait"]);
    c.wait_healthy("web", second).await;
}

/// A paused rollout stands; resumed it goes on, aborted it goes back.
async fn steers_rollouts(book: &Book<'_>, c: &Cluster, second: &str) {
    let begins = async |version: &str| {
        let slow = spec(version, 2).replace("300ms", "20s");
        let commit = c.commit(&[("web.yaml", Some(&slow))]).await;
        c.wait_app("web", "on its way", |a| {
            a["rollout"]["to"]["commit"] == commit.as_str()
        })
        .await;
        commit
    };
    let third = begins("three").await;
    let app = book.json(&["rollout", "pause", "web", "--reason", "look"]);
    assert_eq!(app["rollout"]["phase"], "paused", "{app:#}");
    assert!(
        book.refused(&["rollout", "pause", "web"], 1)
            .contains("admin paused it: look")
    );
    assert!(book.refused(&["restart", "web"], 1).contains("under way"));
    assert_eq!(
        book.json_with(&["rollout", "watch", "web"], 1)["rollout"]["phase"],
        "paused"
    );
    assert!(
        book.text(&["rollout", "resume", "web"])
            .contains("shop/web")
    );
    assert!(book.text(&["rollout", "pause", "web"]).contains("shop/web"));
    assert_eq!(
        book.json(&["rollout", "resume", "web"])["rollout"]["to"]["commit"],
        third.as_str()
    );
    let app = book.json(&["rollout", "abort", "web", "--wait"]);
    assert_eq!(app["running"]["commit"], second, "{app:#}");
    c.wait_rolled_back("web", &third).await;

    let fourth = begins("four").await;
    assert!(
        book.text(&["rollout", "abort", "web", "--wait"])
            .contains("quarantined")
    );
    c.wait_rolled_back("web", &fourth).await;
}

/// The only one there is cannot be emptied, and it is said why.
async fn nodes(book: &Book<'_>, c: &Cluster) {
    assert_eq!(book.json(&["nodes"])[0]["name"], "host");
    assert!(
        book.text(&["cordon", "host", "--reason", "a disk"])
            .contains("cordoned")
    );
    assert!(book.text(&["nodes"]).contains("by admin: a disk"));
    assert!(
        book.refused(&["cordon", "host"], 1)
            .contains("cordoned already, by admin")
    );
    assert_eq!(book.json(&["uncordon", "host"])["scheduling"], "active");
    assert_eq!(
        book.json(&["cordon", "host"])["schedulingNote"]["by"],
        "admin"
    );
    assert!(book.text(&["uncordon", "host"]).contains("active"));
    let drained = book.json_with(&["drain", "host", "--wait"], 1);
    let stays = drained["remaining"][0]["stays"].as_str().unwrap();
    assert!(stays.contains("no other node can take it"), "{stays}");
    assert!(book.text(&["nodes"]).contains("still holds"));
    assert_eq!(c.app("web").await["replicas"]["ready"], 2);
    book.text(&["uncordon", "host"]);
    assert!(book.text(&["drain", "host"]).contains("draining"));
    book.text(&["uncordon", "host"]);
    assert!(
        book.refused(&["drain", "nowhere"], 1)
            .contains("no node nowhere")
    );
}

fn tokens(book: &Book<'_>) {
    let made = book.json(&[
        "token", "create", "jane", "--role", "operator", "--only", "shop",
    ]);
    assert_eq!(
        (&made["name"], &made["role"]),
        (&json!("jane"), &json!("operator"))
    );
    let secret = made["token"].as_str().unwrap();
    assert!(
        book.text(&["token", "create", "ci"])
            .contains("This is token ci, viewer of all")
    );
    let list = book.text(&["token", "list"]);
    assert!(list.contains("jane") && !list.contains(secret), "{list}");
    let listed = book.json(&["token", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(secret));
    assert!(
        book.text(&["--token", secret, "status", "web"])
            .contains("shop/web")
    );
    assert_eq!(book.text(&["token", "revoke", "ci"]), "revoked token ci\n");
    let revoked = book.json(&["token", "revoke", "jane"]);
    assert_eq!(revoked, json!({"name": "jane", "revoked": true}));
    let err = book.refused(&["--token", secret, "status"], 3);
    assert!(err.contains("EVENKEEL_TOKEN"), "{err}");
    assert!(
        book.refused(&["token", "revoke", "jane"], 1)
            .contains("jane")
    );
}

fn plans(book: &Book<'_>, c: &Cluster) {
    let dir = c.dir.path().join("checkout");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("web.yaml"), spec("five", 2)).unwrap();
    let dir = dir.to_str().unwrap();
    let text = book.text(&["plan", dir]);
    assert!(text.contains("shop/web") && text.contains("five"), "{text}");
    let plan = book.json_with(&["plan", dir, "--source", "repo", "--detailed-exitcode"], 5);
    assert_eq!(plan["verdict"], "changes");
}
