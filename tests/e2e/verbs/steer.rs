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
    follows(&book, &c);
    as_seen(&book);

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
        book.json(&["status", "web", "--wait", "--timeout", "1m"]),
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
    let of_repo = book.json(&["events", "--source", "repo", "--kind", "source.added"]);
    assert_eq!(of_repo.as_array().unwrap().len(), 1);
    let of_none = book.json(&["events", "--source", "other"]);
    assert_eq!(of_none, json!([]));
    assert_eq!(book.json(&["apps", "--source", "other"]), json!([]));
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
    let instance = &args[5][..8];
    let exec = [
        "exec",
        "web",
        "--instance",
        instance,
        "--timeout",
        "20s",
        "--reason",
        "a look",
    ];
    let said = book.text(&[&exec[..], &["--", "sh", "-c", "echo $EVENKEEL_INSTANCE"]].concat());
    assert_eq!(said, format!("{}\n", args[5]));
    let ran = book.json(&["events", "--kind", "instance.exec", "--limit", "1"]);
    assert!(
        ran[0]["message"].as_str().unwrap().contains("a look"),
        "{ran}"
    );
    let long = ["exec", "web", "--timeout", "300ms", "--", "sleep", "60"];
    let told = book.refused(&long, 1);
    assert!(told.contains("had not ended after 300ms"), "{told}");
    let (code, out, _) = c.cli(&["exec", "web", "-o", "json", "--", "sh", "-c", "exit 4"]);
    book.programs.borrow_mut().insert("exec".into());
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &done["code"]), (4, &json!(4)));
}

async fn restarts_and_scales(book: &Book<'_>, c: &Cluster) {
    // Other instances of the same release, shown as a rollout.
    let before = ids(&c.app("web").await);
    let app = book.json(&[
        "restart",
        "web",
        "--reason",
        "a leak",
        "--wait",
        "--timeout",
        "2m",
    ]);
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
    let app = book.json(&[
        "scale",
        "web",
        "3",
        "--for",
        "2h",
        "--reason",
        "a sale",
        "--wait",
        "--timeout",
        "2m",
    ]);
    assert_eq!(app["replicas"]["ready"], 3, "{app:#}");
    assert_eq!(app["scaled"]["by"], "admin");
    let told = book.json(&["events", "--kind", "app.scaled", "-n", "1"]);
    assert!(
        told[0]["message"].as_str().unwrap().contains("a sale"),
        "{told}"
    );
    assert!(
        book.text(&["status", "web"])
            .contains("scaled to 3 by admin until")
    );
    assert!(book.text(&["why", "web"]).contains("scaled to 3"));
    let told = book.refused(&["scale", "web", "99999"], 2);
    assert!(
        told.contains("10000") && told.contains("try: evenkeel scale --help"),
        "{told}"
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
    let app = book.json(&["resume", "web", "--wait", "--timeout", "2m"]);
    assert_eq!(
        (&app["sync"], &app["health"]),
        (&json!("synced"), &json!("healthy"))
    );
    c.wait_healthy("web", &second).await;
    let watched = book.text(&["rollout", "watch", "web", "--timeout", "1m"]);
    assert!(watched.contains("synced"), "{watched}");
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
        book.text(&[
            "rollback",
            "web",
            "--reason",
            "too slow",
            "--wait",
            "--timeout",
            "2m",
        ])
        .contains("quarantined")
    );
    assert!(book.text(&["status", "web"]).contains("too slow"));
    book.text(&["release", "web", "--wait", "--timeout", "2m"]);
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
    let resume = ["rollout", "resume", "web", "--wait", "--timeout", "1s"];
    let app = book.json_with(&resume, 4);
    assert_eq!(app["rollout"]["to"]["commit"], third.as_str(), "{app:#}");
    let app = book.json(&[
        "rollout",
        "abort",
        "web",
        "--reason",
        "enough",
        "--wait",
        "--timeout",
        "2m",
    ]);
    assert!(app.to_string().contains("enough"), "{app:#}");
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
    let drain = [
        "drain",
        "host",
        "--reason",
        "a new kernel",
        "--wait",
        "--timeout",
        "1m",
    ];
    let drained = book.json_with(&drain, 1);
    assert_eq!(drained["schedulingNote"]["reason"], "a new kernel");
    let stays = drained["remaining"][0]["stays"].as_str().unwrap();
    assert!(stays.contains("no other node can take it"), "{stays}");
    assert!(book.text(&["nodes"]).contains("still holds"));
    assert_eq!(c.app("web").await["replicas"]["ready"], 2);
    book.text(&["uncordon", "host", "--reason", "it is well"]);
    let told = book.json(&["events", "--kind", "node.scheduling", "-n", "1"]);
    assert!(
        told[0]["message"].as_str().unwrap().contains("it is well"),
        "{told}"
    );
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
        book.text(&["token", "create", "ci", "--expires", "720h"])
            .contains("This is token ci, viewer of all")
    );
    let list = book.text(&["token", "list"]);
    assert!(list.contains("jane") && !list.contains(secret), "{list}");
    let listed = book.json(&["token", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let expire: Vec<bool> = [0, 1].map(|n| listed[n]["expiresAt"].is_string()).into();
    assert_eq!(
        (&listed[0]["name"], expire),
        (&json!("ci"), vec![true, false])
    );
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

/// What goes on by itself, once in each form.
fn follows(book: &Book<'_>, c: &Cluster) {
    let events = ["events", "--follow", "--kind", "app.suspended"];
    for (form, words) in [
        ("table", "app.suspended"),
        ("json", "\"kind\":\"app.suspended\""),
    ] {
        let seen = book.goes_on(c, &[&events[..], &["-o", form]].concat());
        book.text(&["suspend", "web"]);
        seen.until(words);
        book.text(&["resume", "web"]);
    }
    let logs = ["logs", "web", "--follow", "--tail", "1"];
    book.goes_on(c, &logs).until(" started");
    let line = book.goes_on(c, &[&logs[..], &["-o", "json"]].concat());
    line.until("\"line\":\"started\"");
}

/// What was seen long ago is no ground to act upon.
fn as_seen(book: &Book<'_>) {
    for args in [
        ["suspend", "web"].as_slice(),
        &["resume", "web"],
        &["scale", "web", "3"],
        &["restart", "web"],
        &["rollback", "web"],
        &["release", "web"],
        &["rollout", "pause", "web"],
        &["rollout", "resume", "web"],
        &["rollout", "abort", "web"],
        &["cordon", "host"],
        &["uncordon", "host"],
        &["drain", "host"],
        &["source", "remove", "repo"],
        &["source", "approve", "repo"],
        &["source", "add", "repo", "/srv/other", "--replace"],
    ] {
        let told = book.refused(&[args, &["--as-of", "1"]].concat(), 1);
        assert!(
            told.contains("nothing was changed, since it is not as you saw it"),
            "{told}"
        );
    }
}
