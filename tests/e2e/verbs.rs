//! Every verb once on a live cluster, in both forms: what people read and what programs do.

use serde_json::Value;

use crate::cluster::{Cluster, Setup};

fn spec(version: &str, replicas: u32) -> String {
    format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: web, project: shop}}
spec:
  process: {{command: ["/bin/sh", "-c", "exec sleep 3600"]}}
  env: {{VERSION: "{version}", DB_PASSWORD: "hunter{version}"}}
  replicas: {replicas}
  resources: {{requests: {{memory: 16Mi, cpu: 10m}}}}
  rollout: {{minHealthyTime: 300ms}}
  stopGracePeriod: 1s
"#
    )
}

/// Runs it as a table and as JSON, expecting `code` of both.
fn ok(c: &Cluster, args: &[&str]) -> String {
    let (code, out, err) = c.cli(args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

fn json(c: &Cluster, args: &[&str]) -> Value {
    let mut args = args.to_vec();
    args.extend(["-o", "json"]);
    let out = ok(c, &args);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
}

fn refused(c: &Cluster, args: &[&str], code: i32) -> String {
    let (got, out, err) = c.cli(args);
    assert_eq!(got, code, "{args:?}: {out}{err}");
    err
}

fn ids(app: &Value) -> Vec<String> {
    let instances = app["instances"].as_array().unwrap();
    let running = instances.iter().filter(|i| i["stopping"] == false);
    running
        .map(|i| i["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_steer_apps_rollouts_and_nodes() {
    let setup = Setup {
        runtime: Some("process"),
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &spec("one", 2))]).await;
    let first = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &first).await;

    // What is there.
    assert!(ok(&c, &["apps"]).contains("shop/web"));
    assert_eq!(json(&c, &["apps"])[0]["sync"], "synced");
    assert!(ok(&c, &["apps", "--unwell"]).contains("all apps are synced and healthy"));
    assert!(ok(&c, &["diff", "web"]).contains("what runs is what is declared"));
    assert_eq!(json(&c, &["diff", "web"])["fields"], serde_json::json!([]));

    // A restart: other instances of the same release, shown as a rollout.
    let before = ids(&c.app("web").await);
    let app = json(&c, &["restart", "web", "--reason", "a leak", "--wait"]);
    assert_eq!(app["lastRollout"]["kind"], "restart", "{app:#}");
    assert_eq!(app["lastRollout"]["phase"], "succeeded");
    assert!(ids(&app).iter().all(|id| !before.contains(id)), "{app:#}");
    let history = json(&c, &["rollout", "history", "web"]);
    assert_eq!(history[0]["kind"], "restart");
    assert!(history[0]["reason"].as_str().unwrap().contains("a leak"));
    assert!(ok(&c, &["rollout", "history", "web"]).contains("restart"));

    // A scale: visible, told to the second who asks, ended by name.
    let app = json(&c, &["scale", "web", "3", "--for", "2h", "--wait"]);
    assert_eq!(app["replicas"]["ready"], 3, "{app:#}");
    assert_eq!(app["scaled"]["by"], "admin");
    assert!(ok(&c, &["status", "web"]).contains("scaled to 3 by admin until"));
    assert!(ok(&c, &["why", "web"]).contains("scaled to 3"));
    assert!(refused(&c, &["scale", "web", "99999"], 2).contains("10000"));
    ok(&c, &["scale", "web", "--reset", "--wait"]);
    assert_eq!(json(&c, &["status", "web"])["scaled"], Value::Null);
    assert!(refused(&c, &["scale", "web", "--reset"], 1).contains("not scaled"));

    // Suspended for a time; what waits is shown field by field, secrets hidden.
    let app = json(&c, &["suspend", "web", "--for", "1h", "--reason", "sale"]);
    assert!(app["suspended"]["until"].is_string(), "{app:#}");
    assert!(refused(&c, &["suspend", "web"], 1).contains("already suspended by admin"));
    let second = c.commit(&[("web.yaml", Some(&spec("two", 2)))]).await;
    c.wait_app("web", "suspended", |a| a["sync"] == "suspended")
        .await;
    let text = ok(&c, &["diff", "web"]);
    assert!(
        text.contains("env.VERSION") && text.contains("+ two"),
        "{text}"
    );
    let hidden = !text.contains("hunter") && text.contains("env.DB_PASSWORD");
    assert!(hidden, "{text}");
    ok(&c, &["resume", "web", "--wait"]);
    c.wait_healthy("web", &second).await;
    assert!(ok(&c, &["rollout", "watch", "web"]).contains("synced"));
    assert!(refused(&c, &["rollout", "pause", "web"], 1).contains("no rollout of shop/web"));
    assert!(refused(&c, &["rollout", "abort", "web"], 1).contains("evenkeel rollback"));

    // Back to a chosen release, until a new commit.
    let short = &first[..8];
    let app = json(&c, &["rollback", "web", "--to", short, "--wait"]);
    assert_eq!(app["running"]["commit"], first.as_str(), "{app:#}");
    assert_eq!(app["sync"], "quarantined");
    let words = "until a new commit changes the app";
    assert!(ok(&c, &["status", "web"]).contains(words));
    assert!(refused(&c, &["rollback", "web", "--to", "ffffffff"], 1).contains("can go back to"));
    ok(&c, &["release", "web", "--wait"]);
    c.wait_healthy("web", &second).await;

    // A paused rollout stands; resumed it goes on, aborted it goes back.
    let slow = spec("three", 2).replace("300ms", "20s");
    let third = c.commit(&[("web.yaml", Some(&slow))]).await;
    c.wait_app("web", "on its way", |a| {
        a["rollout"]["to"]["commit"] == third.as_str()
    })
    .await;
    let app = json(&c, &["rollout", "pause", "web", "--reason", "look"]);
    assert_eq!(app["rollout"]["phase"], "paused", "{app:#}");
    assert!(refused(&c, &["rollout", "pause", "web"], 1).contains("admin paused it: look"));
    assert!(refused(&c, &["restart", "web"], 1).contains("under way"));
    let (code, _, err) = c.cli(&["rollout", "watch", "web"]);
    assert_eq!(code, 1, "{err}");
    ok(&c, &["rollout", "resume", "web"]);
    let app = json(&c, &["rollout", "abort", "web", "--wait"]);
    assert_eq!(app["running"]["commit"], second.as_str(), "{app:#}");
    c.wait_rolled_back("web", &third).await;

    // Nodes: the only one there is cannot be emptied, and it is said why.
    let node = json(&c, &["nodes"])[0]["name"].as_str().unwrap().to_owned();
    ok(&c, &["cordon", &node, "--reason", "a disk"]);
    assert!(ok(&c, &["nodes"]).contains("by admin: a disk"));
    assert!(refused(&c, &["cordon", &node], 1).contains("cordoned already, by admin"));
    ok(&c, &["uncordon", &node]);
    let (code, out, err) = c.cli(&["drain", &node, "--wait", "-o", "json"]);
    assert_eq!(code, 1, "{out}{err}");
    let drained: Value = serde_json::from_str(&out).unwrap();
    let stays = drained["remaining"][0]["stays"].as_str().unwrap();
    assert!(stays.contains("no other node can take it"), "{stays}");
    assert!(ok(&c, &["nodes"]).contains("still holds"));
    assert_eq!(c.app("web").await["replicas"]["ready"], 2);
    ok(&c, &["uncordon", &node]);
    assert!(refused(&c, &["drain", "nowhere"], 1).contains("no node nowhere"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_server_works_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(args)
            .env("XDG_CONFIG_HOME", dir.path())
            .env_remove("EVENKEEL_DATA_DIR")
            .env_remove("EVENKEEL_URL")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            out.status.code().unwrap(),
            text(out.stdout),
            text(out.stderr),
        )
    };
    let starter = dir.path().join("starter");
    let starter = starter.to_str().unwrap();
    for ci in ["github", "gitlab", "forgejo", "none"] {
        let folder = format!("{starter}-{ci}");
        let (code, out, err) = run(&["init", &folder, "--ci", ci]);
        assert_eq!(code, 0, "{out}{err}");
        let (code, out, err) = run(&["validate", &folder, "-o", "json"]);
        assert_eq!(code, 0, "{out}{err}");
        let checked: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(checked["valid"], true, "{checked}");
        // What is there is never overwritten.
        let (code, _, err) = run(&["init", &folder, "--ci", ci]);
        assert_eq!(code, 2, "{err}");
    }

    let (code, out, _) = run(&["explain", "spec.rollout.maxSurge"]);
    assert!(code == 0 && out.contains("maxSurge"), "{out}");
    let (_, out, _) = run(&["explain", "spec.ports", "-o", "json"]);
    let explained: Value = serde_json::from_str(&out).unwrap();
    assert!(
        explained["fields"].as_array().unwrap().len() >= 3,
        "{explained}"
    );
    let (code, _, err) = run(&["explain", "spec.replica"]);
    assert!(
        code == 2 && err.contains("did you mean \"replicas\""),
        "{err}"
    );

    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&["completions", shell]);
        assert!(code == 0 && out.contains("rollout"), "{shell}: {out}");
    }

    let add = [
        "context",
        "add",
        "prod",
        "--url",
        "http://127.0.0.1:9",
        "--token",
        "s3cret",
    ];
    assert_eq!(run(&add).0, 0);
    assert_eq!(run(&["context", "use", "prod"]).0, 0);
    let (_, out, _) = run(&["context", "list"]);
    assert!(out.contains("prod") && !out.contains("s3cret"), "{out}");
    let (_, out, _) = run(&["context", "list", "-o", "json"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&listed[0]["current"], &listed[0]["token"]),
        (&true.into(), &true.into())
    );
    // It is the server that is spoken to.
    let (code, _, err) = run(&["apps"]);
    assert!(code == 3 && err.contains("127.0.0.1:9"), "{err}");
    let (code, _, err) = run(&["--context", "other", "apps"]);
    assert!(code == 2 && err.contains("evenkeel context list"), "{err}");
    assert_eq!(run(&["context", "remove", "prod"]).0, 0);
    assert_eq!(run(&["context", "remove", "prod"]).0, 2);
}
