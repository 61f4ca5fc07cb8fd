//! Spans to a collector, by OTLP over HTTP (protobuf).
//!
//! Address, headers, timeout and compression come from `OTEL_EXPORTER_OTLP_…`, as the
//! OpenTelemetry specification has them, and are read by its own exporter.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};

use super::{Outcome, Span};
use crate::model::Timestamp;

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const TIMEOUTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
/// For one request, unless said otherwise; the specification's default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

pub struct Exporter {
    exporter: SpanExporter,
    scope: InstrumentationScope,
}

impl Exporter {
    /// `None`: nobody asked for traces. An error says which variable is wrong.
    pub fn from_env(instance: &str) -> anyhow::Result<Option<Exporter>> {
        let set = |name: &&str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        if set(&"OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
            || set(&"OTEL_TRACES_EXPORTER").is_some_and(|v| v == "none")
            || ENDPOINTS.iter().find_map(set).is_none()
        {
            return Ok(None);
        }
        if let Some(protocol) = PROTOCOLS.iter().find_map(set)
            && protocol != "http/protobuf"
        {
            bail!(
                "{} is {protocol}: traces are sent by http/protobuf only; collectors take it on port 4318",
                PROTOCOLS[1]
            );
        }
        let allowed = match TIMEOUTS.iter().find_map(set) {
            None => TIMEOUT,
            Some(text) => match text.trim().parse() {
                Ok(millis) => Duration::from_millis(millis),
                Err(_) => bail!(
                    "{} is {text}: it must be a number of milliseconds",
                    TIMEOUTS[1]
                ),
            },
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(allowed)
            .build()
            .context("no HTTP client for traces can be made")?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_http_client(Client(client))
            .build()
            .context("the OTEL_EXPORTER_OTLP_… variables cannot be used")?;
        let name = set(&"OTEL_SERVICE_NAME").unwrap_or_else(|| "evenkeel".to_owned());
        exporter.set_resource(
            &Resource::builder()
                .with_service_name(name)
                .with_attributes([
                    KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                    KeyValue::new("service.instance.id", instance.to_owned()),
                ])
                .build(),
        );
        Ok(Some(Exporter {
            exporter,
            scope: InstrumentationScope::builder("evenkeel")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }))
    }

    /// Sends them, or tells the log that they are lost.
    pub async fn export(&self, spans: Vec<Span>) {
        let count = spans.len();
        if count == 0 {
            return;
        }
        let batch = spans.into_iter().map(|span| self.data(span)).collect();
        if let Err(error) = self.exporter.export(batch).await {
            tracing::warn!(
                count,
                %error,
                "spans are lost: check the collector and OTEL_EXPORTER_OTLP_ENDPOINT"
            );
        }
    }

    fn data(&self, span: Span) -> SpanData {
        let status = match span.outcome {
            Outcome::Ok => Status::Ok,
            Outcome::Failed(why) => Status::error(why),
            Outcome::Unset => Status::Unset,
        };
        let parent = span
            .parent
            .map_or(opentelemetry::trace::SpanId::INVALID, |id| {
                opentelemetry::trace::SpanId::from_bytes(id.0)
            });
        SpanData {
            span_context: SpanContext::new(
                opentelemetry::trace::TraceId::from_bytes(span.trace.0),
                opentelemetry::trace::SpanId::from_bytes(span.id.0),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: span.name.into(),
            start_time: time(span.start),
            end_time: time(span.end),
            attributes: span
                .attributes
                .into_iter()
                .map(|(key, value)| KeyValue::new(key, value))
                .collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

/// The exporter's requests over the HTTP client that the whole program uses.
#[derive(Debug)]
struct Client(reqwest::Client);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let mut answer = self.0.execute(request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            *headers = answer.headers().clone();
        }
        Ok(response.body(body.into())?)
    }
}
