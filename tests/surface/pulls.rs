//! Pull requests: planned, told at the forge, kept up to date and ended.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::pull_forge::PullForge;
use crate::server::{Answer, Repository, Server, app};

struct World {
    server: Server,
    forge: PullForge,
    repository: Repository,
}

impl World {
    async fn start(forks: bool) -> World {
        let server = Server::start().await;
        server.keep("n1").await;
        let repository = server
            .follow(
                "shop",
                &[("web.yaml", &app("web")), ("api.yaml", &app("api"))],
            )
            .await;
        let forge = PullForge::start().await;
        let world = World {
            server,
            forge,
            repository,
        };
        world.set_forge(forks).await;
        world
    }

    async fn set_forge(&self, forks: bool) {
        let token = self.server.dir.path().join("forge-token");
        std::fs::write(&token, "t0ken").unwrap();
        let body = json!({
            "name": "shop", "url": self.repository.path, "project": "shop", "interval": "1s",
            "forge": {"kind": "gitea", "apiUrl": self.forge.url, "repository": "team/apps",
                "tokenFile": token},
            "pullRequests": {"forks": forks},
        });
        let put = self.server.request(Method::PUT, "/api/v1/sources/shop");
        Answer::of(put.json(&body)).await.check(StatusCode::OK);
    }

    /// A commit on a branch of its own, that the forge keeps as that pull request's head.
    fn propose(&self, number: u64, files: &[(&str, &str)]) -> String {
        let branch = format!("fix{number}");
        self.repository
            .git(&["checkout", "-q", "-B", &branch, "main"]);
        self.repository.commit(files);
        let head = self.repository.head();
        let name = format!("refs/pull/{number}/head");
        self.repository.git(&["update-ref", &name, &head]);
        self.repository.git(&["checkout", "-q", "main"]);
        self.repository.git(&["branch", "-q", "-D", &branch]);
        head
    }

    fn open(&self, number: u64, files: &[(&str, &str)]) -> String {
        let head = self.propose(number, files);
        self.forge.open(number, &head, false);
        head
    }

    async fn until(&self, what: &str, holds: impl Fn(&PullForge) -> bool) {
        self.server.until(what, |_| holds(&self.forge)).await;
    }

    async fn until_state(&self, head: &str, state: &str) {
        self.until(&format!("{state} on {head}"), |f| f.state(head) == state)
            .await;
    }

    /// Until the comment holds all of it.
    async fn until_comment(&self, number: u64, parts: &[&str]) -> String {
        let has = |f: &PullForge| {
            let text = f.comment(number).unwrap_or_default();
            parts.iter().all(|part| text.contains(part))
        };
        let last = || self.forge.comment(number).unwrap_or_default();
        let waited = self.until("in the comment", has);
        if tokio::time::timeout(Duration::from_secs(50), waited)
            .await
            .is_err()
        {
            panic!("no {parts:?} in {}", last());
        }
        last()
    }
}

fn changed(name: &str) -> String {
    app(name).replace("1000", "2000")
}

fn huge(name: &str) -> String {
    app(name) + "  resources: {requests: {memory: 100Gi}}\n"
}

#[tokio::test]
async fn a_plan_is_made_kept_up_to_date_and_ended() {
    let w = World::start(false).await;
    let first = w.open(1, &[("web.yaml", &changed("web"))]);
    w.until_state(&first, "success").await;
    let status = w.forge.plans(&first).remove(0);
    assert_eq!(status.context, "evenkeel/test/shop/plan");
    assert_eq!(status.description, "1 replaced");
    let text = w
        .until_comment(
            1,
            &["shop/web", "is replaced", "new instances: slot 0 on `n1`"],
        )
        .await;
    assert!(text.contains(&first[..8]), "{text}");
    assert!(!text.contains("shop/api"), "{text}");

    let list = w.server.get("/api/v1/sources/shop/pulls").await;
    let listed = &list.check(StatusCode::OK).body["items"][0];
    assert_eq!(
        (&listed["number"], &listed["verdict"]),
        (&json!(1), &json!("changes"))
    );
    assert_eq!(listed["plan"]["counts"]["replace"], 1, "{listed:#}");
    let none = w.server.get("/api/v1/sources/none/pulls").await;
    none.problem(404, "not-found");

    // A new push: planned anew, in the same comment, told on the new head.
    let second = w.open(1, &[("new.yaml", &app("new"))]);
    w.until_state(&second, "success").await;
    assert_eq!(w.forge.plans(&second)[0].description, "1 created");
    let text = w.until_comment(1, &["shop/new", "is created"]).await;
    assert!(!text.contains("shop/web"), "{text}");

    // The branch moves on: what would be merged is another thing now, though its head is not.
    w.repository.commit(&[("new.yaml", &changed("new"))]);
    w.until_state(&second, "failure").await;
    w.until_comment(1, &["conflicts with main in new.yaml"])
        .await;
    w.repository.git(&["revert", "--no-edit", "HEAD"]);
    w.until_state(&second, "success").await;

    // The followed branch was never moved by any of it.
    let head = w.repository.git(&["rev-parse", "main"]);
    let path = "/api/v1/sources/shop";
    w.server.until_says(path, "/lastApplied", &head).await;
    let none = w.server.get("/api/v1/projects/shop/apps/new").await;
    assert!(none.status == StatusCode::NOT_FOUND || none.body["git"]["commit"] != second);

    w.forge.close(1, true);
    w.until_comment(1, &["plan: over", "is merged"]).await;
    let written = w.forge.comments_written();
    w.forge
        .open(2, &w.propose(2, &[("web.yaml", &changed("web"))]), false);
    w.until_comment(2, &["is replaced"]).await;
    w.forge.close(2, false);
    w.until_comment(2, &["plan: over", "is closed"]).await;
    assert_eq!(
        w.forge.comments_written(),
        written + 2,
        "nothing is told twice"
    );
    w.server.stop().await;
}

