//! Slow and stubborn clients.

use std::time::Duration;

use evenkeel::http::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::Server;

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
