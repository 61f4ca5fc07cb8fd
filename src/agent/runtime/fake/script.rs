//! What a fake instance does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::agent::runtime::{Error, ExecResult};
use crate::model::instance::FailureKind;

#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// How long the start takes.
    pub start_delay: Duration,
    /// Ends by itself this long after its start, with this code; `None`: runs on.
    pub exit: Option<(Duration, i32)>,
    /// Time to end when asked; `None`: ignores the request and is killed.
    pub stop_delay: Option<Duration>,
    /// Written at each start.
    pub output: Vec<String>,
    /// Where probes reach a port: name → `host:port`.
    pub ports: BTreeMap<String, String>,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            start_delay: Duration::ZERO,
            exit: None,
            stop_delay: Some(Duration::ZERO),
            output: Vec::new(),
            ports: BTreeMap::new(),
        }
    }
}

impl Script {
    /// Reads `FAKE_EXIT_CODE`, `FAKE_EXIT_AFTER_MS`, `FAKE_START_MS`, `FAKE_STOP_MS` (`never`),
    /// `FAKE_OUTPUT` (lines) and `FAKE_PORT_<NAME>` (`host:port`).
    pub fn of(env: &BTreeMap<String, String>) -> Script {
        let millis = |key: &str| {
            env.get(key)
                .and_then(|v| v.parse().ok())
                .map(Duration::from_millis)
        };
        Script {
            start_delay: millis("FAKE_START_MS").unwrap_or_default(),
            exit: env
                .get("FAKE_EXIT_CODE")
                .and_then(|code| code.parse().ok())
                .map(|code| (millis("FAKE_EXIT_AFTER_MS").unwrap_or_default(), code)),
            stop_delay: match env.get("FAKE_STOP_MS").map(String::as_str) {
                Some("never") => None,
                Some(_) | None => Some(millis("FAKE_STOP_MS").unwrap_or_default()),
            },
            output: env
                .get("FAKE_OUTPUT")
                .map(|text| text.lines().map(str::to_owned).collect())
                .unwrap_or_default(),
            ports: env
                .iter()
                .filter_map(|(key, value)| {
                    let name = key.strip_prefix("FAKE_PORT_")?;
                    Some((name.to_lowercase(), value.clone()))
                })
                .collect(),
        }
    }

    /// Understands `exit CODE`, `echo TEXT` and `hang`; anything else is no such program.
    pub(super) async fn exec(
        &self,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, Error> {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let (code, output) = match words.as_slice() {
            ["exit", code] => (code.parse().unwrap_or(1), String::new()),
            ["echo", rest @ ..] => (0, rest.join(" ")),
            ["hang"] => {
                tokio::time::sleep(timeout).await;
                return Err(Error::new(
                    FailureKind::StartFailed,
                    format!("no answer within {timeout:?}"),
                ));
            }
            _ => (127, format!("no such program: {}", command.join(" "))),
        };
        Ok(ExecResult { code, output })
    }
}