#[tokio::test]
async fn invalid_and_infeasible_ones_fail_and_say_why() {
    let w = World::start(false).await;
    let invalid = w.open(
        1,
        &[("web.yaml", &app("web").replace("process:", "proces:"))],
    );
    let never = w.open(2, &[("big.yaml", &huge("big"))]);
    let gone = w.open(3, &[("web.yaml", "# empty\n"), ("api.yaml", "# empty\n")]);
    w.until_state(&invalid, "failure").await;
    let said = &w.forge.plans(&invalid)[0].description;
    assert!(said.starts_with("invalid: web.yaml:6:3"), "{said}");
    w.until_comment(
        1,
        &["**Problems**", "web.yaml:6:3", "**shop/web** is invalid"],
    )
    .await;
    w.until_state(&never, "failure").await;
    w.until_comment(2, &["**does not fit**", "not enough memory"])
        .await;
    // Both deleted: two are below the brake, and deleting is what was asked for.
    w.until_state(&gone, "success").await;
    w.until_comment(3, &["is deleted"]).await;
    // The fix on the same pull request.
    let fixed = w.open(1, &[("web.yaml", &changed("web"))]);
    w.until_state(&fixed, "success").await;
    let text = w.until_comment(1, &["is replaced"]).await;
    assert!(!text.contains("Problems"), "{text}");
    w.server.stop().await;
}

#[tokio::test]
async fn forks_are_planned_only_where_the_source_allows_it() {
    let w = World::start(false).await;
    let head = w.propose(1, &[("web.yaml", &changed("web"))]);
    w.forge.open(1, &head, true);
    w.until_state(&head, "pending").await;
    let said = &w.forge.plans(&head)[0].description;
    assert!(said.contains("comes from a fork"), "{said}");
    assert_eq!(w.forge.comment(1), None);
    w.set_forge(true).await;
    w.until_state(&head, "success").await;
    w.until_comment(1, &["is replaced"]).await;
    w.server.stop().await;
}

#[tokio::test]
async fn a_forge_that_is_away_holds_nothing_up_and_is_told_later() {
    let w = World::start(false).await;
    w.until("asked", |f| f.asked() > 0).await;
    w.forge.down(true);
    let head = w.open(1, &[("web.yaml", &changed("web"))]);
    let path = "/api/v1/sources/shop";
    w.server
        .until("a warning", |s| {
            let name = "shop".parse().unwrap();
            let status = s.handle.sync_status(&name);
            status.is_some_and(|s| s.warnings.iter().any(|w| w.starts_with("pull requests: ")))
        })
        .await;
    w.repository.commit(&[("web.yaml", &changed("web"))]);
    let main = w.repository.head();
    w.server.until_says(path, "/lastApplied", &main).await;
    w.forge.down(false);
    w.until_state(&head, "success").await;
    w.until_comment(1, &["no changes"]).await;
    w.server.stop().await;
}

#[tokio::test]
async fn a_changed_cluster_changes_plans() {
    let w = World::start(false).await;
    // More than the one node has room for beside nothing else.
    let big = app("big") + "  replicas: 2\n  resources: {requests: {memory: 5Gi}}\n";
    let head = w.open(1, &[("big.yaml", &big)]);
    w.until_state(&head, "failure").await;
    w.server.keep("n2").await;
    w.until_state(&head, "success").await;
    let text = w.until_comment(1, &["it would be carried out"]).await;
    assert!(text.contains("`n2`"), "{text}");
    w.server.stop().await;
}
