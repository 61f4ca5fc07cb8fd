//! Plans of pull requests: the real binary, Git over HTTP, a forge that delivers and records.

use std::time::Instant;

use ring::hmac;
use serde_json::json;

use crate::cluster::{Cluster, LONG, Setup, pause};
use crate::pull_forge::PullForge;

const SECRET: &str = "hook-secret";

fn spec(name: &str, version: &str, memory: &str) -> String {
    format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: {name}, project: shop}}
spec:
  process: {{command: ["/bin/sh", "-c", "exec sleep 1000"]}}
  env: {{VERSION: "{version}", DB_PASSWORD: "hunter-{version}"}}
  resources: {{requests: {{memory: {memory}, cpu: 50m}}, limits: {{memory: 900Gi, cpu: 500m}}}}
  rollout: {{minHealthyTime: 300ms}}
  stopGracePeriod: 1s
"#
    )
}

struct World {
    c: Cluster,
    forge: PullForge,
}

impl World {
    async fn start() -> World {
        World::with(&["web"]).await
    }

    /// These apps run, each from a file of its own.
    async fn with(apps: &[&str]) -> World {
        let setup = Setup {
            runtime: Some("process"),
            ..Setup::default()
        };
        let specs = apps
            .iter()
            .map(|app| (format!("{app}.yaml"), spec(app, "one", "16Mi")));
        let specs: Vec<(String, String)> = specs.collect();
        let files: Vec<(&str, &str)> = specs.iter().map(|(p, t)| (&**p, &**t)).collect();
        let c = Cluster::start_with(setup, &files).await;
        let head = c.repo.head("main").unwrap().to_string();
        for app in apps {
            c.wait_healthy(app, &head).await;
        }
        let forge = PullForge::start().await;
        let w = World { c, forge };
        w.tell(&[]);
        w
    }

    /// Names the forge as an operator would; polls are so rare that only deliveries count.
    fn tell(&self, more: &[&str]) {
        let file = |name: &str, text: &str| {
            let path = self.c.dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (token, secret) = (file("forge-token", "t0ken"), file("hook", SECRET));
        let url = self.c.git.url("repo.git");
        let mut args = vec![
            "source",
            "add",
            "repo",
            &url,
            "--replace",
            "--project",
            "shop",
        ];
        args.extend(["--interval", "1h", "--webhook-secret-file", &secret]);
        args.extend(["--forge", "gitea", "--forge-api", &self.forge.url]);
        args.extend([
            "--forge-repository",
            "team/apps",
            "--forge-token-file",
            &token,
        ]);
        args.extend(more);
        let (code, out, err) = self.c.cli(&args);
        assert_eq!(code, 0, "{out}{err}");
    }

    /// A commit that only the pull request's name at the forge points to.
    fn propose(&self, number: u64, files: &[(&str, Option<&str>)]) -> String {
        let (repo, branch) = (&self.c.repo, format!("fix{number}"));
        repo.reset(&branch, &repo.head("main").unwrap().to_string());
        let head = repo.commit_to(&branch, "A proposal", files);
        let oid = git2::Oid::from_str(&head).unwrap();
        let name = format!("refs/pull/{number}/head");
        repo.repo().reference(&name, oid, true, "").unwrap();
        repo.delete_branch(&branch);
        head
    }

    /// As Gitea delivers it.
    async fn deliver(&self, number: u64, action: &str, head: &str, fork: bool) {
        let body = json!({
            "action": action, "number": number,
            "pull_request": {
                "number": number, "title": "A proposal", "merged": false,
                "base": {"ref": "main", "repo": {"id": 1}},
                "head": {"ref": "fix", "sha": head, "repo": {"id": if fork { 2 } else { 1 }}},
            },
        })
        .to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let proof = hex::encode(hmac::sign(&key, body.as_bytes()));
        let answer = reqwest::Client::new()
            .post(format!("{}/api/v1/hooks/repo", self.c.url()))
            .header("x-gitea-event", "pull_request")
            .header("x-gitea-delivery", format!("{number}-{action}-{head}"))
            .header("x-gitea-signature", proof)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 202, "{text}");
        assert!(text.contains("its plan was asked for"), "{text}");
    }

    async fn open(&self, number: u64, action: &str, files: &[(&str, Option<&str>)]) -> String {
        let head = self.propose(number, files);
        self.forge.open(number, &head, false);
        self.deliver(number, action, &head, false).await;
        head
    }

    async fn until(&self, what: &str, holds: impl Fn(&PullForge) -> bool) {
        let end = Instant::now() + LONG;
        while !holds(&self.forge) {
            assert!(Instant::now() < end, "never {what}\n{}", self.c.log());
            pause().await;
        }
    }

