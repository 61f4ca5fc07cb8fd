//! Traces, as a collector receives them, and logs, as a program reads them.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use ring::hmac;
use serde_json::Value;

use crate::cluster::{Cluster, LONG, Setup, pause};
use crate::specs::{Version, web};

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Returns its address.
    async fn start(&self) -> String {
        let app = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    }

    /// All spans of the trace whose root names the commit, once the root is there.
    async fn trace(&self, commit: &str) -> Vec<Span> {
        let end = Instant::now() + LONG;
        loop {
            let spans = self.0.lock().unwrap().clone();
            if let Some(root) = spans.iter().find(|s| is_root(s, commit)) {
                let ours = spans.iter().filter(|s| s.trace_id == root.trace_id);
                return ours.cloned().collect();
            }
            assert!(Instant::now() < end, "no root of {commit}: {spans:#?}");
            pause().await;
        }
    }
}

async fn receive(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-key"], "of the team");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in request.resource_spans {
        let described = format!("{:?}", resource.resource);
        assert!(described.contains("evenkeel"), "{described}");
        for scope in resource.scope_spans {
            collector.0.lock().unwrap().extend(scope.spans);
        }
    }
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|s| s.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

fn is_root(span: &Span, commit: &str) -> bool {
    let short = span.name.strip_prefix("commit ");
    span.parent_span_id.is_empty() && short.is_some_and(|short| commit.starts_with(short))
}

fn root<'a>(spans: &'a [Span], commit: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|s| is_root(s, commit)).collect();
    assert_eq!(found.len(), 1, "roots in {spans:#?}");
    found[0]
}

fn code(span: &Span) -> StatusCode {
    span.status.as_ref().map(|s| s.code()).unwrap_or_default()
}

/// By a delivery, and with nothing polled: from the forge's word on.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_begins_with_the_push() {
    let collector = Collector::default();
    let setup = Setup {
        runtime: Some("process"),
        interval: "1h",
        env: vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.start().await),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of the team".to_owned()),
            ("EVENKEEL_LOG_FORMAT", "json".to_owned()),
        ],
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &process("one"))]).await;
    let first = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &first).await;
    let unasked = collector.trace(&first).await;
    assert!(!unasked.iter().any(|s| s.name == "push to repo"));

    let secret = c.dir.path().join("hook");
    std::fs::write(&secret, "hook-secret").unwrap();
    let body = serde_json::json!({
        "name": "repo", "url": c.git.url("repo.git"), "project": "shop", "interval": "1h",
        "webhookSecretFile": secret,
    });
    let put = c.http.put(format!("{}/api/v1/sources/repo", c.url()));
    let put = put.bearer_auth(c.token()).json(&body).send().await.unwrap();
    assert!(put.status().is_success());
    // New settings begin with a sync.
    c.wait("sources/repo", "at rest", |s| {
        s["sync"]["running"] == false && s["sync"]["attempts"].as_u64() >= Some(1)
    })
    .await;
    let commit = c.repo.commit("two", &[("web.yaml", Some(&process("two")))]);
    let body = format!(r#"{{"ref": "refs/heads/main", "after": "{commit}"}}"#);
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"hook-secret");
    let proof = hex::encode(hmac::sign(&key, body.as_bytes()));
    let delivered = c
        .http
        .post(format!("{}/api/v1/hooks/repo", c.url()))
        .header("x-hub-signature-256", format!("sha256={proof}"))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(delivered.status(), 202);
    c.wait_healthy("web", &commit).await;
    let spans = collector.trace(&commit).await;
    let (top, push, sync) = (
        root(&spans, &commit),
        one(&spans, "push to repo"),
        one(&spans, "sync repo"),
    );
    assert_eq!(push.parent_span_id, top.span_id);
    assert_eq!(push.start_time_unix_nano, top.start_time_unix_nano);
    assert_eq!(push.end_time_unix_nano, sync.start_time_unix_nano);
    one(&spans, "rollout shop/web");

    // Each line is a document, with the same words for the same things.
    let lines: Vec<Value> = c
        .whole_log()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert!(lines.len() > 5);
    for line in &lines {
        for key in ["timestamp", "level", "message", "target"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
    }
    let follows = lines.iter().find(|l| l["message"] == "following");
    assert_eq!(follows.unwrap()["source"], "repo");
}

fn process(version: &str) -> String {
    format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: web, project: shop}}
spec:
  process: {{command: [sleep, "1000"]}}
  env: {{VERSION: "{version}"}}
  rollout: {{minHealthyTime: 100ms}}
  stopGracePeriod: 1s
"#
    )
}

#[test]
fn a_protocol_that_is_not_spoken_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in [
        "OTEL_EXPORTER_OTLP_PROTOCOL is grpc",
        "http/protobuf only",
        "port 4318",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!data.join("postgres").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_one_trace_from_its_sync_to_its_verdict() {
    let collector = Collector::default();
    let setup = Setup {
        env: vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.start().await),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of the team".to_owned()),
        ],
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[("web.yaml", &web(Version::Good("one")))]).await;
    let first = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &first).await;
    let spans = collector.trace(&first).await;
    let top = root(&spans, &first);
    let rollout = one(&spans, "rollout shop/web");
    assert_eq!(code(top), StatusCode::Ok);
    assert_eq!(code(rollout), StatusCode::Ok);
    assert_eq!(rollout.parent_span_id, top.span_id);
    assert_eq!(one(&spans, "sync repo").parent_span_id, top.span_id);
    for slot in 0..3 {
        let instance = one(&spans, &format!("instance {slot}"));
        assert_eq!(instance.parent_span_id, rollout.span_id);
    }
    for span in &spans {
        assert!(span.start_time_unix_nano >= top.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= top.end_time_unix_nano);
    }

    let bad = c
        .commit(&[("web.yaml", Some(&web(Version::Crashes("two"))))])
        .await;
    c.wait_rolled_back("web", &bad).await;
    let spans = collector.trace(&bad).await;
    let top = root(&spans, &bad);
    assert_eq!(code(top), StatusCode::Error);
    assert!(top.status.as_ref().unwrap().message.contains("shop/web"));
    let rollout = one(&spans, "rollout shop/web");
    assert_eq!(code(rollout), StatusCode::Error);
    assert!(rollout.status.as_ref().unwrap().message.contains("code 3"));
    let rollback = one(&spans, "rollback shop/web");
    assert_eq!(code(rollback), StatusCode::Ok);
    assert!(rollback.end_time_unix_nano <= top.end_time_unix_nano);
}
