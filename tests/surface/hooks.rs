//! Webhooks: only authentic deliveries do anything.

use evenkeel::controller::Role;
use reqwest::StatusCode;
use ring::hmac;
use serde_json::{Value, json};

use crate::server::{Answer, Repository, Server, app};

fn sign(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

#[tokio::test]
async fn an_authentic_delivery_triggers_a_sync() {
    let server = Server::start().await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let deliver = |path: &str, signature: Option<String>, body: Vec<u8>| {
        let mut request = server
            .http
            .post(format!("{}/api/v1/hooks/{path}", server.url))
            .body(body);
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        Answer::of(request)
    };
    let body = br#"{"ref": "refs/heads/main"}"#.to_vec();

    // Without a secret nothing is authentic, not even an empty signature.
    let answer = deliver("shop", Some(sign("", &body)), body.clone()).await;
    answer.problem(403, "forbidden");
    assert!(
        answer.body["hint"]
            .as_str()
            .unwrap()
            .contains("--webhook-secret-file")
    );
    deliver("mall", None, body.clone())
        .await
        .problem(404, "not-found");

    let file = server.dir.path().join("secret");
    std::fs::write(&file, "\n").unwrap();
    let put = server.guard(&repository, &file).await;
    assert_eq!(put.body["webhook"]["configured"], true);
    deliver("shop", Some(sign("", &body)), body.clone())
        .await
        .problem(403, "forbidden");

    std::fs::write(&file, "s3cret\n").unwrap();
    for wrong in [
        None,
        Some(String::new()),
        Some("sha256=".to_owned()),
        Some(sign("other", &body)),
    ] {
        deliver("shop", wrong, body.clone())
            .await
            .problem(403, "forbidden");
    }
    let other = sign("s3cret", b"another body");
    deliver("shop", Some(other), body.clone())
        .await
        .problem(403, "forbidden");
    let huge = vec![b'x'; 5 << 20];
    deliver("shop", Some(sign("s3cret", &huge)), huge)
        .await
        .problem(413, "too-large");

    let before = server.get("/api/v1/sources/shop").await.body["sync"]["attempts"].clone();
    let good = sign("s3cret", &body);
    deliver("shop", Some(good), body)
        .await
        .check(StatusCode::ACCEPTED);
    server
        .until("the delivery led to a fetch", |s| {
            let name = "shop".parse().unwrap();
            let attempts = s.handle.sync_status(&name).map(|s| s.attempts);
            attempts > before.as_u64()
        })
        .await;
    server.stop().await;
}

const SECRET: &str = "s3cret";

/// A server with a source `shop` that is polled hardly ever, and has a webhook secret.
async fn hooked(server: &Server) -> Repository {
    hooked_at(server, server.dir.path()).await
}

async fn hooked_at(server: &Server, host: &std::path::Path) -> Repository {
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let file = host.join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    server.guard(&repository, &file).await;
    repository
}

async fn deliver(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = server
        .http
        .post(format!("{}/api/v1/hooks/shop", server.url))
        .body(body.to_vec());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

/// As GitHub delivers it.
async fn github(server: &Server, event: &str, id: &str, body: &Value) -> Answer {
    let body = body.to_string().into_bytes();
    let signature = sign(SECRET, &body);
    let headers = [
        ("x-github-event", event),
        ("x-github-delivery", id),
        ("x-hub-signature-256", &signature),
        ("content-type", "application/json"),
    ];
    deliver(server, &headers, &body).await
}

fn push(branch: &str) -> Value {
    json!({"ref": format!("refs/heads/{branch}"), "before": "b".repeat(40), "after": "a".repeat(40)})
}

async fn log(server: &Server) -> Value {
    server.get("/api/v1/sources/shop").await.body["webhook"]["deliveries"].clone()
}

#[tokio::test]
async fn an_answer_says_what_becomes_of_a_delivery() {
    let server = Server::start().await;
    hooked(&server).await;
    let answer = github(&server, "push", "1", &push("main")).await;
    let answer = answer.check(StatusCode::ACCEPTED).body;
    assert_eq!(answer["verdict"], "accepted");
    assert_eq!(answer["vendor"], "github");
    assert_eq!(
        answer["detail"],
        "branch main moved to aaaaaaaa: a sync of source shop was asked for"
    );
    let again = github(&server, "push", "1", &push("main")).await;
    assert_eq!(
        again.check(StatusCode::ACCEPTED).body["verdict"],
        "replayed"
    );
    let ping = github(&server, "ping", "2", &json!({"zen": "x"})).await;
    assert_eq!(ping.check(StatusCode::OK).body["verdict"], "pong");
    for (event, id, body, why) in [
        (
            "push",
            "3",
            push("dev"),
            "branch dev is not followed, main is",
        ),
        ("star", "4", json!({}), "star: only pushes, branches, tags"),
        (
            "create",
            "5",
            json!({"ref": "v1", "ref_type": "tag"}),
            "tag v1 is not followed, branch main is",
        ),
    ] {
        let answer = github(&server, event, id, &body).await;
        let answer = answer.check(StatusCode::ACCEPTED).body;
        assert_eq!(answer["verdict"], "ignored");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{detail}");
    }
    let broken = github(&server, "push", "6", &json!({"ref": 5})).await;
    broken.problem(400, "bad-request");
    // A body that is authentic and no text at all.
    let body = b"\xff\xfe\x00";
    let signature = sign(SECRET, body);
    let headers = [
        ("x-github-event", "push"),
        ("x-hub-signature-256", &*signature),
    ];
    deliver(&server, &headers, body)
        .await
        .problem(400, "bad-request");

    let log = log(&server).await;
    let verdicts: Vec<&str> = log["last"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        [
            "malformed",
            "malformed",
            "ignored",
            "ignored",
            "ignored",
            "pong",
            "replayed",
            "accepted"
        ]
    );
    assert_eq!((&log["total"], &log["forgedTotal"]), (&json!(8), &json!(0)));
    assert_eq!(log["last"][7]["id"], "1");
    // Lists are spared of it.
    let list = server.get("/api/v1/sources").await.body;
    assert!(list["items"][0]["webhook"]["deliveries"].is_null());
    server.stop().await;
}

#[tokio::test]
async fn forged_deliveries_are_counted_apart_and_do_nothing() {
    let server = Server::start().await;
    hooked(&server).await;
    github(&server, "push", "1", &push("main"))
        .await
        .check(StatusCode::ACCEPTED);
    let attempts = |s: &Server| {
        let name = "shop".parse().unwrap();
        s.handle.sync_status(&name).map(|s| (s.attempts, s.running))
    };
    server
        .until("it is synced", |s| {
            attempts(s).is_some_and(|(n, running)| n >= 2 && !running)
        })
        .await;
    let before = attempts(&server);
    let wrong = sign("wrong", b"{}");
    for n in 0..30 {
        let id = n.to_string();
        let headers = [
            ("x-github-event", "push"),
            ("x-github-delivery", id.as_str()),
            ("x-hub-signature-256", &wrong),
        ];
        deliver(&server, &headers, b"{}")
            .await
            .problem(403, "forbidden");
    }
    // Never a match: no signature, an empty one, SHA-1, a header that is no text.
    let sha1 = format!("sha1={}", "0".repeat(40));
    for headers in [
        vec![("x-github-event", "push")],
        vec![("x-github-event", "push"), ("x-hub-signature-256", "")],
        vec![("x-github-event", "push"), ("x-hub-signature", &sha1)],
        vec![("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "")],
        vec![],
    ] {
        deliver(&server, &headers, b"{}")
            .await
            .problem(403, "forbidden");
    }
    let odd = server
        .http
        .post(format!("{}/api/v1/hooks/shop", server.url))
        .header("x-github-event", "push")
        .header("x-hub-signature-256", &b"\xff\xfe"[..])
        .body("{}");
    Answer::of(odd).await.problem(403, "forbidden");
    assert_eq!(attempts(&server), before);
    let log = log(&server).await;
    assert_eq!(log["forgedTotal"], 36);
    assert_eq!(log["forged"].as_array().unwrap().len(), 5);
    assert_eq!(log["total"], 1);
    assert_eq!(log["last"][0]["verdict"], "accepted");
    server.stop().await;
}

#[tokio::test]
async fn a_test_that_is_not_signed_is_answered_and_kept_nowhere() {
    let server = Server::start().await;
    hooked(&server).await;
    let ping = [("x-event-key", "diagnostics:ping"), ("x-request-id", "1")];
    let answer = deliver(&server, &ping, br#"{"test": true}"#).await;
    let answer = answer.check(StatusCode::OK).body;
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .contains("proves nothing")
    );
    let mut empty = ping.to_vec();
    empty.push(("x-hub-signature", ""));
    deliver(&server, &empty, b"{}")
        .await
        .problem(403, "forbidden");
    let log = log(&server).await;
    assert_eq!((&log["total"], &log["forgedTotal"]), (&json!(0), &json!(1)));
    server.stop().await;
}

#[tokio::test]
async fn a_program_without_ids_may_say_the_same_twice() {
    let server = Server::start().await;
    hooked(&server).await;
    let signature = sign(SECRET, b"");
    let headers = [("x-hub-signature-256", &*signature)];
    let first = deliver(&server, &headers, b"").await.body;
    assert_eq!(first["verdict"], "accepted");
    let second = deliver(&server, &headers, b"").await.body;
    assert_eq!(second["verdict"], "replayed");
    assert!(second["detail"].as_str().unwrap().contains("was asked for"));
    server.stop().await;
}

#[tokio::test]
async fn followers_bound_and_pass_on_and_tell_what_was_saved() {
    let (leader, follower) = Server::pair().await;
    // It outlives the leader.
    let host = tempfile::tempdir().unwrap();
    hooked_at(&leader, host.path()).await;
    let path = "/api/v1/sources/shop";
    follower.until_says(path, "/interval", "1h").await;

    let passed_on = github(&follower, "push", "1", &push("main")).await;
    let passed_on = passed_on.check(StatusCode::ACCEPTED).body;
    assert_eq!(passed_on["verdict"], "accepted");
    let again = github(&leader, "push", "1", &push("main")).await;
    assert_eq!(again.body["verdict"], "replayed");
    let second = github(&follower, "push", "2", &push("main")).await;
    assert_eq!(second.body["verdict"], "accepted");
    let huge = vec![b'x'; 5 << 20];
    let signature = sign(SECRET, &huge);
    let headers = [("x-hub-signature-256", &*signature)];
    deliver(&follower, &headers, &huge)
        .await
        .problem(413, "too-large");

    // Saved in batches, and read by whoever does not lead, or leads next.
    let says = "/webhook/deliveries/last/2/verdict";
    follower.until_says(path, says, "accepted").await;
    leader.stop().await;
    follower
        .until("the other leads", |s| {
            s.handle.status().role == Role::Leader
        })
        .await;
    follower.until_says(path, says, "accepted").await;
    github(&follower, "ping", "3", &json!({}))
        .await
        .check(StatusCode::OK);
    let log = log(&follower).await;
    assert_eq!(log["total"], 4, "{log:#}");
    assert_eq!(log["last"][0]["verdict"], "pong");
    follower.stop().await;
}
