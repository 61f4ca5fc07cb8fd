//! What became of a commit: the document and the page that a commit's status links to.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::recorder::Forge;
use crate::server::{ADMIN, Answer, Server, app};

const BAD: &str = "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: web}\nspec: {image: x:1, replicas: <b>}\n";

/// A source with a forge, at its first commit.
async fn followed(server: &Server, forge: &Forge) -> crate::server::Repository {
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let token = server.dir.path().join("forge-token");
    std::fs::write(&token, "t0ken").unwrap();
    let body = json!({"name": "shop", "url": repository.path, "project": "shop", "interval": "5m",
        "forge": {"kind": "gitea", "apiUrl": forge.url, "repository": "team/shop", "tokenFile": token}});
    let put = server
        .request(Method::PUT, "/api/v1/sources/shop")
        .json(&body);
    Answer::of(put).await.check(StatusCode::OK);
    repository
}

#[tokio::test]
async fn a_commits_document_tells_its_status_its_apps_and_what_was_told() {
    let (server, forge) = (Server::start().await, Forge::start(&[]).await);
    let repository = followed(&server, &forge).await;
    let first = repository.head();
    let path = format!("/api/v1/sources/shop/commits/{first}");
    server.until_says(&path, "/told/0/delivery", "sent").await;
    let report = server.get(&path).await.body;
    assert_eq!(report["id"], first);
    assert_eq!(report["applied"], true);
    assert_eq!(report["status"]["state"], "pending");
    assert_eq!(report["seen"]["subject"], "A change");
    assert_eq!(report["apps"][0]["app"], "shop/web");
    assert_eq!(report["apps"][0]["verdict"], "progressing");
    assert_eq!(report["apps"][0]["path"], "/api/v1/projects/shop/apps/web");
    assert_eq!(report["told"][0]["context"], "evenkeel/test/shop");
    // A part of the hash is enough.
    let short = format!("/api/v1/sources/shop/commits/{}", &first[..8]);
    assert_eq!(server.get(&short).await.body["id"], first);

    // A file that is not valid fails it, and what it was before is told of the one before.
    repository.commit(&[("web.yaml", BAD)]);
    server
        .post("/api/v1/sources/shop/sync", json!({}))
        .await
        .check(StatusCode::ACCEPTED);
    let head = repository.head();
    let path = format!("/api/v1/sources/shop/commits/{head}");
    server
        .until_says("/api/v1/sources/shop", "/lastApplied", &head)
        .await;
    server.until_says(&path, "/told/0/delivery", "sent").await;
    let report = server.get(&path).await.body;
    assert_eq!(report["status"]["state"], "failure");
    assert_eq!(report["told"][0]["state"], "failure");
    assert_eq!(report["apps"][0]["verdict"], "invalid");
    assert_eq!(report["seen"]["problems"][0]["line"], 4);
    let states = forge.taken(&head);
    assert_eq!(states.last().unwrap().0, "failure");
    assert!(states[..states.len() - 1].iter().all(|s| s.0 == "pending"));
}

#[tokio::test]
async fn a_commits_page_shows_the_same_to_people() {
    let (server, forge) = (Server::start().await, Forge::start(&[]).await);
    let repository = followed(&server, &forge).await;
    repository.commit(&[("web.yaml", BAD)]);
    server
        .post("/api/v1/sources/shop/sync", json!({}))
        .await
        .check(StatusCode::ACCEPTED);
    let head = repository.head();
    let document = format!("/api/v1/sources/shop/commits/{head}");
    server
        .until_says(&document, "/status/state", "failure")
        .await;
    let page = format!("{}/sources/shop/commits/{head}", server.url);
    let show = server.http.get(&page).basic_auth("me", Some(ADMIN));
    let answer = show.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let html = answer.text().await.unwrap();
    for part in ["failure", "web.yaml:4:", "shop/web", "A change", &head] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(
        html.contains("&lt;b&gt;") && !html.contains("<b>"),
        "{html}"
    );
    let closed = server.http.get(&page).send().await.unwrap();
    assert_eq!(closed.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_commit_that_was_not_seen_is_told_so() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let get = async |path: &str| server.get(&format!("/api/v1/sources/{path}")).await;
    get(&format!("shop/commits/{}", "0".repeat(40)))
        .await
        .problem(404, "not-found");
    get(&format!("mall/commits/{}", "0".repeat(40)))
        .await
        .problem(404, "not-found");
    for odd in ["main", "0123", "..%2F..%2Fetc", "%27%20OR%201"] {
        get(&format!("shop/commits/{odd}"))
            .await
            .problem(400, "bad-request");
    }
}
