//! The agents' endpoints, spoken to as an agent does.

use std::time::Duration;

use evenkeel::api::agent::ToAgent;
use evenkeel::client::Client;
use evenkeel::model::{NodeName, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::server::{AGENTS, Answer, Server, app, report};

#[tokio::test]
async fn a_node_registers_and_is_told_what_it_must_run() {
    let server = Server::start().await;
    server.register("n1").await;
    let nodes = server
        .get("/api/v1/nodes/n1")
        .await
        .check(StatusCode::OK)
        .body;
    assert_eq!(nodes["liveness"], "ready");
    assert_eq!(nodes["capacity"]["cpuMillis"], 4000);
    server
        .get("/api/v1/nodes/n2")
        .await
        .problem(404, "not-found");

    let agent = Client::new(&server.url, Some(AGENTS.to_owned())).unwrap();
    let mut stream = agent.agent_stream(&"n1".parse().unwrap()).await.unwrap();
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let placed = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let Some(ToAgent::Desired { set }) = stream.next().await.unwrap()
                && let Some(instance) = set.instances.values().next()
            {
                return instance.app.to_string();
            }
        }
    });
    assert_eq!(placed.await.unwrap(), "shop/web");
    server.stop().await;
}

#[tokio::test]
async fn a_node_is_heard_even_where_its_report_changes_nothing() {
    let server = Server::start().await;
    server.register("n1").await;
    let name: NodeName = "n1".parse().unwrap();
    let written = server.handle.read(|s| s.nodes[&name].last_heard).unwrap();
    let told = |view: &serde_json::Value| -> Timestamp {
        serde_json::from_value(view["lastHeard"].clone()).unwrap()
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    for sequence in 2.. {
        let mut same = report("n1");
        same["sequence"] = json!(sequence);
        let reports = format!("{}/api/v1/agent/reports", server.url);
        let said = server.http.post(reports).bearer_auth(AGENTS).json(&same);
        Answer::of(said).await.check(StatusCode::NO_CONTENT);
        let one = server.get("/api/v1/nodes/n1").await.body;
        let all = server.get("/api/v1/nodes").await.body;
        let page = server.request(Method::GET, "/").send().await.unwrap();
        let page = page.text().await.unwrap();
        // More than clocks differ by.
        let later = Timestamp(written.0 + 200);
        if told(&one) > later
            && told(&all["items"][0]) > later
            && !page.contains(&format!("<td>{written}</td>"))
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{one:#}\n{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let still = server.handle.read(|s| s.nodes[&name].last_heard).unwrap();
    assert_eq!(still, written, "the same report was written down again");
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_report_is_refused_kindly() {
    let server = Server::start().await;
    let send = |path: &str, body: serde_json::Value| {
        let request = server
            .http
            .post(format!("{}{path}", server.url))
            .bearer_auth(AGENTS);
        Answer::of(request.json(&body))
    };
    let mut broken = report("n1");
    broken["facts"] = json!(7);
    send("/api/v1/agent/reports", broken)
        .await
        .problem(422, "invalid");
    send(
        "/api/v1/agent/streams/00000000-0000-4000-8000-000000000001",
        json!({}),
    )
    .await
    .problem(404, "not-found");
    let stream = server.http.request(
        Method::GET,
        format!("{}/api/v1/agent/stream?node=N_1", server.url),
    );
    Answer::of(stream.bearer_auth(AGENTS))
        .await
        .problem(400, "bad-request");
    server.stop().await;
}
