//! Two controllers on one database: whichever is asked, the leader acts.

use evenkeel::controller::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::server::{Answer, Server, app};

#[tokio::test]
async fn a_follower_answers_reads_and_passes_the_rest_on() {
    let (leader, follower) = Server::pair().await;

    let repository = crate::server::Repository::new(&leader.dir.path().join("repo"));
    repository.commit(&[("web.yaml", &app("web"))]);
    let body = json!({"name": "shop", "url": repository.path, "project": "shop"});
    follower
        .post("/api/v1/sources", body)
        .await
        .check(StatusCode::CREATED);
    let head = repository.head();
    follower
        .until_says("/api/v1/sources/shop", "/lastApplied", &head)
        .await;
    follower
        .get("/api/v1/projects/shop/apps/web")
        .await
        .check(StatusCode::OK);
    follower
        .get("/api/v1/projects/shop/apps/web/why")
        .await
        .check(StatusCode::OK);
    let events = follower.get("/api/v1/events?kind=source.added").await.body;
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    let refused = follower
        .post("/api/v1/projects/shop/apps/web/release", json!({}))
        .await;
    refused.problem(409, "conflict");

    // A node may speak to either.
    follower.register("n1").await;
    leader.get("/api/v1/nodes/n1").await.check(StatusCode::OK);

    // What was passed on once is not passed on again.
    let twice = follower
        .request(Method::POST, "/api/v1/sources/shop/sync")
        .header("x-evenkeel-forwarded", "1");
    let twice = Answer::of(twice).await;
    twice.problem(503, "no-leader");
    assert!(twice.headers.contains_key("retry-after"));

    // And when the leader goes, the other takes over.
    leader.stop().await;
    follower
        .until("the other leads", |s| {
            s.handle.status().role == Role::Leader
        })
        .await;
    follower
        .post("/api/v1/sources/shop/sync", json!({}))
        .await
        .check(StatusCode::ACCEPTED);
    follower.stop().await;
}
