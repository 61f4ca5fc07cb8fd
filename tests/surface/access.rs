//! Who gets in, and what refusals look like.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::server::{ADMIN, AGENTS, Answer, Server};

#[tokio::test]
async fn everything_but_health_and_hooks_needs_its_token() {
    let server = Server::start().await;
    let ask = |method: Method, path: &str, token: Option<&str>| {
        let mut request = server.http.request(method, format!("{}{path}", server.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Answer::of(request)
    };
    for path in [
        "/api/v1/apps",
        "/api/v1/projects/shop/apps/web",
        "/api/v1/projects/shop/apps/web/logs",
        "/api/v1/sources",
        "/api/v1/nodes",
        "/api/v1/events",
        "/metrics",
        "/",
    ] {
        for wrong in [None, Some("wrong"), Some(""), Some("the-admins-tokeN")] {
            let answer = ask(Method::GET, path, wrong).await;
            answer.problem(401, "unauthorized");
            assert!(answer.headers.contains_key("www-authenticate"), "{path}");
            assert!(
                answer.body["hint"]
                    .as_str()
                    .unwrap()
                    .contains("admin-token")
            );
        }
    }
    for path in ["/api/v1/apps", "/metrics"] {
        ask(Method::GET, path, Some(AGENTS))
            .await
            .problem(403, "forbidden");
        ask(Method::GET, path, Some(ADMIN))
            .await
            .check(StatusCode::OK);
    }
    for (method, path) in [
        (Method::GET, "/api/v1/agent/stream?node=n1"),
        (Method::POST, "/api/v1/agent/reports"),
        (
            Method::POST,
            "/api/v1/agent/streams/00000000-0000-4000-8000-000000000001",
        ),
    ] {
        ask(method.clone(), path, None)
            .await
            .problem(401, "unauthorized");
        ask(method, path, Some(ADMIN))
            .await
            .problem(403, "forbidden");
    }
    for path in ["/healthz", "/readyz"] {
        ask(Method::GET, path, None).await.check(StatusCode::OK);
    }
    let ready = ask(Method::GET, "/readyz", None).await;
    assert_eq!(ready.body["role"], "leader");
    server.stop().await;
}

#[tokio::test]
async fn a_browser_logs_in_with_the_token_as_password_and_can_only_look() {
    let server = Server::start().await;
    let basic = |method: Method, path: &str, password: &str| {
        let request = server.http.request(method, format!("{}{path}", server.url));
        Answer::of(request.basic_auth("me", Some(password)))
    };
    let page = basic(Method::GET, "/", ADMIN).await.check(StatusCode::OK);
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(page.text.contains("Cluster test"), "{}", page.text);
    basic(Method::GET, "/", "wrong")
        .await
        .problem(401, "unauthorized");
    let verb = "/api/v1/projects/shop/apps/web/suspend";
    basic(Method::POST, verb, ADMIN)
        .await
        .problem(401, "unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong_with_them() {
    let server = Server::start().await;
    server
        .get("/api/v1/nothing")
        .await
        .problem(404, "not-found");
    server.get("/nothing").await.problem(404, "not-found");
    server
        .get("/api/v1/projects/shop/apps/web")
        .await
        .problem(404, "not-found");
    server
        .get("/api/v1/projects/shop/apps/WEB")
        .await
        .problem(400, "bad-request");
    server
        .get("/api/v1/apps?limit=many")
        .await
        .problem(400, "bad-request");
    server
        .get("/api/v1/apps?colour=red")
        .await
        .problem(400, "bad-request");
    server
        .get("/api/v1/events?app=web")
        .await
        .problem(400, "bad-request");
    let delete = server.request(Method::DELETE, "/api/v1/apps");
    Answer::of(delete).await.problem(405, "method-not-allowed");

    let post = |kind: &str, body: Vec<u8>| {
        let request = server.request(Method::POST, "/api/v1/sources");
        Answer::of(request.header("content-type", kind).body(body))
    };
    let json = "application/json";
    post(json, b"{".to_vec()).await.problem(400, "bad-request");
    post(json, Vec::new()).await.problem(400, "bad-request");
    post(json, b"\xff\xfe".to_vec())
        .await
        .problem(400, "bad-request");
    post(json, b"[".repeat(100_000))
        .await
        .problem(422, "invalid");
    post(json, b"{\"name\": \"x\"}".to_vec())
        .await
        .problem(422, "invalid");
    post("text/plain", b"{}".to_vec())
        .await
        .problem(415, "unsupported-media-type");
    post(json, vec![b' '; 5 << 20])
        .await
        .problem(413, "too-large");
    let unknown = json!({"name": "x", "url": "/srv/x", "colour": "red"});
    let answer = server.post("/api/v1/sources", unknown).await;
    answer.problem(422, "invalid");
    assert!(
        answer.body["detail"].as_str().unwrap().contains("colour"),
        "{}",
        answer.text
    );
    server.stop().await;
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.check(StatusCode::OK);
    assert_eq!(&document.body, evenkeel::http::document());
    assert_eq!(document.headers["content-type"], "application/json");
    let schema = server.get("/api/v1/schema").await.check(StatusCode::OK);
    assert_eq!(schema.body, evenkeel::manifest::json_schema());
    let page = server.get("/docs").await.check(StatusCode::OK);
    assert!(page.headers.contains_key("content-security-policy"));
    assert!(page.text.contains("GET /api/v1/apps"), "{}", page.text);
    for path in ["/openapi.json", "/docs"] {
        let request = server.http.get(format!("{}{path}", server.url));
        Answer::of(request).await.problem(401, "unauthorized");
    }
    server.stop().await;
}