    async fn until_state(&self, head: &str, state: &str) {
        let what = format!("{state} on {head}");
        self.until(&what, |f| f.state(head) == state).await;
    }

    async fn until_comment(&self, number: u64, part: &str) -> String {
        let has = |f: &PullForge| f.comment(number).is_some_and(|c| c.contains(part));
        self.until(&format!("{part} in the comment"), has).await;
        self.forge.comment(number).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_is_planned_planned_anew_and_ended() {
    let w = World::start().await;
    let web = spec("web", "two", "16Mi");
    let first = w.open(1, "opened", &[("web.yaml", Some(&web))]).await;
    w.until_state(&first, "success").await;
    let status = &w.forge.plans(&first)[0];
    assert_eq!(status.context, format!("evenkeel/{}/repo/plan", w.c.name));
    assert_eq!(status.description, "1 replaced");
    let text = w.until_comment(1, "`one` → `two`").await;
    assert!(text.contains("new instances: slot 0 on `host`"), "{text}");
    assert!(!text.contains("hunter"), "{text}");

    // A new push: too large for any machine.
    let big = spec("big", "one", "900Gi");
    let second = w.open(1, "synchronized", &[("big.yaml", Some(&big))]).await;
    w.until_state(&second, "failure").await;
    w.until_comment(1, "**does not fit**").await;
    // Another: not valid.
    let broken = spec("web", "two", "16Mi").replace("stopGracePeriod", "stopGrace");
    let third = w
        .open(1, "synchronized", &[("web.yaml", Some(&broken))])
        .await;
    w.until_state(&third, "failure").await;
    w.until_comment(1, "web.yaml:9:3").await;
    // The same from the command line, where the files are.
    let (code, _, err) = {
        let dir = w.c.dir.path().join("checkout");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("web.yaml"), &broken).unwrap();
        w.c.cli(&["plan", dir.to_str().unwrap()])
    };
    assert!(code == 1 && err.contains("web.yaml:9:3"), "{err}");

    w.forge.close(1, true);
    w.deliver(1, "closed", &third, false).await;
    w.until_comment(1, "is merged").await;
    // Nothing of it ever ran.
    let main = w.c.repo.head("main").unwrap().to_string();
    let app = w.c.app("web").await;
    assert_eq!(app["running"]["commit"], main.as_str());
    assert!(!w.c.log().contains("t0ken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn brakes_and_downtime_are_told_before_the_merge() {
    let w = World::with(&["web", "a", "b", "c"]).await;
    let harsh = spec("web", "two", "16Mi").replace(
        "{minHealthyTime: 300ms}",
        "{minHealthyTime: 300ms, strategy: recreate}",
    );
    let head = w
        .open(
            1,
            "opened",
            &[
                ("web.yaml", Some(&harsh)),
                ("a.yaml", None),
                ("b.yaml", None),
                ("c.yaml", None),
            ],
        )
        .await;
    // A person may let it through, so it does not keep anybody from merging.
    w.until_state(&head, "success").await;
    let text = w.until_comment(1, "**Brakes**").await;
    for part in [
        "part of it would wait for a person",
        "**shop/a** is held",
        "**shop/c** is held",
        "evenkeel source approve repo",
        "**shop/web** is replaced",
        "downtime: **yes**: strategy recreate stops all instances",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let told = w.forge.plans(&head).pop().unwrap().description;
    assert!(told.contains("3 held"), "{told}");

    // The same without what hurts.
    let kind = spec("web", "two", "16Mi");
    let head = w
        .open(1, "synchronized", &[("web.yaml", Some(&kind))])
        .await;
    w.until_state(&head, "success").await;
    let text = w.until_comment(1, "downtime: none").await;
    assert!(!text.contains("Brakes"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_refused_until_the_source_allows_it() {
    let w = World::start().await;
    let web = spec("web", "two", "16Mi");
    let head = w.propose(1, &[("web.yaml", Some(&web))]);
    w.forge.open(1, &head, true);
    w.deliver(1, "opened", &head, true).await;
    w.until_state(&head, "pending").await;
    assert_eq!(w.forge.comment(1), None);
    let fetched = || {
        let mirrors = std::fs::read_dir(w.c.data_dir().join("mirrors")).unwrap();
        let oid = git2::Oid::from_str(&head).unwrap();
        let mut mirrors = mirrors.map(|m| git2::Repository::open_bare(m.unwrap().path()).unwrap());
        mirrors.any(|m| m.find_commit(oid).is_ok())
    };
    assert!(!fetched(), "not even fetched");
    w.tell(&["--pull-requests-from-forks"]);
    w.until_state(&head, "success").await;
    w.until_comment(1, "is replaced").await;
    assert!(fetched());
}
