//! What README.md tells to type about sources, plans and forges, typed against the real
//! binary: each line of each block, with nothing changed but folders and addresses.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use regex::Regex;
use serde_json::json;

use crate::cluster::{Cluster, LONG, Setup, pause};
use crate::forge::{Forge, Reply};
use crate::hooks::{deliver, push, spec};

const TOKEN: &str = "t0ken-of-the-forge";

/// The text below this heading, up to the next of its own level or above.
pub fn section(heading: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (_, rest) = readme.split_once(&format!("\n{heading}\n")).unwrap();
    let level = heading.split(' ').next().unwrap().len();
    let ends = Regex::new(&format!("(?m)^#{{1,{level}}} ")).unwrap();
    let end = ends.find(rest).map_or(rest.len(), |found| found.start());
    rest[..end].to_owned()
}

pub fn blocks(text: &str) -> Vec<String> {
    let fence = Regex::new(r"(?ms)^```sh\n(.*?)^```$").unwrap();
    let found = fence.captures_iter(text);
    found.map(|block| block[1].to_owned()).collect()
}

pub struct Typist {
    pub c: Cluster,
    pub etc: PathBuf,
}

impl Typist {
    async fn start() -> Typist {
        let setup = Setup {
            runtime: Some("process"),
            interval: "1h",
            ..Setup::default()
        };
        let c = Cluster::start_with(setup, &[("deploy/web.yaml", &spec(0))]).await;
        // The guides begin with a cluster that follows nothing.
        let (code, _, err) = c.cli(&["source", "remove", "repo", "--prune"]);
        assert_eq!(code, 0, "{err}");
        let etc = c.dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        Typist { c, etc }
    }

    fn here(&self, text: &str) -> String {
        let repository = Regex::new(r"https://[a-z./]+/(TEAM/|team/)?shop\.git").unwrap();
        let text = text.replace("/etc/evenkeel", self.etc.to_str().unwrap());
        repository
            .replace_all(&text, self.c.git.url("repo.git"))
            .into_owned()
    }

    /// Exit code and both outputs of a shell that stops at the first failure.
    fn sh(&self, script: &str, folder: &Path) -> (i32, String) {
        let binary = Path::new(env!("CARGO_BIN_EXE_evenkeel"));
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", binary.parent().unwrap().display());
        let output = Command::new("sh")
            .args(["-euc", script])
            .env("PATH", path)
            .env("EVENKEEL_DATA_DIR", self.c.data_dir())
            .env("FORGE_TOKEN", TOKEN)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let code = output.status.code().unwrap();
        (code, String::from_utf8(text).unwrap())
    }
}

/// A forge without pull requests that gives an App its token.
async fn empty_forge() -> Forge {
    let forge = Forge::start(&[]).await;
    let list = Reply::json(200, json!([]));
    let page = Reply::json(200, json!({"values": [], "isLastPage": true}));
    forge.always("/pulls", list.clone());
    forge.always("/merge_requests", list);
    forge.always("/pullrequests", page.clone());
    forge.always("/pull-requests", page);
    forge.always("/installation", Reply::json(200, json!({"id": 67})));
    let granted = json!({"token": "ghs_granted", "expires_at": "2100-01-01T00:00:00Z"});
    forge.always("/access_tokens", Reply::json(201, granted));
    forge
}

