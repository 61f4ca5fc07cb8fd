//! Named tokens: what they open, to whom, and for how long.

use std::time::Duration;

use evenkeel::http::Limits;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::run;
use crate::pg;
use crate::server::{ADMIN, Answer, DEADLINE, Server, app};

impl Server {
    async fn make(&self, body: Value) -> String {
        let made = self.post("/api/v1/tokens", body).await;
        let made = made.check(StatusCode::CREATED);
        made.body["token"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, method: Method, path: &str, token: &str) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.url));
        Answer::of(request.bearer_auth(token).timeout(DEADLINE)).await
    }

    async fn with(&self, token: &str, path: &str) -> Answer {
        self.ask(Method::GET, path, token).await
    }

    async fn revoke(&self, name: &str) -> Answer {
        let path = format!("/api/v1/tokens/{name}");
        Answer::of(self.request(Method::DELETE, &path)).await
    }

    /// Two projects with an app each.
    async fn two_projects(&self) {
        self.follow("shop", &[("web.yaml", &app("web"))]).await;
        let blog = crate::server::Repository::new(&self.dir.path().join("blog"));
        blog.commit(&[("page.yaml", &app("page"))]);
        let body = json!({"name": "blog", "url": blog.path, "project": "blog"});
        self.post("/api/v1/sources", body)
            .await
            .check(StatusCode::CREATED);
        self.until_says("/api/v1/sources/blog", "/lastApplied", &blog.head())
            .await;
    }
}

