//! What a forge is told of commits: the real binary, plain processes, a forge that records.

use std::time::Instant;

use crate::cluster::{Cluster, LONG, Setup, pause};
use crate::forge::{Forge, Reply};

/// By which people would reach it, from behind a proxy.
const EXTERNAL: &str = "https://evenkeel.example/ops";

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
  resources: {{requests: {{memory: 64Mi, cpu: 50m}}, limits: {{memory: 64Mi, cpu: 500m}}}}
  rollout: {{minHealthyTime: 300ms, startAttempts: 2}}
  restart: {{backoff: 200ms}}
  stopGracePeriod: 1s
"#
    )
}

async fn cluster() -> (Cluster, String) {
    let setup = Setup {
        runtime: Some("process"),
        env: vec![("EVENKEEL_EXTERNAL_URL", EXTERNAL.to_owned())],
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
    let file = file.to_str().unwrap();
    tell_as(
        c,
        &["gitea", "--forge-api", api, "--forge-token-file", file],
    );
}

/// `KIND` and what else there is to say of the forge.
fn tell_as(c: &Cluster, forge: &[&str]) {
    let url = c.git.url("repo.git");
    let mut args = vec![
        "source",
        "add",
        "repo",
        &url,
        "--replace",
        "--project",
        "shop",
    ];
    args.extend([
        "--interval",
        "1s",
        "--no-pull-requests",
        "--forge-repository",
        "team/apps",
        "--forge",
    ]);
    args.extend(forge);
    let (code, out, err) = c.cli(&args);
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

async fn metrics_of(c: &Cluster) -> String {
    let url = format!("{}/metrics", c.url());
    let answer = c.http.get(url).bearer_auth(c.token()).send().await;
    answer.unwrap().text().await.unwrap()
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
        let commit = call.path.rsplit('/').next().unwrap();
        let page = format!("{EXTERNAL}/sources/repo/commits/{commit}");
        assert_eq!(call.body["target_url"], page);
        assert_eq!(call.body["context"], format!("evenkeel/{}/repo", c.name));
        assert_eq!(call.headers["authorization"], "token t0ken");
    }
    assert!(!c.log().contains("t0ken"));

    // What the link leads to has all the evidence.
    let report = c.get(&format!("sources/repo/commits/{bad}")).await;
    let web = &report["apps"][0];
    assert_eq!(report["status"]["state"], "failure", "{report:#}");
    assert_eq!(
        (&web["app"], &web["verdict"]),
        (&"shop/web".into(), &"failed".into())
    );
    let evidence = &web["rejected"]["evidence"];
    assert_eq!(evidence["lastExit"]["code"], 5, "{report:#}");
    assert_eq!(evidence["logTail"][0], "no database here", "{report:#}");
    let report = c.get(&format!("sources/repo/commits/{fixed}")).await;
    assert_eq!(report["apps"][0]["verdict"], "healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brake_that_holds_fails_the_commit_until_it_is_let_through() {
    let (c, _) = cluster().await;
    let name = |n: usize| format!("app{n}.yaml");
    let names: Vec<String> = (0..4).map(name).collect();
    let specs: Vec<String> = (0..4)
        .map(|n| {
            let spec = spec("one", false).replace("name: web", &format!("name: app{n}"));
            spec.replace("replicas: 2", "replicas: 1")
        })
        .collect();
    let more: Vec<(&str, Option<&str>)> = names
        .iter()
        .zip(&specs)
        .map(|(name, spec)| (name.as_str(), Some(spec.as_str())))
        .collect();
    let many = c.commit(&more).await;
    c.wait_healthy("app3", &many).await;
    let forge = Forge::start(&[]).await;
    tell(&c, &forge.url, "t0ken");
    let gone: Vec<(&str, Option<&str>)> = names.iter().map(|n| (n.as_str(), None)).collect();
    let held = c.commit(&gone).await;
    until(&c, "held", || {
        states(&forge, &held).last().is_some_and(|s| s == "failure")
    })
    .await;
    assert!(
        words(&forge, &held).starts_with("held: "),
        "{}",
        words(&forge, &held)
    );
    let report = c.get(&format!("sources/repo/commits/{held}")).await;
    assert_eq!(report["held"]["deletions"].as_array().unwrap().len(), 4);
    assert_eq!(report["apps"][0]["verdict"], "held");
    let (code, out, err) = c.cli(&["source", "approve", "repo"]);
    assert_eq!(code, 0, "{out}{err}");
    until(&c, "let through", || {
        states(&forge, &held) == ["pending", "failure", "pending", "success"]
            || states(&forge, &held) == ["failure", "pending", "success"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bitbucket_is_told_in_its_own_words_and_an_app_signs_for_github() {
    let (c, first) = cluster().await;
    let forge = Forge::start(&[]).await;
    let file = c.dir.path().join("forge-token");
    std::fs::write(&file, "t0ken").unwrap();
    let (url, file) = (forge.url.as_str(), file.to_str().unwrap());
    let rest = ["--forge-api", url, "--forge-token-file", file];
    tell_as(&c, &[&["bitbucketDataCenter"], &rest[..]].concat());
    let path = format!("/rest/api/1.0/projects/team/repos/apps/commits/{first}/builds");
    until(&c, "told", || !forge.calls().is_empty()).await;
    let call = forge.calls().remove(0);
    assert_eq!(
        (call.path.as_str(), &call.body["state"]),
        (path.as_str(), &"SUCCESSFUL".into())
    );
    assert!(call.body["url"].as_str().unwrap().starts_with(EXTERNAL));

    // A key that is none: named in the source, and nothing is sent.
    let key = c.dir.path().join("app.pem");
    std::fs::write(&key, "no key").unwrap();
    let key = key.to_str().unwrap();
    tell_as(
        &c,
        &[
            "github",
            "--forge-api",
            url,
            "--forge-app-id",
            "12",
            "--forge-app-key-file",
            key,
        ],
    );
    c.wait("sources/repo", "a key that is none", |s| {
        let trouble = &s["forgeState"]["trouble"];
        trouble["kind"] == "credentials" && trouble["reason"].to_string().contains("app.pem")
    })
    .await;
    assert_eq!(forge.calls().len(), 1);
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
    let failing = "evenkeel_source_forge_failing{source=\"repo\"} ";
    let refused = "evenkeel_forge_calls_total{source=\"repo\",outcome=\"retry\"} ";
    let metrics = metrics_of(&c).await;
    assert!(metrics.contains(&format!("{failing}1")), "{metrics}");
    assert!(metrics.contains(refused), "{metrics}");
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
        s["forgeState"]["trouble"].is_null()
            && !s["forgeState"]["lastToldAt"].is_null()
            && !s["sync"]["warnings"]
                .to_string()
                .contains("commit statuses")
    })
    .await;
    let metrics = metrics_of(&c).await;
    assert!(metrics.contains(&format!("{failing}0")), "{metrics}");
}
