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

/// What the exporter does not read from the environment by itself.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    timeout: Duration,
    service: String,
}

/// `None`: nobody asked for traces. An error names the variable that is wrong.
fn asked(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Asked>> {
    let set = |name: &'static str| {
        let value = variable(name)?;
        (!value.trim().is_empty()).then(|| (name, value.trim().to_owned()))
    };
    let first = |names: [&'static str; 2]| names.into_iter().find_map(set);
    let says = |name, word: &str| set(name).is_some_and(|(_, v)| v.eq_ignore_ascii_case(word));
    let Some((endpoint, address)) = first(ENDPOINTS) else {
        return Ok(None);
    };
    if says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    let url = reqwest::Url::parse(&address);
    if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        bail!(
            "{endpoint} is {address}: it must be the address of a collector, such as http://127.0.0.1:4318"
        );
    }
    if let Some((name, protocol)) = first(PROTOCOLS)
        && protocol != "http/protobuf"
    {
        bail!(
            "{name} is {protocol}: traces are sent by http/protobuf only; collectors take it on port 4318"
        );
    }
    let timeout = match first(TIMEOUTS) {
        None => TIMEOUT,
        Some((name, text)) => match text.parse() {
            Ok(millis) => Duration::from_millis(millis),
            Err(_) => bail!("{name} is {text}: it must be a number of milliseconds"),
        },
    };
    let service = set("OTEL_SERVICE_NAME").map_or_else(|| "evenkeel".to_owned(), |(_, name)| name);
    Ok(Some(Asked { timeout, service }))
}

pub struct Exporter {
    exporter: SpanExporter,
    scope: InstrumentationScope,
}

impl Exporter {
    /// `None`: nobody asked for traces. An error says which variable is wrong.
    pub fn from_env(instance: &str) -> anyhow::Result<Option<Exporter>> {
        let Some(Asked { timeout, service }) = asked(|name| std::env::var(name).ok())? else {
            return Ok(None);
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .build()
            .context("no HTTP client for traces can be made")?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_http_client(Client(client))
            .build()
            .context("the OTEL_EXPORTER_OTLP_… variables cannot be used")?;
        exporter.set_resource(
            &Resource::builder()
                .with_service_name(service)
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

    /// The same look at the variables with nothing made of it: a role asks before it starts.
    pub fn check_env() -> anyhow::Result<()> {
        asked(|name| std::env::var(name).ok()).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What these variables ask for.
    fn check(variables: &[(&str, &str)]) -> Result<Option<Asked>, String> {
        let value = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name)?;
            Some(found.1.to_owned())
        };
        asked(value).map_err(|error| error.to_string())
    }

    const HERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn only_who_names_a_collector_gets_traces() {
        assert_eq!(check(&[]), Ok(None));
        assert_eq!(check(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]), Ok(None));
        assert_eq!(check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        assert_eq!(check(&[HERE, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(check(&[HERE, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        let plain = Asked {
            timeout: TIMEOUT,
            service: "evenkeel".to_owned(),
        };
        assert_eq!(check(&[HERE]), Ok(Some(plain)));
        let own = Asked {
            timeout: Duration::from_millis(250),
            service: "shop".to_owned(),
        };
        let more = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t.example/x"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_SERVICE_NAME", "shop"),
        ];
        assert_eq!(check(&more), Ok(Some(own)));
    }

    #[test]
    fn what_cannot_work_is_named_with_its_variable() {
        for (variable, value, words) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf only"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1", "milliseconds"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "collector:4317",
                "address of a collector",
            ),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "unix:///x",
                "address of a collector",
            ),
        ] {
            let told = check(&[HERE, (variable, value)]).unwrap_err();
            assert!(
                told.starts_with(&format!("{variable} is {value}: ")),
                "{told}"
            );
            assert!(told.contains(words), "{told}");
        }
    }
}
