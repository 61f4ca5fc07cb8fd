//! Sources over their life.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::server::{Answer, Server, app};

#[tokio::test]
async fn a_source_is_added_followed_changed_and_removed() {
    let server = Server::start().await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let status = server.get("/api/v1/sources/shop").await.body;
    assert_eq!(status["state"], "ok");
    assert_eq!(status["apps"], 1);
    assert_eq!(status["webhook"]["path"], "/api/v1/hooks/shop");
    assert_eq!(status["webhook"]["configured"], false);
    assert_eq!(status["lastSeen"], status["lastApplied"]);
    let commits = server.get("/api/v1/sources/shop/commits").await.body;
    assert_eq!(commits["items"][0]["id"], repository.head());
    assert_eq!(commits["items"][0]["subject"], "A change");

    let again = json!({"name": "shop", "url": "/srv/other"});
    server
        .post("/api/v1/sources", again.clone())
        .await
        .problem(409, "conflict");
    let renamed = server
        .request(Method::PUT, "/api/v1/sources/mall")
        .json(&again);
    Answer::of(renamed).await.problem(422, "invalid");
    let body = json!({"name": "shop", "url": repository.path, "project": "shop", "interval": "5m"});
    let changed = server
        .request(Method::PUT, "/api/v1/sources/shop")
        .json(&body);
    let changed = Answer::of(changed).await.check(StatusCode::OK);
    assert_eq!(changed.body["interval"], "5m");

    repository.commit(&[("api.yaml", &app("api"))]);
    server
        .post("/api/v1/sources/shop/sync", json!({}))
        .await
        .check(StatusCode::ACCEPTED);
    let head = repository.head();
    server
        .until_says("/api/v1/sources/shop", "/lastApplied", &head)
        .await;
    server
        .get("/api/v1/projects/shop/apps/api")
        .await
        .check(StatusCode::OK);

    let remove = |query: &str| {
        let path = format!("/api/v1/sources/shop{query}");
        Answer::of(server.request(Method::DELETE, &path))
    };
    remove("").await.problem(409, "conflict");
    remove("?prune=true").await.check(StatusCode::ACCEPTED);
    server
        .until("it is gone with the last of its apps", |s| {
            s.handle
                .read(|s| s.apps.is_empty() && s.sources.is_empty())
                .unwrap_or(false)
        })
        .await;
    server
        .get("/api/v1/sources/shop")
        .await
        .problem(404, "not-found");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_source_is_refused_before_it_is_stored() {
    let server = Server::start().await;
    let refused = |body: serde_json::Value| server.post("/api/v1/sources", body);
    for body in [
        json!({"name": "Shop", "url": "/srv/x"}),
        json!({"name": "shop", "url": "nowhere"}),
        json!({"name": "shop", "url": "/srv/x", "interval": "soon"}),
        json!({"name": "shop", "url": "/srv/x", "path": "../.."}),
    ] {
        refused(body).await.problem(422, "invalid");
    }
    let answer = refused(json!({"name": "shop", "url": "https://me:hunter2@forge/x"})).await;
    answer.problem(422, "invalid");
    assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    assert!(server.handle.read(|s| s.sources.is_empty()).unwrap());
    server.stop().await;
}

#[tokio::test]
async fn bad_files_and_unreachable_remotes_show_up_in_the_status() {
    let server = Server::start().await;
    let bad = "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata:\n  name: bad\nspec:\n  imag: x\n";
    server
        .follow("shop", &[("web.yaml", &app("web")), ("bad.yaml", bad)])
        .await;
    let status = server.get("/api/v1/sources/shop").await.body;
    assert_eq!(status["state"], "invalid", "{status:#}");
    assert_eq!(status["problems"][0]["file"], "bad.yaml");
    assert_eq!(status["problems"][0]["line"], 6);

    let body = json!({"name": "gone", "url": server.dir.path().join("nothing-here")});
    server
        .post("/api/v1/sources", body)
        .await
        .check(StatusCode::CREATED);
    let path = "/api/v1/sources/gone";
    server
        .until("a first attempt", |s| {
            let name = "gone".parse().unwrap();
            s.handle
                .sync_status(&name)
                .is_some_and(|status| status.attempts > 0)
        })
        .await;
    let status = server.get(path).await.body;
    assert_ne!(status["sync"]["outcome"]["kind"], "ok", "{status:#}");
    server.stop().await;
}
