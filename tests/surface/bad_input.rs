//! Whatever is sent to whichever route: a kind refusal, and nothing is lost. The routes are
//! taken from the API's own document, so that none is left out.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{ADMIN, Answer, DEADLINE, Server, app};

/// Method, path with `fill` in place of each name, and what the document tells of it.
fn routes(fill: &str) -> Vec<(Method, String, Value)> {
    let paths = evenkeel::http::document()["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, methods) in paths {
        let parts: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with('{') { fill } else { part })
            .collect();
        for (method, told) in methods.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            all.push((method, parts.join("/"), told.clone()));
        }
    }
    all
}

fn needs(told: &Value) -> &str {
    told["description"].as_str().unwrap()
}

fn of_operators(told: &Value) -> bool {
    needs(told).starts_with("Needs the role")
}

#[track_caller]
fn is_kind(answer: &Answer, what: &str) {
    let hint = answer.body["hint"].as_str().unwrap_or_default();
    assert!(!hint.is_empty(), "{what} has no hint: {}", answer.text);
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    assert!(!detail.is_empty(), "{what}: {}", answer.text);
}

impl Server {
    async fn bare(&self, method: &Method, path: &str, token: Option<&str>) -> Answer {
        let request = self
            .http
            .request(method.clone(), format!("{}{path}", self.url));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        Answer::of(request.json(&json!({})).timeout(DEADLINE)).await
    }
}

#[tokio::test]
async fn no_route_opens_to_a_missing_wrong_or_revoked_token() {
    let server = Server::start().await;
    let body = json!({"name": "gone", "role": "admin"});
    let made = server.post("/api/v1/tokens", body).await;
    let revoked = made.body["token"].as_str().unwrap().to_owned();
    let revoke = server.request(Method::DELETE, "/api/v1/tokens/gone");
    Answer::of(revoke).await.check(StatusCode::NO_CONTENT);
    let longer = format!("{ADMIN}x");
    let mut tried = 0;
    for (method, path, told) in routes("web") {
        if needs(&told) == "Needs no token." {
            continue;
        }
        for token in [None, Some("wrong"), Some(longer.as_str()), Some(&*revoked)] {
            let what = format!("{method} {path} with {token:?}");
            let answer = server.bare(&method, &path, token).await;
            assert_eq!(answer.status, 401, "{what}: {}", answer.text);
            answer.problem(401, "unauthorized");
            assert!(answer.headers.contains_key("www-authenticate"), "{what}");
            is_kind(&answer, &what);
            assert!(!answer.text.contains(&revoked[30..]), "{what}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    server.stop().await;
}

#[tokio::test]
async fn a_role_too_low_is_told_which_one_is_needed() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let mut tokens = Vec::new();
    for role in ["viewer", "operator"] {
        let body = json!({"name": role, "role": role});
        let made = server.post("/api/v1/tokens", body).await.body;
        tokens.push((role, made["token"].as_str().unwrap().to_owned()));
    }
    let before = server.handle.status().generation;
    let mut tried = 0;
    for (method, path, told) in routes("web") {
        for (role, token) in &tokens {
            let needed = needs(&told).strip_prefix("Needs the role ").unwrap_or("");
            let needed = needed.split([' ', ';', '.']).next().unwrap_or("");
            let too_low = match *role {
                "viewer" => ["operator", "admin"].contains(&needed),
                _ => needed == "admin",
            };
            if !too_low {
                continue;
            }
            let answer = server.bare(&method, &path, Some(token)).await;
            let what = format!("{method} {path} as {role}");
            assert_eq!(answer.status, 403, "{what}: {}", answer.text);
            answer.problem(403, "forbidden");
            is_kind(&answer, &what);
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains(needed), "{what}: {detail}");
            tried += 1;
        }
    }
    assert!(tried > 25, "{tried}");
    let apps = server.get("/api/v1/apps").await.body;
    assert_eq!(apps["items"][0]["suspended"], Value::Null);
    assert!(server.handle.status().generation >= before);
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_told_so_everywhere() {
    let server = Server::start().await;
    let mut tried = 0;
    for fill in [
        "nothing",
        "No_Name",
        "%FF",
        "..%2F..%2Fetc",
        "abcdef1234567",
    ] {
        for (method, path, told) in routes(fill) {
            if !path.contains(fill) || !of_operators(&told) {
                continue;
            }
            let answer = match method.as_str() {
                "PUT" => {
                    let body = json!({"name": "other", "url": "/srv/x"});
                    Answer::of(server.request(method.clone(), &path).json(&body)).await
                }
                _ => server.bare(&method, &path, Some(ADMIN)).await,
            };
            let what = format!("{method} {path}");
            let status = answer.status.as_u16();
            assert!([400, 404, 422].contains(&status), "{what}: {}", answer.text);
            is_kind(&answer, &what);
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    server.stop().await;
}

#[tokio::test]
async fn no_body_breaks_a_route() {
    let server = Server::start().await;
    server.follow("web", &[("web.yaml", &app("web"))]).await;
    let deep = "[".repeat(200_000);
    let deep_object = r#"{"name":"#.repeat(100_000);
    let bodies: [(&str, Vec<u8>); 8] = [
        ("deep", deep.into_bytes()),
        ("deep objects", deep_object.into_bytes()),
        ("truncated", br#"{"name": "web", "url": "/srv"#.to_vec()),
        ("not UTF-8", b"{\"name\": \"\xff\xfe\"}".to_vec()),
        ("not JSON", b"name: web".to_vec()),
        ("of another kind", b"[1, 2]".to_vec()),
        (
            "with a NUL",
            b"{\"reason\": \"\\u0000\", \"colour\": 1}".to_vec(),
        ),
        ("with unknown fields", b"{\"colour\": \"red\"}".to_vec()),
    ];
    let mut tried = 0;
    for (method, path, told) in routes("web") {
        if told["requestBody"].is_null() || !of_operators(&told) {
            continue;
        }
        for (kind, body) in &bodies {
            let request = server.request(method.clone(), &path);
            let request = request.header("content-type", "application/json");
            let answer = Answer::of(request.body(body.clone())).await;
            let what = format!("{method} {path}, {kind}");
            let status = answer.status.as_u16();
            assert!([400, 404, 422].contains(&status), "{what}: {}", answer.text);
            is_kind(&answer, &what);
            tried += 1;
        }
        let huge = vec![b' '; evenkeel::api::plan::MAX_BYTES + 1];
        let request = server.request(method.clone(), &path);
        let request = request.header("content-type", "application/json");
        // The server may hang up before all of it is sent.
        if let Ok(answer) = request.body(huge).send().await {
            assert_eq!(answer.status(), 413, "{method} {path}");
        }
    }
    assert!(tried > 50, "{tried}");
    // Nothing came of any of it.
    let web = server.get("/api/v1/apps?name=web").await;
    assert_eq!(web.body["items"][0]["suspended"], Value::Null);
    assert_eq!(server.get("/api/v1/tokens").await.body["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut half = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /api/v1/projects/shop/apps/web/suspend HTTP/1.1\r\nhost: x\r\n\
         authorization: Bearer {ADMIN}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{\"reason\": \"fr"
    );
    half.write_all(head.as_bytes()).await.unwrap();
    half.shutdown().await.unwrap();
    let mut answer = String::new();
    let read = half.read_to_string(&mut answer);
    tokio::time::timeout(DEADLINE, read).await.unwrap().ok();
    assert!(answer.is_empty() || answer.contains(" 400 "), "{answer}");
    let web = server.get("/api/v1/projects/shop/apps/web").await.body;
    assert_eq!(web["suspended"], Value::Null);
    server.stop().await;
}
