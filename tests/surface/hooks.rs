//! Webhooks: only authentic deliveries do anything.

use reqwest::StatusCode;
use ring::hmac;
use serde_json::json;

use crate::server::{Answer, Server, app};

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
    let source = json!({
        "name": "shop", "url": repository.path, "project": "shop", "interval": "1h",
        "webhookSecretFile": file,
    });
    let put = server
        .request(reqwest::Method::PUT, "/api/v1/sources/shop")
        .json(&source);
    let put = Answer::of(put).await.check(StatusCode::OK);
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
