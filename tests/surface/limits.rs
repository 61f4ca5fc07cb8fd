//! Slow and stubborn clients.

use std::time::Duration;

use evenkeel::http::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use reqwest::StatusCode;
use serde_json::json;

use crate::server::{ADMIN, DEADLINE, Server, app};

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_cut_off() {
    let server = Server::start_with(Limits {
        header_read: Duration::from_millis(200),
        ..Limits::default()
    })
    .await;
    let mut slow = TcpStream::connect(server.url.trim_start_matches("http://"))
        .await
        .unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), slow.read_to_end(&mut rest))
        .await
        .expect("the server hangs up")
        .ok();
    server.stop().await;
}

#[tokio::test]
async fn connections_above_the_limit_wait_their_turn() {
    let server = Server::start_with(Limits {
        connections: 2,
        ..Limits::default()
    })
    .await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let first = TcpStream::connect(&address).await.unwrap();
    let second = TcpStream::connect(&address).await.unwrap();
    let mut third = TcpStream::connect(&address).await.unwrap();
    third
        .write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let early = tokio::time::timeout(
        Duration::from_millis(300),
        third.read_to_string(&mut answer),
    );
    assert!(
        early.await.is_err(),
        "it was served beyond the limit: {answer}"
    );
    drop((first, second));
    tokio::time::timeout(Duration::from_secs(30), third.read_to_string(&mut answer))
        .await
        .expect("its turn came")
        .unwrap();
    assert!(answer.contains("200 OK"), "{answer}");
    server.stop().await;
}

/// Says `request` and reads nothing, ever.
async fn deaf(server: &Server, request: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Little room on the way, so that the server notices at once.
    socket.set_recv_buffer_size(4096).unwrap();
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n{more}\r\n")
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::start().await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for more in [format!("x-large: {}\r\n", "x".repeat(100_000)), many] {
        let mut client = deaf(&server, &get("/api/v1/apps", &more)).await;
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        tokio::time::timeout(DEADLINE, read).await.unwrap().ok();
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let modest = format!("x-large: {}\r\nconnection: close\r\n", "x".repeat(8_000));
    let mut client = deaf(&server, &get("/api/v1/apps", &modest)).await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_its_place() {
    let server = Server::start_with(Limits {
        connections: 1,
        write_stall: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    // More answers than any buffer on the way holds: the document has 100 kB and more.
    let many = get("/openapi.json", "").repeat(200);
    let stuck = deaf(&server, &many).await;
    let health = server.http.get(format!("{}/healthz", server.url));
    let answer = health.timeout(DEADLINE).send().await.unwrap();
    assert!(answer.status().is_success(), "its turn came");
    drop(stuck);
    server.stop().await;
}

/// The store has four connections (`pg::options`); each kind of slow client comes eight times.
#[tokio::test]
async fn slow_clients_hold_no_connection_of_the_database() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let page = "/api/v1/events?limit=1000";
    let toggle = "/api/v1/projects/shop/apps/web";
    for n in 0..200 {
        let verb = if n % 2 == 0 { "suspend" } else { "resume" };
        let reason = json!({"reason": "x".repeat(900)});
        let body = if n % 2 == 0 { reason } else { json!({}) };
        let path = format!("{toggle}/{verb}");
        server.post(&path, body).await.check(StatusCode::OK);
    }
    let mut slow = Vec::new();
    for _ in 0..8 {
        // Streams that catch up, and large pages, that nobody reads.
        let stream = "accept: text/event-stream\r\nlast-event-id: 0\r\n";
        slow.push(deaf(&server, &get("/api/v1/events", stream)).await);
        slow.push(deaf(&server, &get(page, "").repeat(20)).await);
        // Bodies that never end.
        let half = format!(
            "POST {toggle}/suspend HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\
             content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        );
        slow.push(deaf(&server, &half).await);
        // And those who wait for what does not come.
        let wait = format!("{toggle}?wait=999999999&timeout=60s");
        slow.push(deaf(&server, &get(&wait, "")).await);
    }
    // All that needs the database goes on, many times and side by side: who finds no free
    // connection within 5 s is refused.
    for _ in 0..5 {
        let reads = (0..8).map(|_| server.get("/api/v1/events?limit=5"));
        for answer in futures_util::future::join_all(reads).await {
            answer.check(StatusCode::OK);
        }
        for verb in ["suspend", "resume"] {
            let path = format!("{toggle}/{verb}");
            server.post(&path, json!({})).await.check(StatusCode::OK);
        }
    }
    drop(slow);
    server.stop().await;
}

/// Sends this much of a delivery and then nothing; what is answered until the server hangs up.
async fn half_a_delivery(server: &Server, then: Then) -> String {
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut slow = TcpStream::connect(address).await.unwrap();
    let head = "POST /api/v1/hooks/shop HTTP/1.1\r\nhost: x\r\nx-github-event: push\r\n\
                connection: close\r\ncontent-length: 500\r\n\r\n{\"ref\": \"refs/he";
    slow.write_all(head.as_bytes()).await.unwrap();
    if then == Then::BreaksOff {
        slow.shutdown().await.unwrap();
    }
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(60), slow.read_to_string(&mut answer))
        .await
        .expect("the server ends it")
        .ok();
    answer
}

#[derive(PartialEq)]
enum Then {
    BreaksOff,
    StaysSilent,
}

#[tokio::test]
async fn half_a_delivery_is_ended_and_holds_nobody_up() {
    let server = Server::start().await;
    let broken = half_a_delivery(&server, Then::BreaksOff).await;
    assert!(
        broken.is_empty() || broken.contains(" 400 "),
        "it was taken: {broken}"
    );
    let silent = half_a_delivery(&server, Then::StaysSilent);
    let meanwhile = async {
        let hook = format!("{}/api/v1/hooks/shop", server.url);
        let answer = server.http.post(hook).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), 404);
    };
    let (silent, ()) = tokio::join!(silent, meanwhile);
    assert!(silent.contains(" 408 "), "{silent}");
    assert!(silent.contains("application/problem+json"), "{silent}");
    assert!(silent.contains("\"hint\":\"send it again;"), "{silent}");
    server.stop().await;
}
