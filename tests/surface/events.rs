//! Events: pages, and live streams that lose nothing.

use std::time::Duration;

use evenkeel::client::{Client, EventQuery};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::Connection as _;

use crate::server::{ADMIN, Answer, Server, app};

async fn toggle(server: &Server, times: usize) {
    for n in 0..times {
        let verb = if n % 2 == 0 { "suspend" } else { "resume" };
        let path = format!("/api/v1/projects/shop/apps/web/{verb}");
        server.post(&path, json!({})).await.check(StatusCode::OK);
    }
}

#[tokio::test]
async fn the_record_is_read_in_pages_both_ways() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    toggle(&server, 6).await;
    let ids = |body: &serde_json::Value| -> Vec<i64> {
        let items = body["items"].as_array().unwrap();
        items.iter().map(|e| e["id"].as_i64().unwrap()).collect()
    };
    let all = ids(&server.get("/api/v1/events?limit=1000").await.body);
    assert!(all.is_sorted() && all.len() > 6, "{all:?}");
    let latest = ids(&server.get("/api/v1/events?limit=3").await.body);
    assert_eq!(latest, all[all.len() - 3..]);
    let before = ids(&server
        .get(&format!("/api/v1/events?limit=2&before={}", latest[0]))
        .await
        .body);
    assert_eq!(before, all[all.len() - 5..all.len() - 3]);
    let page = server
        .get(&format!("/api/v1/events?limit=2&after={}", all[0]))
        .await
        .body;
    assert_eq!(ids(&page), all[1..3]);
    assert_eq!(page["next"], all[2].to_string());
    server.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_where_another_ended() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let client = Client::new(&server.url, Some(ADMIN.to_owned())).unwrap();
    let query = EventQuery {
        app: Some("shop/web".to_owned()),
        ..EventQuery::default()
    };
    let mut stream = client.watch_events(&query).await.unwrap();
    toggle(&server, 2).await;
    let first = next_suspension(&mut stream).await;
    drop(stream);
    toggle(&server, 2).await;

    // Missed while away, then live: in order, none twice.
    let resumed = EventQuery {
        after: Some(first),
        ..query
    };
    let mut stream = client.watch_events(&resumed).await.unwrap();
    toggle(&server, 2).await;
    let mut last = first;
    let mut suspensions = 0;
    while suspensions < 2 {
        let event = next(&mut stream).await;
        assert!(event.id > last, "{} after {last}", event.id);
        assert_eq!(event.app.unwrap().to_string(), "shop/web");
        last = event.id;
        suspensions += usize::from(event.kind.as_str() == "app.suspended");
    }
    server.stop().await;
}

async fn next(stream: &mut evenkeel::client::events::EventStream) -> evenkeel::model::Event {
    tokio::time::timeout(Duration::from_secs(30), stream.next())
        .await
        .expect("an event in time")
        .unwrap()
        .expect("the stream goes on")
}

async fn next_suspension(stream: &mut evenkeel::client::events::EventStream) -> i64 {
    loop {
        let event = next(stream).await;
        if event.kind.as_str() == "app.suspended" {
            return event.id;
        }
    }
}

#[tokio::test]
async fn last_event_id_is_honoured_and_checked() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let ask = |id: &str| {
        server
            .request(Method::GET, "/api/v1/events")
            .header("accept", "text/event-stream")
            .header("last-event-id", id.to_owned())
    };
    Answer::of(ask("yesterday"))
        .await
        .problem(400, "bad-request");
    let mut response = ask("0").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let chunk = response.chunk().await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&chunk).into_owned();
    assert!(text.contains("id: 1") || text.contains("id:1"), "{text}");

    // A stop of the server ends the stream at once.
    server.stop().await;
    while let Ok(Some(_)) = response.chunk().await {}
}

/// The first message of a stream that resumes after this event.
async fn first_message(server: &Server, last: &str) -> String {
    let request = server
        .request(Method::GET, "/api/v1/events")
        .header("accept", "text/event-stream")
        .header("last-event-id", last.to_owned());
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut text = String::new();
    while !text.contains("\n\n") {
        let chunk = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await;
        text += &String::from_utf8_lossy(&chunk.unwrap().unwrap().unwrap());
    }
    text
}

#[tokio::test]
async fn a_gap_that_is_too_large_is_told_and_the_stream_goes_on() {
    let database = crate::pg::url().await;
    let server = Server::join(&database, evenkeel::http::Limits::default()).await;
    server
        .until("it leads", |s| s.handle.status().is_ready())
        .await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let newest = |body: serde_json::Value| body["items"][0]["id"].as_i64().unwrap();
    let first = newest(server.get("/api/v1/events?limit=1").await.body);
    let mut conn = sqlx::PgConnection::connect(&database).await.unwrap();
    let more = "INSERT INTO events (at, generation, cause, actor, kind, message)
        SELECT now(), 1, '', 'controller', 'sync.ok', 'n ' || n FROM generate_series(1, 10001) n";
    sqlx::query(more).execute(&mut conn).await.unwrap();
    let last = newest(server.get("/api/v1/events?limit=1").await.body);
    assert!(last > first + 10_000);

    // Too many.
    let client = Client::new(&server.url, Some(ADMIN.to_owned())).unwrap();
    let from = |id| EventQuery {
        after: Some(id),
        ..EventQuery::default()
    };
    let mut stream = client.watch_events(&from(first)).await.unwrap();
    match stream.next().await {
        Err(evenkeel::client::Error::Missed(gap)) => {
            assert_eq!((gap.after, gap.until), (Some(first), last));
            assert!(gap.why.contains("10000"), "{}", gap.why);
            assert!(!gap.hint.is_empty());
        }
        other => panic!("{other:?}"),
    }
    toggle(&server, 1).await;
    assert!(
        next(&mut stream).await.id > last,
        "it goes on after the gap"
    );

    // As many as are caught up, each of them; and of another app, none at all.
    let mut stream = client.watch_events(&from(last - 9_990)).await.unwrap();
    assert_eq!(next(&mut stream).await.id, last - 9_989);
    let query = EventQuery {
        app: Some("shop/web".to_owned()),
        ..from(first)
    };
    let mut stream = client.watch_events(&query).await.unwrap();
    assert_eq!(next_suspension(&mut stream).await, last + 1);

    // Forgotten meanwhile; and never there: another database's.
    sqlx::query("DELETE FROM events WHERE id < $1")
        .bind(last)
        .execute(&mut conn)
        .await
        .unwrap();
    for (id, why) in [
        (last - 100, "the oldest is"),
        (last + 1000, "the newest is"),
    ] {
        let text = first_message(&server, &id.to_string()).await;
        assert!(
            text.contains("event: gap") || text.contains("event:gap"),
            "{text}"
        );
        assert!(
            text.contains(why) && text.contains(&format!("{}", last + 1)),
            "{text}"
        );
    }
    server.stop().await;
}
