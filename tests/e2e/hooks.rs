//! Webhooks against the real binary: every vendor's deliveries, a burst, a lost branch, and
//! what the README tells to type.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use ring::hmac;
use serde_json::{Value, json};

use crate::cluster::{Cluster, LONG, Setup, pause};

const SECRET: &str = "correct horse battery staple";

pub fn spec(version: u32) -> String {
    format!(
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {{name: web, project: shop}}\nspec:\n  \
         process: {{command: [sleep, \"1000\"]}}\n  env: {{VERSION: \"{version}\"}}\n  \
         rollout: {{minHealthyTime: 100ms}}\n  stopGracePeriod: 1s\n"
    )
}

fn digest(secret: &str, parts: &[&[u8]]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}

fn hex_of(secret: &str, body: &[u8]) -> String {
    hex::encode(digest(secret, &[body]))
}

/// One vendor's delivery of a push.
pub struct Sent {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// As this vendor says that `branch` is at `after` now, by somebody who knows `secret`.
pub fn push(vendor: &str, secret: &str, id: &str, branch: &str, after: &str) -> Sent {
    let full = format!("refs/heads/{branch}");
    let before = "b".repeat(40);
    let of_ref = json!({"ref": full, "before": before, "after": after, "commits": []});
    let body = match vendor {
        "gitlab" | "gitlab signing" => {
            json!({"object_kind": "push", "ref": full, "before": before, "after": after})
        }
        "bitbucketCloud" => json!({"push": {"changes": [{
            "old": {"type": "branch", "name": branch, "target": {"hash": before}},
            "new": {"type": "branch", "name": branch, "target": {"hash": after}}}]}}),
        "bitbucketDataCenter" => json!({"eventKey": "repo:refs_changed", "changes": [{
            "ref": {"id": full}, "fromHash": before, "toHash": after, "type": "UPDATE"}]}),
        "generic" => json!({"ref": branch, "after": after}),
        _ => of_ref,
    };
    let body = body.to_string().into_bytes();
    let hex = hex_of(secret, &body);
    let prefixed = format!("sha256={hex}");
    let id = id.to_owned();
    let headers = match vendor {
        "github" => vec![
            ("x-github-event", "push".to_owned()),
            ("x-github-delivery", id),
            ("x-hub-signature-256", prefixed),
        ],
        "gitea" | "forgejo" => {
            let mut all = vec![
                ("x-gitea-event", "push".to_owned()),
                ("x-gitea-delivery", id.clone()),
                ("x-gitea-signature", hex.clone()),
                ("x-github-event", "push".to_owned()),
                ("x-hub-signature-256", prefixed),
            ];
            if vendor == "forgejo" {
                all.push(("x-forgejo-event", "push".to_owned()));
                all.push(("x-forgejo-delivery", id));
                all.push(("x-forgejo-signature", hex));
            }
            all
        }
        "gitlab" => vec![
            ("x-gitlab-event", "Push Hook".to_owned()),
            ("x-gitlab-event-uuid", id),
            ("x-gitlab-token", secret.to_owned()),
        ],
        "gitlab signing" => {
            let now = evenkeel::clock::now().0 / 1000;
            let now = now.to_string();
            let parts = [id.as_bytes(), b".", now.as_bytes(), b".", &body];
            use base64::Engine as _;
            let code = base64::engine::general_purpose::STANDARD.encode(digest(secret, &parts));
            vec![
                ("x-gitlab-event", "Push Hook".to_owned()),
                ("webhook-id", id),
                ("webhook-timestamp", now),
                ("webhook-signature", format!("v1,{code}")),
            ]
        }
        "bitbucketCloud" => vec![
            ("x-event-key", "repo:push".to_owned()),
            ("x-hook-uuid", "1".to_owned()),
            ("x-request-uuid", id),
            ("x-hub-signature", prefixed),
        ],
        "bitbucketDataCenter" => vec![
            ("x-event-key", "repo:refs_changed".to_owned()),
            ("x-request-id", id),
            ("x-hub-signature", prefixed),
        ],
        _ => vec![("x-hub-signature-256", prefixed)],
    };
    Sent { headers, body }
}

pub async fn deliver(http: &reqwest::Client, url: &str, sent: &Sent) -> (u16, Value) {
    let mut request = http
        .post(url)
        .body(sent.body.clone())
        .timeout(Duration::from_secs(60));
    for (name, value) in &sent.headers {
        request = request.header(*name, value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// A cluster whose source is polled once an hour and has a webhook secret.
async fn cluster() -> (Cluster, String) {
    let setup = Setup {
        runtime: Some("process"),
        interval: "1h",
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &spec(0))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let file = c.dir.path().join("hook");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let url = c.git.url("repo.git");
    let (code, out, err) = c.cli(&[
        "source",
        "add",
        "repo",
        &url,
        "--replace",
        "--project",
        "shop",
        "--interval",
        "1h",
        "--webhook-secret-file",
        file.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{out}{err}");
    // New settings begin with a sync.
    settle(&c).await;
    let hook = format!("{}/api/v1/hooks/repo", c.url());
    (c, hook)
}

/// Waits until the source's task is at rest.
async fn settle(c: &Cluster) -> u64 {
    let source = c
        .wait("sources/repo", "at rest", |s| {
            s["sync"]["running"] == false && s["sync"]["attempts"].as_u64() >= Some(1)
        })
        .await;
    source["sync"]["attempts"].as_u64().unwrap()
}

/// How often it was asked where the branches are: once per fetch.
fn fetches(c: &Cluster) -> usize {
    let seen = c.git.seen();
    let asked = seen.iter().filter(|s| s.target.contains("info/refs"));
    asked.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_every_vendor_lead_to_a_sync_if_they_are_authentic() {
    let (c, hook) = cluster().await;
    let http = reqwest::Client::new();
    let vendors = [
        "github",
        "gitlab",
        "gitlab signing",
        "gitea",
        "forgejo",
        "bitbucketCloud",
        "bitbucketDataCenter",
        "generic",
    ];
    for (n, vendor) in vendors.into_iter().enumerate() {
        let version = u32::try_from(n).unwrap() + 1;
        let commit = c
            .repo
            .commit("change", &[("web.yaml", Some(&spec(version)))]);
        let before = fetches(&c);
        let id = format!("id-{n}");

        let forged = push(vendor, "wrong", &id, "main", &commit);
        let (status, body) = deliver(&http, &hook, &forged).await;
        assert_eq!(status, 403, "{vendor}: {body}");
        assert!(body["hint"].as_str().is_some_and(|h| !h.is_empty()));
        let mut changed = push(vendor, SECRET, &id, "main", &commit);
        if vendor != "gitlab" {
            changed.body.push(b' ');
            let (status, body) = deliver(&http, &hook, &changed).await;
            assert_eq!(status, 403, "{vendor}: {body}");
        }
        let elsewhere = push(vendor, SECRET, &format!("other-{n}"), "dev", &commit);
        let (status, body) = deliver(&http, &hook, &elsewhere).await;
        assert_eq!((status, body["verdict"].as_str()), (202, Some("ignored")));
        assert_eq!(fetches(&c), before, "{vendor}");

        let good = push(vendor, SECRET, &id, "main", &commit);
        let begun = Instant::now();
        let (status, body) = deliver(&http, &hook, &good).await;
        assert_eq!(status, 202, "{vendor}: {body}");
        assert_eq!(body["verdict"], "accepted", "{vendor}: {body}");
        let word = vendor.split(' ').next().unwrap();
        assert_eq!(body["vendor"], word);
        c.wait("sources/repo", "synced by its delivery", |s| {
            s["lastSeen"] == commit.as_str()
        })
        .await;
        assert!(begun.elapsed() < LONG);
        if vendor != "generic" {
            settle(&c).await;
            let before = fetches(&c);
            let (status, body) = deliver(&http, &hook, &good).await;
            assert_eq!((status, body["verdict"].as_str()), (202, Some("replayed")));
            assert_eq!(fetches(&c), before, "{vendor}");
        }
    }

    let (code, out, _) = c.cli(&["source", "show", "repo"]);
    assert_eq!(code, 0);
    for part in [
        hook.as_str(),
        "Bitbucket Data Center",
        "accepted",
        "replayed",
        "branch dev is not followed, main is",
        "forged 15 refused",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    let (code, out, _) = c.cli(&["source", "show", "repo", "-o", "json"]);
    assert_eq!(code, 0);
    let shown: Value = serde_json::from_str(&out).unwrap();
    let log = &shown["webhook"]["deliveries"];
    assert_eq!(log["last"].as_array().unwrap().len(), 20);
    assert_eq!(log["total"], 23);
    assert_eq!(shown["webhook"]["setup"].as_array().unwrap().len(), 7);
    assert!(!out.contains(SECRET) && !c.log().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_branch_removes_nothing_and_deliveries_outlive_a_restart() {
    let (mut c, hook) = cluster().await;
    let http = reqwest::Client::new();
    let app = c.app("web").await;
    c.repo
        .commit_to("other", "keeps the repository", &[("x", Some("y"))]);
    c.repo.delete_branch("main");
    let gone = push("github", SECRET, "gone", "main", &"0".repeat(40));
    let (status, body) = deliver(&http, &hook, &gone).await;
    assert_eq!((status, body["verdict"].as_str()), (202, Some("accepted")));
    c.wait("sources/repo", "lost", |s| s["state"] == "lost")
        .await;
    let after = c.app("web").await;
    assert_eq!(after["instances"][0]["id"], app["instances"][0]["id"]);
    assert_eq!(after["health"], "healthy");

    c.stop().await;
    c.up().await;
    let path = "sources/repo";
    c.wait(path, "known again", |s| {
        s["webhook"]["deliveries"]["last"][0]["id"] == "gone"
    })
    .await;
}

/// Memory that the process holds, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn burst(http: &reqwest::Client, hook: &str, from: u32, to: u32, after: &str) -> [u32; 2] {
    let sending = futures_util::stream::iter(from..to).map(|n| {
        let secret = if n % 10 == 0 { "wrong" } else { SECRET };
        let sent = push("github", secret, &format!("burst-{n}"), "main", after);
        async move { deliver(http, hook, &sent).await.0 }
    });
    let mut answers = [0, 0];
    let mut sending = std::pin::pin!(sending.buffer_unordered(64));
    while let Some(status) = sending.next().await {
        match status {
            202 => answers[0] += 1,
            403 => answers[1] += 1,
            other => panic!("answered {other}"),
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_deliveries_are_two_fetches_and_no_memory() {
    let (c, hook) = cluster().await;
    let http = reqwest::Client::new();
    // Buffers, connections and records are as large as they get.
    let first = c.repo.commit("change", &[("web.yaml", Some(&spec(1)))]);
    burst(&http, &hook, 0, 2000, &first).await;
    c.wait("sources/repo", "synced", |s| {
        s["lastSeen"] == first.as_str()
    })
    .await;
    // The end of that burst has been looked at, too.
    let quiet = Instant::now() + Duration::from_secs(3);
    while Instant::now() < quiet {
        pause().await;
    }
    settle(&c).await;
    let (fetched, memory) = (fetches(&c), resident(c.pid()));

    let commit = c.repo.commit("change", &[("web.yaml", Some(&spec(2)))]);
    let begun = Instant::now();
    let answers = burst(&http, &hook, 10_000, 20_000, &commit).await;
    let took = begun.elapsed();
    assert_eq!(answers, [9000, 1000]);
    c.wait("sources/repo", "synced", |s| {
        s["lastSeen"] == commit.as_str()
    })
    .await;
    let quiet = Instant::now() + Duration::from_secs(3);
    while Instant::now() < quiet {
        pause().await;
    }
    settle(&c).await;
    let (fetched, grown) = (
        fetches(&c) - fetched,
        resident(c.pid()).saturating_sub(memory),
    );
    eprintln!("10,000 deliveries in {took:?}: {fetched} fetches, {grown} KiB more than {memory}");
    assert!((1..=2).contains(&fetched), "{fetched} fetches");
    assert!(grown < 16 * 1024, "{grown} KiB more");
    let source = c.source().await;
    let log = &source["webhook"]["deliveries"];
    assert_eq!(log["last"].as_array().unwrap().len(), 20);
    assert_eq!(log["forged"].as_array().unwrap().len(), 5);
    assert_eq!(log["forgedTotal"], 1200);
    assert_eq!(source["outcome"]["kind"], "ok");
    // A line a minute, whatever is sent.
    let lines = c.whole_log();
    let told = lines.matches("a delivery was refused").count();
    assert!((1..=5).contains(&told), "{told} lines");
    assert!(!lines.contains("panicked") && !lines.contains("ERROR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_readme_tells_to_type_works() {
    let setup = Setup {
        runtime: Some("process"),
        interval: "1h",
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &spec(0))]).await;
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let section = readme.split("### Webhooks\n").nth(1).unwrap();
    let section = section.split("\n### ").next().unwrap();
    let blocks: Vec<&str> = section
        .split("```sh\n")
        .skip(1)
        .map(|b| b.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 2);
    let folder = c.dir.path().join("etc");
    std::fs::create_dir(&folder).unwrap();
    let here = |block: &str| {
        block
            .replace("/etc/evenkeel", folder.to_str().unwrap())
            .replace(
                "https://forge.example/team/shop.git",
                &c.git.url("repo.git"),
            )
            .replace("http://127.0.0.1:7600", &c.url())
    };
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_evenkeel"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let run = |block: &str| {
        let output = std::process::Command::new("sh")
            .args(["-euc", &here(block)])
            .env("PATH", &path)
            .env("EVENKEEL_DATA_DIR", c.data_dir())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{block}\n{text}\n{errors}");
        text
    };
    let shown = run(blocks[0]);
    assert!(shown.contains("/api/v1/hooks/shop"), "{shown}");
    // The app is the first source's: that is said, and does not matter here.
    let answer: Value = serde_json::from_str(&run(blocks[1])).unwrap();
    assert_eq!(answer["verdict"], "accepted", "{answer}");
    let shown = c.cli(&["source", "show", "shop"]).1;
    assert!(shown.contains("any program") && shown.contains("accepted"));
}
