//! Two operators at once: one of them is told who was first and when.

use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::cluster::{Cluster, Setup};

const SPEC: &str = r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {name: web, project: shop}
spec:
  process: {command: ["/bin/sh", "-c", "exec sleep 3600"]}
  env: {VERSION: "one"}
  resources: {requests: {memory: 16Mi, cpu: 10m}}
  rollout: {minHealthyTime: 300ms}
  stopGracePeriod: 1s
"#;

/// Both at the same time; who won, and what the other was told.
fn both(c: &Cluster, tokens: &[(String, String)], args: &[[&str; 4]; 2]) -> (String, String) {
    let data_dir = &c.data_dir();
    let ran: Vec<(i32, String)> = std::thread::scope(|scope| {
        let each = tokens.iter().zip(args).map(|((_, token), args)| {
            let words = args.iter().copied().filter(|w| !w.is_empty());
            let words: Vec<&str> = ["--token", token].into_iter().chain(words).collect();
            scope.spawn(move || {
                let ran = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
                    .args(&words)
                    .env("EVENKEEL_DATA_DIR", data_dir)
                    .output()
                    .unwrap();
                let told = String::from_utf8(ran.stderr).unwrap();
                (ran.status.code().unwrap(), told)
            })
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let (first, second) = match (ran[0].0, ran[1].0) {
        (0, 1) => (0, 1),
        (1, 0) => (1, 0),
        _ => panic!("{args:?}: one of them should win: {ran:#?}"),
    };
    (tokens[first].0.clone(), ran[second].1.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_the_second_is_told_who_was_first_and_when() {
    let setup = Setup {
        runtime: Some("process"),
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", SPEC)]).await;
    let first = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &first).await;
    let second = SPEC.replace("\"one\"", "\"two\"");
    let second = c.commit(&[("web.yaml", Some(&second))]).await;
    c.wait_healthy("web", &second).await;
    let tokens = ["ann", "ben"].map(|name| {
        let (code, out, err) =
            c.cli(&["token", "create", name, "--role", "operator", "-o", "json"]);
        assert_eq!(code, 0, "{err}");
        let made: Value = serde_json::from_str(&out).unwrap();
        (name.to_owned(), made["token"].as_str().unwrap().to_owned())
    });
    let time = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d").unwrap();
    let same = |words: [&'static str; 4]| [words, words];
    for (args, undo) in [
        (same(["suspend", "web", "", ""]), &["resume", "web"][..]),
        (
            [["scale", "web", "2", ""], ["scale", "web", "3", ""]],
            &["scale", "web", "--reset", "--wait"],
        ),
        (same(["cordon", "host", "", ""]), &["uncordon", "host"]),
        (
            [["cordon", "host", "", ""], ["drain", "host", "", ""]],
            &["uncordon", "host"],
        ),
        (
            same(["restart", "web", "", ""]),
            &["rollout", "watch", "web"],
        ),
        (
            same(["rollback", "web", "", ""]),
            &["release", "web", "--wait"],
        ),
    ] {
        // A drain after a cordon is asked for on purpose: only the other order is a conflict.
        if args[1][0] == "drain" {
            let (code, _, err) = c.cli(&["--token", &tokens[1].1, "drain", "host"]);
            assert_eq!(code, 0, "{err}");
            let (code, _, err) = c.cli(&["--token", &tokens[0].1, "cordon", "host"]);
            assert!(
                code == 1 && err.contains("ben drains node host since"),
                "{err}"
            );
        } else {
            let (winner, told) = both(&c, &tokens, &args);
            assert!(told.contains(&winner), "{args:?}: {told}");
            assert!(time.is_match(&told), "{args:?}: {told}");
            assert!(told.contains("evenkeel "), "{args:?}: {told}");
        }
        if args[0][0] == "rollback" {
            // It went to the release before, not two back.
            c.wait_app("web", "back", |a| {
                a["rollout"].is_null() && a["running"]["commit"] == first.as_str()
            })
            .await;
            let (code, _, err) = c.cli(&["rollback", "web"]);
            assert!(code == 1 && err.contains("was rolled back to"), "{err}");
        }
        let (code, out, err) = c.cli(undo);
        assert_eq!(code, 0, "{undo:?}: {out}{err}");
    }
}
