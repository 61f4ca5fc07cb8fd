//! How a command ends: exit codes are part of the interface.

use std::fmt;
use std::process::ExitCode;

use crate::causes::chain;
use crate::client;

/// The code that scripts see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 0.
    Done,
    /// 1: the thing asked for failed: rolled back, invalid specs, refused by a rule.
    Failed,
    /// 2: wrong usage; also what `clap` exits with.
    Usage,
    /// 3: the server cannot be reached, or refuses access.
    Unreachable,
    /// 4: gave up waiting.
    TimedOut,
    /// 5: `plan --detailed-exitcode`: it is well, and something would change.
    Changes,
    /// `exec`: that of the command.
    Command(u8),
}

impl Code {
    fn number(self) -> u8 {
        match self {
            Code::Done => 0,
            Code::Failed => 1,
            Code::Usage => 2,
            Code::Unreachable => 3,
            Code::TimedOut => 4,
            Code::Changes => 5,
            Code::Command(code) => code,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.number())
    }
}

/// Why a command did not do what was asked, and the next thing to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, message)
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  try: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        let message = chain(&error);
        match error {
            client::Error::Unreachable { .. } => Failure::new(Code::Unreachable, message)
                .with_hint(
                    "evenkeel up on that machine, or name the server with --url or EVENKEEL_URL",
                ),
            client::Error::Timeout { url } => {
                Failure::new(Code::Unreachable, message).with_hint(format!("curl {url}/readyz"))
            }
            client::Error::Protocol { url, .. } => Failure::new(Code::Unreachable, message)
                .with_hint(format!(
                    "curl {url}/healthz, and check that --url (or EVENKEEL_URL) names an Evenkeel \
                     server"
                )),
            client::Error::Address { .. } => {
                Failure::usage(message).with_hint("evenkeel --url http://127.0.0.1:7600 …")
            }
            client::Error::Missed(_) => {
                Failure::new(Code::Failed, message).with_hint("evenkeel status")
            }
            client::Error::Problem(problem) => {
                let code = match problem.status {
                    401 | 403 | 502..=504 => Code::Unreachable,
                    400 | 422 => Code::Usage,
                    _ => Code::Failed,
                };
                // The server speaks to programs: of headers, paths and its page of routes.
                let hint = match problem.status {
                    401 => Some(
                        "evenkeel --token TOKEN …, EVENKEEL_TOKEN, or evenkeel context use NAME"
                            .to_owned(),
                    ),
                    502..=504 => Some(
                        "the same again in a few seconds; evenkeel status tells what is known"
                            .to_owned(),
                    ),
                    _ => problem.hint.filter(|hint| hint.contains("evenkeel ")),
                };
                Failure {
                    code,
                    message: problem.detail,
                    hint,
                }
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(Code::Failed, format!("{error:#}"))
    }
}

/// What every command returns.
pub type Outcome = Result<Code, Failure>;