fn names(answer: &Answer) -> Vec<&str> {
    let items = answer.body["items"].as_array().expect(&answer.text);
    items.iter().map(|i| i["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_token_is_shown_once_listed_and_worthless_once_revoked() {
    let server = Server::start().await;
    let token = server.make(json!({"name": "ci", "role": "operator"})).await;
    assert!(token.starts_with("evk_") && token.len() > 60, "{token}");
    server
        .with(&token, "/api/v1/apps")
        .await
        .check(StatusCode::OK);

    let list = server.get("/api/v1/tokens").await.check(StatusCode::OK);
    assert_eq!(names(&list), ["ci"]);
    let item = &list.body["items"][0];
    assert_eq!(item["role"], "operator");
    assert_eq!(item["projects"], Value::Null);
    assert_eq!(item["createdBy"], "admin");
    assert!(item["lastUsedAt"].is_string(), "{item}");
    let secret = token.rsplit_once('_').unwrap().1;
    assert!(!list.text.contains(secret), "{}", list.text);

    let again = server
        .post("/api/v1/tokens", json!({"name": "ci", "role": "viewer"}))
        .await;
    again.problem(409, "conflict");
    assert_eq!(again.body["hint"], "evenkeel token revoke ci");

    server.revoke("ci").await.check(StatusCode::NO_CONTENT);
    // At once, and told what happened; who lacks the secret is told nothing.
    let refused = server.with(&token, "/api/v1/apps").await;
    refused.problem(401, "unauthorized");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("revoked by admin"), "{detail}");
    let guess = format!("{}x", &token[..token.len() - 1]);
    let wrong = server.with(&guess, "/api/v1/apps").await;
    assert_eq!(wrong.body["detail"], "the token is wrong");
    server.revoke("ci").await.problem(404, "not-found");
    // The name is free again, for another secret.
    let next = server.make(json!({"name": "ci", "role": "viewer"})).await;
    assert_ne!(next, token);

    let events = server.get("/api/v1/events?kind=token.revoked").await.body;
    assert_eq!(events["items"][0]["actor"], "user:admin");
    server.stop().await;
}

#[tokio::test]
async fn only_what_can_be_a_token_is_made() {
    let server = Server::start().await;
    for (body, what) in [
        (json!({"name": "CI", "role": "viewer"}), "name"),
        (json!({"name": "admin", "role": "viewer"}), "admin"),
        (json!({"name": "ci", "role": "root"}), "root"),
        (json!({"name": "ci"}), "role"),
        (
            json!({"name": "ci", "role": "viewer", "projects": []}),
            "projects",
        ),
        (
            json!({"name": "ci", "role": "viewer", "projects": ["A B"]}),
            "projects",
        ),
        (
            json!({"name": "ci", "role": "admin", "projects": ["shop"]}),
            "admin",
        ),
        (
            json!({"name": "ci", "role": "viewer", "expiresIn": "soon"}),
            "expiresIn",
        ),
        (
            json!({"name": "ci", "role": "viewer", "expiresIn": "0s"}),
            "expiresIn",
        ),
    ] {
        let answer = server.post("/api/v1/tokens", body.clone()).await;
        answer.problem(422, "invalid");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(what), "{body}: {detail}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_role_opens_what_it_should_and_the_refusal_says_which_is_needed() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let viewer = server.make(json!({"name": "eye", "role": "viewer"})).await;
    let operator = server
        .make(json!({"name": "jane", "role": "operator"}))
        .await;
    let admin = server.make(json!({"name": "root", "role": "admin"})).await;

    let suspend = "/api/v1/projects/shop/apps/web/suspend";
    let refused = server.ask(Method::POST, suspend, &viewer).await;
    refused.problem(403, "forbidden");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("eye") && detail.contains("operator"),
        "{detail}"
    );
    let done = server.ask(Method::POST, suspend, &operator).await;
    // Events and documents carry the caller's name.
    assert_eq!(done.check(StatusCode::OK).body["suspended"]["by"], "jane");

    for token in [&viewer, &operator] {
        for (method, path) in [
            (Method::GET, "/api/v1/tokens"),
            (Method::POST, "/api/v1/tokens"),
            (Method::POST, "/api/v1/sources"),
            (Method::DELETE, "/api/v1/sources/shop"),
            (Method::POST, "/api/v1/sources/shop/approve"),
        ] {
            let answer = server.ask(method, path, token).await;
            answer.problem(403, "forbidden");
        }
    }
    let sync = "/api/v1/sources/shop/sync";
    server
        .ask(Method::POST, sync, &viewer)
        .await
        .problem(403, "forbidden");
    server
        .ask(Method::POST, sync, &operator)
        .await
        .check(StatusCode::ACCEPTED);
    server
        .with(&admin, "/api/v1/tokens")
        .await
        .check(StatusCode::OK);
    let agents = server.with(&admin, "/api/v1/agent/stream?node=n1").await;
    agents.problem(403, "forbidden");
    server.stop().await;
}

#[tokio::test]
async fn a_token_bound_to_a_project_sees_nothing_else() {
    let server = Server::start().await;
    server.two_projects().await;
    server.register("n1").await;
    let body = json!({"name": "shopper", "role": "operator", "projects": ["shop"]});
    let token = server.make(body).await;

    assert_eq!(names(&server.with(&token, "/api/v1/apps").await), ["web"]);
    assert_eq!(
        names(&server.with(&token, "/api/v1/sources").await),
        ["shop"]
    );
    assert_eq!(names(&server.get("/api/v1/apps").await), ["page", "web"]);
    for path in [
        "/api/v1/projects/blog/apps/page",
        "/api/v1/projects/blog/apps/page/why",
        "/api/v1/projects/blog/apps/page/logs",
        "/metrics",
    ] {
        server.with(&token, path).await.problem(403, "forbidden");
    }
    for path in ["/api/v1/sources/blog", "/api/v1/sources/blog/commits"] {
        server.with(&token, path).await.problem(404, "not-found");
    }
    let sync = server.ask(Method::POST, "/api/v1/sources/blog/sync", &token);
    sync.await.problem(404, "not-found");
    let verb = "/api/v1/projects/blog/apps/page/suspend";
    let verb = server.ask(Method::POST, verb, &token).await;
    verb.problem(403, "forbidden");

    let all = server.get("/api/v1/events?limit=1000").await.text;
    assert!(all.contains("blog") && all.contains("node.registered"));
    let seen = server.with(&token, "/api/v1/events?limit=1000").await;
    let seen = seen.check(StatusCode::OK).text;
    assert!(seen.contains("shop/web"), "{seen}");
    assert!(
        !seen.contains("blog") && !seen.contains("node.registered"),
        "{seen}"
    );
    let page = server.with(&token, "/").await.check(StatusCode::OK).text;
    assert!(
        page.contains("shop/web") && !page.contains("blog"),
        "{page}"
    );
    server.stop().await;
}

#[tokio::test]
async fn streams_show_what_the_token_sees_and_end_with_it() {
    let server = Server::start().await;
    server.two_projects().await;
    let body = json!({"name": "shopper", "role": "viewer", "projects": ["shop"]});
    let token = server.make(body).await;
    let url = format!("{}/api/v1/events", server.url);
    let stream = server.http.get(url).bearer_auth(&token);
    let stream = stream.header("accept", "text/event-stream");
    let mut stream = stream.header("last-event-id", "0").send().await.unwrap();
    for app in ["blog/apps/page", "shop/apps/web"] {
        let path = format!("/api/v1/projects/{app}/suspend");
        server.post(&path, json!({})).await.check(StatusCode::OK);
    }
    let mut text = String::new();
    while !text.contains("app.suspended") {
        let chunk = tokio::time::timeout(DEADLINE, stream.chunk()).await;
        text += &String::from_utf8_lossy(&chunk.unwrap().unwrap().unwrap());
    }
    assert!(!text.contains("blog"), "{text}");
    server.revoke("shopper").await.check(StatusCode::NO_CONTENT);
    let end = tokio::time::timeout(DEADLINE, async {
        while stream.chunk().await.unwrap().is_some() {}
    });
    end.await.expect("it ends with the token");
    server.stop().await;
}

#[tokio::test]
async fn a_token_expires_by_itself() {
    let server = Server::start().await;
    let body = json!({"name": "brief", "role": "viewer", "expiresIn": "1s"});
    let token = server.make(body).await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let answer = server.with(&token, "/api/v1/apps").await;
        if answer.status == StatusCode::UNAUTHORIZED {
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("brief expired at"), "{detail}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn followers_learn_of_tokens_and_of_their_end() {
    let (leader, follower) = Server::pair().await;
    // Made through the follower, carried out by the leader.
    let token = follower.make(json!({"name": "ci", "role": "viewer"})).await;
    leader
        .with(&token, "/api/v1/apps")
        .await
        .check(StatusCode::OK);
    until_answers(&follower, &token, StatusCode::OK).await;
    leader.revoke("ci").await.check(StatusCode::NO_CONTENT);
    until_answers(&follower, &token, StatusCode::UNAUTHORIZED).await;
    follower.stop().await;
    leader.stop().await;
}

async fn until_answers(server: &Server, token: &str, wanted: StatusCode) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let answer = server.with(token, "/api/v1/apps").await;
        if answer.status == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", answer.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn tokens_open_the_api_while_the_database_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let database = pg::start_in(dir.path()).await;
    let store = evenkeel::store::Store::connect(database.url(), pg::options())
        .await
        .unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let server = Server::join(database.url(), Limits::default()).await;
    server
        .until("it leads", |s| s.handle.status().is_ready())
        .await;
    let token = server.make(json!({"name": "ci", "role": "viewer"})).await;
    // Until the tokens were read once, nobody can say that one is wrong.
    until_answers(&server, "evk_0123456789abcdef_x", StatusCode::UNAUTHORIZED).await;
    database.stop().await.unwrap();
    server
        .with(&token, "/api/v1/apps")
        .await
        .check(StatusCode::OK);
    let wrong = server.with("evk_0123456789abcdef_x", "/api/v1/apps").await;
    wrong.problem(401, "unauthorized");
    let list = server.get("/api/v1/tokens").await;
    list.problem(503, "unavailable");
    server.stop().await;
}

#[tokio::test]
async fn the_command_line_makes_lists_and_revokes() {
    let server = Server::start().await;
    let admin = |args: &'static [&'static str]| run(Some(&server.url), ADMIN, args);
    let create = [
        "token", "create", "ci", "--role", "operator", "--only", "shop",
    ];
    let made = run(Some(&server.url), ADMIN, &create).await.check(0);
    let token = made.out.lines().next().unwrap().to_owned();
    let json = admin(&["token", "create", "eye", "-o", "json"]).await;
    assert!(json.check(0).json()["token"].as_str().unwrap().len() > 60);
    let table = admin(&["token", "list"]).await.check(0);
    assert!(table.out.starts_with("NAME"), "{}", table.out);
    assert!(table.out.contains("shop") && !table.out.contains(&token));

    run(Some(&server.url), &token, &["status"]).await.check(0);
    let refused = run(Some(&server.url), &token, &["token", "list"]).await;
    let refused = refused.check(3);
    assert!(
        refused.err.contains("needs the role admin"),
        "{}",
        refused.err
    );
    admin(&["token", "revoke", "ci"]).await.check(0);
    let gone = run(Some(&server.url), &token, &["status"]).await.check(3);
    assert!(gone.err.contains("revoked by admin"), "{}", gone.err);
    let list = admin(&["token", "list", "-o", "json"]).await.check(0);
    assert_eq!(list.json().as_array().unwrap().len(), 1);
    admin(&["token", "revoke", "ci"]).await.check(1);
    server.stop().await;
}
