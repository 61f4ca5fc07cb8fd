//! Asks one probe again and again and tells each answer.
//!
//! Owns the asking and its pace; what answers mean is `step::hysteresis`.
//! An answer that only says that the runtime is down is no answer.

mod exec;
mod grpc;
mod http;
mod tcp;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::runtime::Runtime;
use super::step::Probing;
use super::step::hysteresis::Pace;
use crate::model::InstanceId;
use crate::model::instance::{ProbeAnswer, ProbeKind};
use crate::model::quantity::format_duration;
use crate::model::spec::Check;

/// Most of an answer's text that is kept, in bytes.
const MAX_ANSWER: usize = 200;
/// Shortest pause between two network probes before the first success.
const QUICKEST: Duration = Duration::from_millis(10);
/// The same for commands, which cost a process each.
const QUICKEST_EXEC: Duration = Duration::from_millis(100);

/// What one asking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Passed(String),
    Failed(String),
    /// Nothing can be said of the instance.
    Unknown,
}

/// One answer on its way to the worker.
#[derive(Clone, Debug)]
pub struct Probed {
    pub id: InstanceId,
    pub run: u64,
    pub answer: ProbeAnswer,
}

/// Makes probes; cheap to clone.
#[derive(Clone)]
pub struct Prober {
    http: reqwest::Client,
    grpc: reqwest::Client,
}

impl Prober {
    /// Fails only if the HTTP client's own configuration is refused.
    pub fn new() -> Result<Prober, reqwest::Error> {
        Ok(Prober {
            http: http::client()?,
            grpc: grpc::client()?,
        })
    }

    /// Asks once, within the probe's timeout.
    pub async fn ask(
        &self,
        id: InstanceId,
        probing: &Probing,
        runtime: Option<&dyn Runtime>,
    ) -> Answer {
        let timeout = probing.probe.timeout;
        let address = match &probing.address {
            Some(Err(why)) => return Answer::Failed(why.clone()),
            Some(Ok(address)) => address.as_str(),
            None => "",
        };
        let check = &probing.probe.check;
        let asking = async {
            match check {
                Check::Http { path, status, .. } => {
                    http::ask(&self.http, address, path, status).await
                }
                Check::Tcp { .. } => tcp::ask(address).await,
                Check::Exec { command } => match runtime {
                    Some(runtime) => exec::ask(runtime, id, command, timeout).await,
                    None => Answer::Unknown,
                },
                Check::Grpc { service, .. } => grpc::ask(&self.grpc, address, service).await,
            }
        };
        // The runtime ends a command itself, so that it does not go on inside.
        let limit = match check {
            Check::Exec { .. } => timeout + Duration::from_secs(2),
            Check::Http { .. } | Check::Tcp { .. } | Check::Grpc { .. } => timeout,
        };
        match tokio::time::timeout(limit, asking).await {
            Ok(answer) => answer,
            Err(_) => Answer::Failed(format!(
                "{}: no answer within {}",
                what(check, address),
                format_duration(timeout)
            )),
        }
    }

    /// Asks until cancelled, at the probe's pace.
    pub async fn run(
        self,
        id: InstanceId,
        kind: ProbeKind,
        probing: Probing,
        runtime: Option<Arc<dyn Runtime>>,
        answers: mpsc::Sender<Probed>,
        cancel: CancellationToken,
    ) {
        let quickest = match probing.probe.check {
            Check::Exec { .. } => QUICKEST_EXEC,
            Check::Http { .. } | Check::Tcp { .. } | Check::Grpc { .. } => QUICKEST,
        };
        let mut pace = Pace::new(probing.probe.interval, probing.quick.then_some(quickest));
        let begun = Instant::now();
        let asking = async {
            loop {
                let asked = Instant::now();
                let answer = self.ask(id, &probing, runtime.as_deref()).await;
                let passed = matches!(answer, Answer::Passed(_));
                if let Answer::Passed(text) | Answer::Failed(text) = answer {
                    let probed = Probed {
                        id,
                        run: probing.run,
                        answer: ProbeAnswer {
                            probe: kind,
                            passed,
                            answer: text,
                        },
                    };
                    if answers.send(probed).await.is_err() {
                        return;
                    }
                }
                let next = asked + pace.next(passed, begun.elapsed());
                // An answer that took longer than the pause must not make a busy loop.
                tokio::time::sleep_until(next.max(Instant::now() + QUICKEST)).await;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = asking => {}
        }
    }
}

/// The question in a person's words.
fn what(check: &Check, address: &str) -> String {
    match check {
        Check::Http { path, .. } => format!("GET http://{address}{path}"),
        Check::Tcp { .. } => format!("tcp {address}"),
        Check::Exec { command } => format!("exec {}", command.join(" ")),
        Check::Grpc { service, .. } if service.is_empty() => format!("grpc {address}"),
        Check::Grpc { service, .. } => format!("grpc {address} {service}"),
    }
}

/// The beginning of a text on one line, without control characters.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_ANSWER)]);
    let words: Vec<&str> = text
        .split(|c: char| c.is_control() || c.is_whitespace() || c == '\u{fffd}')
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// The innermost cause, which is the one that helps: `Connection refused (os error 111)`.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if let Some(io) = innermost.downcast_ref::<std::io::Error>() {
        return match io.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
            _ => io.to_string(),
        };
    }
    innermost.to_string()
}