/// Per vendor's heading: how it calls itself when it delivers; where its statuses go, up to
/// the commit; and what proves us there.
fn wanted(heading: &str, app: bool) -> (&'static str, &'static str, &'static str, String) {
    let bearer = format!("Bearer {TOKEN}");
    match (heading, app) {
        ("GitHub", false) => (
            "github",
            "/api/v3/repos/team/shop/statuses/",
            "authorization",
            bearer,
        ),
        ("GitHub", true) => (
            "github",
            "/api/v3/repos/team/shop/statuses/",
            "authorization",
            "Bearer ghs_granted".to_owned(),
        ),
        ("GitLab", _) => (
            "gitlab",
            "/api/v4/projects/team%2Fshop/statuses/",
            "private-token",
            TOKEN.to_owned(),
        ),
        ("Gitea and Forgejo", _) => (
            "forgejo",
            "/api/v1/repos/team/shop/statuses/",
            "authorization",
            format!("token {TOKEN}"),
        ),
        ("Bitbucket Cloud", _) => (
            "bitbucketCloud",
            "/2.0/repositories/team/shop/commit/",
            "authorization",
            bearer,
        ),
        ("Bitbucket Data Center", _) => (
            "bitbucketDataCenter",
            "/rest/api/1.0/projects/TEAM/repos/shop/commits/",
            "authorization",
            bearer,
        ),
        (other, _) => panic!("a guide of which nothing is known here: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_forges_guide_leads_to_statuses_plans_and_deliveries() {
    let t = Typist::start().await;
    let key = t.etc.join("app.pem");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
        .arg(&key)
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let api = Regex::new(r" --forge-api \S+").unwrap();
    let kind = Regex::new(r"--forge (\S+)").unwrap();
    let http = reqwest::Client::new();
    let guide = section("## Forges, step by step");
    let mut typed = 0;
    for part in guide.split("\n### ").skip(1) {
        let heading = part.lines().next().unwrap();
        for block in blocks(part) {
            let (vendor, place, header, proof) = wanted(heading, block.contains("--forge-app-id"));
            let forge = empty_forge().await;
            let block = api.replace_all(&t.here(&block), "").into_owned();
            let there = format!("--forge $1 --forge-api {}", forge.url);
            let block = kind.replace_all(&block, there).into_owned();
            let (code, shown) = t.sh(&block, t.c.dir.path());
            assert_eq!(code, 0, "{heading}: {block}\n{shown}");
            let check = format!("evenkeel/{}/shop/plan", t.c.name);
            let hook = format!("{}/api/v1/hooks/shop", t.c.url());
            assert!(shown.contains(&check[..30.min(check.len())]), "{shown}");
            assert!(shown.contains(&hook), "{shown}");

            let end = Instant::now() + LONG;
            let told = loop {
                let calls = forge.calls();
                let good = ["success", "SUCCESSFUL"];
                let told = calls
                    .iter()
                    .find(|c| c.method == "POST" && good.iter().any(|g| c.body["state"] == *g));
                let asked = calls.iter().any(|c| {
                    c.method == "GET" && (c.path.contains("pull") || c.path.contains("merge_req"))
                });
                if let (Some(told), true) = (told, asked) {
                    break told.clone();
                }
                assert!(Instant::now() < end, "{heading}: {calls:#?}\n{}", t.c.log());
                pause().await;
            };
            assert!(told.path.starts_with(place), "{told:?}");
            assert_eq!(told.headers[header], proof);

            // What it says to enter as the secret proves deliveries.
            let secret = std::fs::read_to_string(t.etc.join("shop.hook")).unwrap();
            let head = t.c.repo.head("main").unwrap().to_string();
            let sent = push(
                vendor,
                secret.trim(),
                &format!("{heading}-{typed}"),
                "main",
                &head,
            );
            let (status, body) = deliver(&http, &hook, &sent).await;
            assert_eq!(
                (status, &body["verdict"]),
                (202, &json!("accepted")),
                "{body}"
            );
            let (_, shown, _) = t.c.cli(&["source", "show", "shop"]);
            let warned = |line: &&str| line.contains("warning") && !line.contains("in clear text");
            let warnings: Vec<&str> = shown.lines().filter(warned).collect();
            assert!(warnings.is_empty(), "{heading}: {warnings:?}");
            assert!(shown.contains(", told "), "{shown}");
            let (code, _, err) = t.c.cli(&["source", "remove", "shop", "--prune"]);
            assert_eq!(code, 0, "{err}");
            typed += 1;
        }
    }
    assert_eq!(typed, 6);
    assert!(!t.c.whole_log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_about_sources_and_plans_do_what_they_say() {
    let t = Typist::start().await;
    std::fs::write(t.etc.join("shop.token"), TOKEN).unwrap();
    let folder = t.c.dir.path().join("checkout");
    std::fs::create_dir_all(folder.join("deploy")).unwrap();
    std::fs::write(folder.join("deploy/web.yaml"), spec(1)).unwrap();
    let of_sources = section("## Sources");
    let lines = blocks(of_sources.split("\n### ").next().unwrap()).concat();
    let (mut plans, mut typed) = (Vec::new(), 0);
    for line in blocks(section("## Plans").split("\n### ").next().unwrap()) {
        plans.extend(line.lines().map(str::to_owned));
    }
    assert_eq!(plans.len(), 3);
    for line in lines.lines() {
        let (code, told) = t.sh(&t.here(line), &folder);
        match line.contains("source approve") {
            // Nothing is held here.
            true => assert!(code == 1 && told.contains("held"), "{line}: {told}"),
            false => assert_eq!(code, 0, "{line}: {told}"),
        }
        typed += 1;
        if line.contains("--path deploy") {
            let head = t.c.repo.head("main").unwrap().to_string();
            t.c.wait_healthy("web", &head).await;
            for plan in &plans {
                // The second source is not there yet: which one is meant need not be said.
                let (code, told) = t.sh(plan, &folder);
                let wanted = if plan.contains("--detailed-exitcode") {
                    5
                } else {
                    0
                };
                assert_eq!(code, wanted, "{plan}: {told}");
                assert!(
                    told.contains("shop/web") || told.contains("\"web\""),
                    "{told}"
                );
            }
        }
    }
    assert_eq!(typed, 8);
    let (code, told, _) = t.c.cli(&["status", "web"]);
    assert_eq!(code, 1, "its source was removed with it: {told}");
}
