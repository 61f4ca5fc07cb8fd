//! `exec APP -- COMMAND` through the real agent into containers and plain processes.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::cluster::{Cluster, LONG, pause};
use crate::running::runs;
use crate::specs::{Version, web};

const PROCESS: &str = r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {name: proc, project: shop}
spec:
  process: {command: ["/bin/sh", "-c", "exec sleep 3600"]}
  resources: {requests: {memory: 16Mi, cpu: 10m}}
  rollout: {minHealthyTime: 100ms}
  stopGracePeriod: 1s
"#;

async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "never {what}");
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_inside_containers_and_processes() {
    let files = [
        ("web.yaml", &*web(Version::Good("one"))),
        ("proc.yaml", PROCESS),
    ];
    let mut c = Cluster::start(&files).await;
    let commit = c.repo.head("main").unwrap().to_string();
    for app in ["web", "proc"] {
        c.wait_healthy(app, &commit).await;
        both_outputs_and_the_exit_code_come_through(&c, app);
        everything_comes_through(&c, app);
        what_takes_too_long_is_killed(&c, app).await;
        what_nobody_reads_is_killed(&c, app).await;
        the_instance_can_be_chosen(&c, app).await;
    }
    who_did_it_is_written_down(&c).await;
    only_who_may_can(&c).await;
    the_agent_takes_its_commands_along(&mut c).await;
}

fn both_outputs_and_the_exit_code_come_through(c: &Cluster, app: &str) {
    let script = "echo to out; echo to err >&2; exit 7";
    let (code, out, err) = c.cli(&["exec", app, "--", "sh", "-c", script]);
    assert_eq!((code, &*out, &*err), (7, "to out\n", "to err\n"), "{app}");

    let args = ["exec", app, "-o", "json", "--", "sh", "-c", script];
    let (code, out, err) = c.cli(&args);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &*err), (7, ""), "{json:#}");
    assert_eq!(json["app"], format!("shop/{app}"), "{json:#}");
    assert_eq!((&json["code"], &json["node"]), (&7.into(), &"host".into()));
    assert_eq!(
        (&json["stdout"], &json["stderr"]),
        (&"to out\n".into(), &"to err\n".into())
    );
    assert_eq!(
        (&json["slot"], &json["truncated"]),
        (&0.into(), &false.into())
    );
    let (_, out, _) = c.cli(&["exec", app, "-o", "yaml", "--", "sh", "-c", script]);
    let mut yaml: Value = serde_yaml::from_str(&out).unwrap();
    // Of several that serve the one in the lowest slot: it is the same.
    assert_eq!(yaml["instance"], json["instance"]);
    assert_eq!(yaml["stdout"].take(), "to out\n");

    // No shell reads the words.
    let (code, out, _) = c.cli(&["exec", app, "--", "echo", "$HOME; exit 3", "-o", "json"]);
    assert_eq!((code, &*out), (0, "$HOME; exit 3 -o json\n"), "{app}");
    let (code, out, err) = c.cli(&["exec", app, "--", "no-such-program"]);
    assert!(code != 0, "{app}: {out}{err}");
}

fn everything_comes_through(c: &Cluster, app: &str) {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; printf 'end\\377'";
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["exec", app, "--", "sh", "-c", script])
        .env("EVENKEEL_DATA_DIR", c.data_dir())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout.len(), 3_000_004, "{app}");
    assert!(output.stdout.ends_with(b"xxend\xff"), "{app}");
}

async fn what_takes_too_long_is_killed(c: &Cluster, app: &str) {
    let sleep = format!("sleep 40{}", fastrand::u32(10_000..99_999));
    let words: Vec<&str> = sleep.split(' ').collect();
    let args = ["exec", app, "--timeout", "400ms", "--"];
    let (code, _, err) = c.cli(&[&args[..], &words].concat());
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("had not ended after 400ms"), "{err}");
    assert!(err.contains("try: evenkeel "), "{err}");
    until("killed", || !runs(&sleep)).await;
}

