//! The program itself against a server: output in each form, and exit codes.

use std::path::Path;

use serde_json::Value;

use crate::server::{ADMIN, Server, app};

pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    #[track_caller]
    pub fn check(self, code: i32) -> Run {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

pub async fn run(url: Option<&str>, token: &str, args: &[&str]) -> Run {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command.args(args).kill_on_drop(true);
    for name in ["EVENKEEL_DATA_DIR", "EVENKEEL_URL", "EVENKEEL_TOKEN"] {
        command.env_remove(name);
    }
    if let Some(url) = url {
        command
            .env("EVENKEEL_URL", url)
            .env("EVENKEEL_TOKEN", token);
    }
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), command.output())
        .await
        .expect("it ends")
        .unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn verbs_run_against_a_live_cluster() {
    let server = Server::start().await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let cli = |args: &'static [&'static str]| run(Some(&server.url), ADMIN, args);

    let table = cli(&["status"]).await.check(0);
    assert!(table.out.starts_with("APP       SYNC"), "{}", table.out);
    assert!(
        !table.out.contains('\x1b'),
        "colour on a pipe: {}",
        table.out
    );
    let json = cli(&["status", "web", "-o", "json"]).await.check(0).json();
    assert_eq!(json["git"]["commit"], repository.head());
    let yaml = cli(&["status", "shop/web", "-o", "yaml"]).await.check(0);
    assert!(yaml.out.contains("project: shop"), "{}", yaml.out);
    let full = cli(&["-p", "shop", "status", "web"]).await.check(0);
    assert!(full.out.starts_with("shop/web"), "{}", full.out);
    cli(&["why", "web"]).await.check(0);
    let nodes = cli(&["nodes"]).await.check(0);
    assert!(nodes.out.contains("evenkeel agent"), "{}", nodes.out);
    let sources = cli(&["source", "list", "-o", "json"]).await.check(0).json();
    assert_eq!(sources[0]["name"], "shop");
    cli(&["source", "show", "shop"]).await.check(0);
    cli(&["source", "sync", "shop"]).await.check(0);
    let approve = cli(&["source", "approve", "shop"]).await.check(1);
    assert!(approve.err.contains("held"), "{}", approve.err);

    cli(&["suspend", "web", "--reason", "freeze"])
        .await
        .check(0);
    let events = cli(&["events", "--app", "web", "-o", "json"])
        .await
        .check(0)
        .json();
    let kinds: Vec<&str> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"app.suspended"), "{kinds:?}");
    let twice = cli(&["suspend", "web"]).await.check(1);
    assert!(twice.err.starts_with("error: "), "{}", twice.err);
    cli(&["resume", "web"]).await.check(0);
    cli(&["rollback", "web"]).await.check(1);
    cli(&["release", "web"]).await.check(1);
    let logs = cli(&["logs", "web", "--tail", "5"]).await.check(1);
    assert!(logs.err.contains("no instances"), "{}", logs.err);

    // No node: it never becomes healthy.
    cli(&["status", "web", "--wait", "--timeout", "1s"])
        .await
        .check(4);
    cli(&["status", "nothing"]).await.check(1);
    // One that is not there yet is waited for, by either name.
    for name in ["later", "shop/later"] {
        let args = ["status", name, "--wait", "--timeout", "1s"];
        let late = run(Some(&server.url), ADMIN, &args).await.check(4);
        assert!(
            late.err.contains("never declared; the sources are: shop"),
            "{}",
            late.err
        );
    }
    cli(&["status", "No_Name"]).await.check(2);
    cli(&["stats"]).await.check(2);
    cli(&["source", "remove", "shop"]).await.check(1);

    let removed = cli(&["source", "remove", "shop", "--prune"]).await.check(0);
    assert_eq!(removed.out, "removed source shop\n");
    let none = cli(&["status"]).await.check(0);
    assert!(none.out.contains("evenkeel source add"), "{}", none.out);

    let wrong = run(Some(&server.url), "wrong", &["status"]).await.check(3);
    assert!(wrong.err.contains("try: "), "{}", wrong.err);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_exit_3_with_advice() {
    let url = format!("http://127.0.0.1:{}", crate::free_port::free_port());
    let run = run(Some(&url), ADMIN, &["status"]).await.check(3);
    assert!(
        run.err.contains("cannot reach") && run.err.contains("evenkeel up"),
        "{}",
        run.err
    );
}

#[tokio::test]
async fn the_data_folder_tells_address_and_token() {
    let server = Server::start().await;
    let dir = server.dir.path();
    let listen = server.url.trim_start_matches("http://");
    std::fs::write(dir.join("listen"), format!("{listen}\n")).unwrap();
    std::fs::write(dir.join("admin-token"), format!("{ADMIN}\n")).unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["nodes", "-o", "json"])
        .env_remove("EVENKEEL_URL")
        .env_remove("EVENKEEL_TOKEN")
        .env("EVENKEEL_DATA_DIR", dir)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "[]");
    server.stop().await;
}

#[tokio::test]
async fn validate_prints_problems_like_a_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let path = |p: &Path| p.to_str().unwrap().to_owned();
    let folder = path(dir.path());
    write("web.yaml", &app("web"));
    let good = run(None, "", &["validate", &folder]).await.check(0);
    assert_eq!(good.out, "1 file, 1 app, 0 problems\n");

    write(
        "bad.yaml",
        &app("bad").replace("  process:", "  replica: 3\n  process:"),
    );
    let bad = run(None, "", &["validate", &folder]).await.check(1);
    assert!(bad.err.starts_with("bad.yaml:6:3: "), "{}", bad.err);
    assert!(bad.err.contains("6 |   replica: 3"), "{}", bad.err);
    assert!(bad.err.contains("replicas"), "{}", bad.err);
    let json = run(None, "", &["validate", &folder, "-o", "json"])
        .await
        .check(1)
        .json();
    assert_eq!(json["valid"], false);
    assert_eq!(json["problems"][0]["line"], 6);
    run(None, "", &["validate", "/nothing/here"]).await.check(2);

    let schema = run(None, "", &["schema"]).await.check(0).json();
    assert!(schema["$schema"].as_str().unwrap().contains("2020-12"));
}
