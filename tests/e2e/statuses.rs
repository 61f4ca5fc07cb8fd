//! What a forge is told of commits: the real binary, plain processes, a forge that records.

use std::time::Instant;

use crate::cluster::{Cluster, LONG, Setup, pause};
use crate::forge::{Forge, Reply};

fn spec(version: &str, fails: bool) -> String {
    let script = match fails {
        false => "exec sleep 1000",
        true => "echo no database here; exit 5",
    };
    format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: web, project: shop}}
spec:
  process: {{command: ["/bin/sh", "-c", '{script}']}}
  env: {{VERSION: "{version}"}}
  replicas: 2
  resources: {{limits: {{memory: 64Mi, cpu: 500m}}}}
  rollout: {{minHealthyTime: 300ms, startAttempts: 2}}
  restart: {{backoff: 200ms}}
  stopGracePeriod: 1s
"#
    )
}

async fn cluster() -> (Cluster, String) {
    let setup = Setup {
        runtime: Some("process"),
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &spec("one", false))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    (c, head)
}

/// Names the forge by the command line, as an operator would.
fn tell(c: &Cluster, api: &str, token: &str) {
    let file = c.dir.path().join("forge-token");
    std::fs::write(&file, token).unwrap();
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
        "1s",
        "--no-pull-requests",
        "--forge",
        "gitea",
        "--forge-api",
        api,
        "--forge-repository",
        "team/apps",
        "--forge-token-file",
        file.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{out}{err}");
}

async fn until(c: &Cluster, what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "never {what}\n{}", c.log());
        pause().await;
    }
}

/// Without repetitions: `pending` is said when a commit is begun, and again with what it moves.
fn states(forge: &Forge, commit: &str) -> Vec<String> {
    let mut states: Vec<String> = forge.taken(commit).into_iter().map(|(s, _)| s).collect();
    states.dedup();
    states
}

/// What was said last.
fn words(forge: &Forge, commit: &str) -> String {
    forge.taken(commit).pop().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_is_told_pending_and_then_the_verdict_with_evidence() {
    let (c, first) = cluster().await;
    let forge = Forge::start(&[]).await;
    tell(&c, &forge.url, "t0ken");
    // A new forge is told of the head at once.
    until(&c, "told of the head", || {
        states(&forge, &first) == ["success"]
    })
    .await;

    let good = c.commit(&[("web.yaml", Some(&spec("two", false)))]).await;
    c.wait_healthy("web", &good).await;
    until(&c, "a success", || {
        states(&forge, &good) == ["pending", "success"]
    })
    .await;
    assert_eq!(words(&forge, &good), "healthy: shop/web");

    let bad = c.commit(&[("web.yaml", Some(&spec("three", true)))]).await;
    c.wait_rolled_back("web", &bad).await;
    until(&c, "a failure", || {
        states(&forge, &bad) == ["pending", "failure"]
    })
    .await;
    let said = words(&forge, &bad);
    for part in ["shop/web", "slot ", " on host", "exited with code 5"] {
        assert!(said.contains(part), "{said}");
    }

    // A file that cannot be read fails at once; its fix succeeds.
    let broken = spec("four", false).replace("replicas: 2", "replicas: many");
    let invalid = c.commit(&[("web.yaml", Some(&broken))]).await;
    until(&c, "invalid", || {
        // Told that it is being applied, unless the verdict was faster.
        matches!(
            states(&forge, &invalid).as_slice(),
            [first, last] if first == "pending" && last == "failure"
        ) || states(&forge, &invalid) == ["failure"]
    })
    .await;
    let said = words(&forge, &invalid);
    assert!(said.contains("web.yaml:7:"), "{said}");
    let fixed = c.commit(&[("web.yaml", Some(&spec("four", false)))]).await;
    until(&c, "fixed", || {
        states(&forge, &fixed) == ["pending", "success"]
    })
    .await;
    let calls = forge.calls();
    for call in &calls {
        assert_eq!(call.body["context"], format!("evenkeel/{}/repo", c.name));
        assert_eq!(call.headers["authorization"], "token t0ken");
    }
    assert!(!c.log().contains("t0ken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_stumbles_is_told_in_the_end_and_once() {
    let (c, _) = cluster().await;
    let forge = Forge::start(&[Reply::new(201), Reply::new(500), Reply::new(500)]).await;
    tell(&c, &forge.url, "t0ken");
    until(&c, "told of the head", || forge.calls().len() == 1).await;
    let good = c.commit(&[("web.yaml", Some(&spec("two", false)))]).await;
    c.wait_healthy("web", &good).await;
    until(&c, "a success", || {
        states(&forge, &good).last().is_some_and(|s| s == "success")
    })
    .await;
    let refused = forge.calls().iter().filter(|c| c.answered == 500).count();
    assert_eq!(refused, 2);
    // Pending arrives before it, or was overtaken before it could; nothing arrives twice.
    let seen = states(&forge, &good);
    assert!(
        seen == ["success"] || seen == ["pending", "success"],
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_or_forbidding_forge_holds_nothing_up_and_is_named_in_the_source() {
    let (c, _) = cluster().await;
    tell(&c, "http://127.0.0.1:1", "t0ken");
    let good = c.commit(&[("web.yaml", Some(&spec("two", false)))]).await;
    c.wait_healthy("web", &good).await;
    c.wait("sources/repo", "dead forge named", |s| {
        s["sync"]["warnings"]
            .to_string()
            .contains("commit statuses: 127.0.0.1:1 does not answer")
    })
    .await;

    // A forge that knows the token no more, and then does.
    let forge = Forge::start(&[Reply::new(401)]).await;
    tell(&c, &forge.url, "0ld");
    c.wait("sources/repo", "lost token named", |s| {
        let warnings = s["sync"]["warnings"].to_string();
        warnings.contains("commit statuses: 401 from") && warnings.contains("renew the token in")
    })
    .await;
    let (code, out, _) = c.cli(&["source", "show", "repo"]);
    assert!(code == 0 && out.contains("renew the token in"), "{out}");
    // The file is read at each use.
    std::fs::write(c.dir.path().join("forge-token"), "renewed").unwrap();
    let renewed = c.commit(&[("web.yaml", Some(&spec("three", false)))]).await;
    until(&c, "told with the new token", || {
        states(&forge, &renewed)
            .last()
            .is_some_and(|s| s == "success")
    })
    .await;
    c.wait("sources/repo", "no trouble left", |s| {
        !s["sync"]["warnings"]
            .to_string()
            .contains("commit statuses")
    })
    .await;
}