async fn what_nobody_reads_is_killed(c: &Cluster, app: &str) {
    let (mut client, sleep) = running(c, app).await;
    client.kill().unwrap();
    client.wait().unwrap();
    until("killed with its reader", || !runs(&sleep)).await;
}

/// Somebody who waits for a command, and the command, which runs.
async fn running(c: &Cluster, app: &str) -> (Child, String) {
    let sleep = format!("sleep 41{}", fastrand::u32(10_000..99_999));
    let client = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["exec", app, "--timeout", "1h", "--"])
        .args(sleep.split(' '))
        .env("EVENKEEL_DATA_DIR", c.data_dir())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until("running", || runs(&sleep)).await;
    (client, sleep)
}

async fn the_agent_takes_its_commands_along(c: &mut Cluster) {
    let mut in_container = running(c, "web").await;
    let mut in_process = running(c, "proc").await;
    c.stop().await;
    for (client, sleep) in [&mut in_container, &mut in_process] {
        until("ended with its agent", || !runs(sleep)).await;
        assert!(!client.wait().unwrap().success());
    }
}

async fn the_instance_can_be_chosen(c: &Cluster, app: &str) {
    let status = c.app(app).await;
    for instance in status["instances"].as_array().unwrap() {
        let id = &instance["id"].as_str().unwrap()[..8];
        let args = ["exec", app, "--instance", id, "-o", "json", "--", "true"];
        let (code, out, err) = c.cli(&args);
        assert_eq!(code, 0, "{err}");
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&json["instance"], &json["slot"]),
            (&instance["id"], &instance["slot"])
        );
    }
    let (code, _, err) = c.cli(&["exec", app, "--instance", "zzzz", "--", "true"]);
    assert!(
        code == 1 && err.contains(&format!("evenkeel status shop/{app}")),
        "{err}"
    );
}

async fn who_did_it_is_written_down(c: &Cluster) {
    let args = [
        "exec", "web", "--reason", "a ticket", "--", "echo", "audited",
    ];
    assert_eq!(c.cli(&args).0, 0);
    let page = c.get("events?app=shop/web&kind=instance.exec").await;
    let event = page["items"].as_array().unwrap().last().unwrap();
    let message = event["message"].as_str().unwrap();
    assert!(
        message.starts_with("admin runs `echo audited` in slot 0"),
        "{message}"
    );
    assert!(message.ends_with("on host: a ticket"), "{message}");
    assert!(
        event["instance"].is_string() && event["node"] == "host",
        "{event:#}"
    );
    assert!(event["actor"].to_string().contains("admin"), "{event:#}");
}

async fn only_who_may_can(c: &Cluster) {
    let token = |name: &str, args: &[&str]| {
        let all = [&["token", "create", name, "-o", "json"], args].concat();
        let (code, out, err) = c.cli(&all);
        assert_eq!(code, 0, "{err}");
        let made: Value = serde_json::from_str(&out).unwrap();
        made["token"].as_str().unwrap().to_owned()
    };
    let exec = |token: &str| c.cli(&["--token", token, "exec", "shop/web", "--", "echo", "in"]);
    let (code, out, err) = exec(&token("eve", &["--role", "viewer"]));
    assert_eq!((code, &*out), (3, ""), "{err}");
    assert!(err.contains("needs the role operator"), "{err}");
    assert!(err.contains("try: "), "{err}");
    let elsewhere = token("mallory", &["--role", "operator", "--only", "other"]);
    assert_eq!(exec(&elsewhere).0, 3);
    let (code, out, err) = exec(&token("oscar", &["--role", "operator", "--only", "shop"]));
    assert_eq!((code, &*out), (0, "in\n"), "{err}");
    let page = c.get("events?app=shop/web&kind=instance.exec").await;
    let told = page["items"].to_string();
    assert!(
        told.contains("oscar runs") && !told.contains("eve runs"),
        "{told}"
    );
}
