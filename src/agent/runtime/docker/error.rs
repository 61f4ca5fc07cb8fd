//! What the Engine's errors mean.
//!
//! The Engine tells most failures by text alone, so the texts that matter are
//! listed here and nowhere else. What is not recognised is taken for something
//! that may pass: a wrong "never" would reject a good release.

use bollard::errors::Error as Bollard;

use crate::agent::runtime::Error;
use crate::causes::chain;
use crate::model::FailureKind;

/// How a call to the Engine failed, before it is known what was being done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// No answer, half an answer, or one that makes no sense.
    #[error("the Docker Engine does not answer: {0}")]
    Unavailable(String),
    /// It refused, with a status code.
    #[error("{message}")]
    Refused { status: u16, message: String },
    /// It began well and failed in the middle of a stream (a pull).
    #[error("{0}")]
    Stream(String),
}

impl CallError {
    pub(super) fn is_status(&self, wanted: u16) -> bool {
        matches!(self, CallError::Refused { status, .. } if *status == wanted)
    }
    pub(super) fn is_not_found(&self) -> bool {
        self.is_status(404)
    }
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, CallError::Unavailable(_))
    }
}

impl From<Bollard> for CallError {
    fn from(error: Bollard) -> CallError {
        match error {
            Bollard::DockerResponseServerError {
                status_code,
                message,
            } => {
                let message = message.trim().to_owned();
                if status_code >= 500 && is_engine_going_down(&message) {
                    CallError::Unavailable(message)
                } else {
                    CallError::Refused {
                        status: status_code,
                        message,
                    }
                }
            }
            Bollard::DockerStreamError { error } => CallError::Stream(error),
            // Everything else is about the way there: connecting, sending,
            // reading, or an answer cut short, which reads as broken JSON.
            other => CallError::Unavailable(chain(&other)),
        }
    }
}

/// The Engine still answers, but containerd below it does not, or it is shutting down.
fn is_engine_going_down(message: &str) -> bool {
    has_any(
        message,
        &[
            "code = Unavailable",
            "transport is closing",
            "ttrpc: closed",
            "containerd.sock",
            "context canceled",
            "daemon is shutting down",
        ],
    )
}

fn has_any(text: &str, needles: &[&str]) -> bool {
    needles.iter().any(|needle| text.contains(needle))
}

fn unavailable(error: &CallError) -> Error {
    Error::new(FailureKind::RuntimeUnavailable, error.to_string())
}

/// A call about which nothing more is known than that it failed.
pub(super) fn of_call(error: &CallError) -> Error {
    match error {
        CallError::Unavailable(_) => unavailable(error),
        CallError::Refused { .. } | CallError::Stream(_) => {
            Error::new(FailureKind::StartFailed, error.to_string())
        }
    }
}

/// Creating a container, or changing its limits: a 400 speaks of the spec.
pub(super) fn of_create(error: &CallError) -> Error {
    let CallError::Refused { status, message } = error else {
        return of_call(error);
    };
    let kind = match *status {
        400 | 422 => FailureKind::Rejected,
        // The image was there when it was prepared and is gone: pulling it again helps.
        404 if message.contains("No such image") => FailureKind::PullFailed,
        _ if has_any(message, REJECTED_TEXTS) => FailureKind::Rejected,
        _ => FailureKind::StartFailed,
    };
    Error::new(kind, message.clone())
}

/// Texts of errors that the same spec on the same image gives every time.
const REJECTED_TEXTS: &[&str] = &[
    "executable file not found",
    "no such file or directory",
    "exec format error",
    "permission denied",
    "unable to find user",
    "unable to find group",
    "no matching entries in passwd file",
    "no matching entries in group file",
    "invalid mount",
    "invalid volume specification",
    "bind source path does not exist",
    "mount path must be absolute",
    "not a directory",
    "is a directory",
    "Minimum memory limit",
    "Range of CPUs",
    "Duplicate mount point",
    "invalid capability",
    "Unknown capability",
    "invalid reference format",
];

/// Texts of errors that pass when something else on the node lets go.
const PASSING_TEXTS: &[&str] = &[
    "port is already allocated",
    "address already in use",
    "no space left on device",
    "cannot allocate memory",
    "too many open files",
    "resource temporarily unavailable",
    "device or resource busy",
    "i/o timeout",
    "all predefined address pools have been fully subnetted",
    "no available IPv4 addresses",
];

pub(super) fn of_start(error: &CallError) -> Error {
    let CallError::Refused { status, message } = error else {
        return of_call(error);
    };
    let kind = if has_any(message, PASSING_TEXTS) {
        FailureKind::StartFailed
    } else if *status == 400 || has_any(message, REJECTED_TEXTS) {
        FailureKind::Rejected
    } else {
        FailureKind::StartFailed
    };
    Error::new(kind, message.clone())
}

/// Texts with which registries, in the Engine's words, say that there is no such
/// image or not for us.
const NO_IMAGE_TEXTS: &[&str] = &[
    "manifest unknown",
    "name unknown",
    "not found",
    "No such image",
    "pull access denied",
    "repository does not exist",
    "requested access to the resource is denied",
    "unauthorized",
    "denied:",
    "no matching manifest for",
    "no basic auth credentials",
];

pub(super) fn of_pull(image: &str, error: &CallError) -> Error {
    let (status, message) = match error {
        CallError::Unavailable(_) => return unavailable(error),
        CallError::Refused { status, message } => (*status, message),
        CallError::Stream(message) => (0, message),
    };
    // A registry's host that cannot be looked up is also "not found", in other words.
    let network = has_any(
        message,
        &["no such host", "dial tcp", "i/o timeout", "TLS handshake"],
    );
    let kind = if status == 400 || message.contains("invalid reference format") {
        FailureKind::Rejected
    } else if !network && (status == 404 || has_any(message, NO_IMAGE_TEXTS)) {
        FailureKind::ImageNotFound
    } else {
        FailureKind::PullFailed
    };
    Error::new(kind, format!("pull of {image}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, message: &str) -> CallError {
        CallError::Refused {
            status,
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_start_error_says_whether_trying_again_can_help() {
        let cases = [
            (
                400,
                "OCI runtime create failed: container_linux.go: starting container process caused: exec: \"/no\": stat /no: no such file or directory: unknown",
                FailureKind::Rejected,
            ),
            (
                500,
                "unable to find user nobody9: no matching entries in passwd file",
                FailureKind::Rejected,
            ),
            (
                500,
                "driver failed programming external connectivity on endpoint x: Bind for 0.0.0.0:80 failed: port is already allocated",
                FailureKind::StartFailed,
            ),
            (
                400,
                "failed to create shim: mkdir /run/x: no space left on device: unknown",
                FailureKind::StartFailed,
            ),
            (500, "something new", FailureKind::StartFailed),
        ];
        for (status, message, kind) in cases {
            assert_eq!(of_start(&refused(status, message)).kind, kind, "{message}");
        }
    }

    #[test]
    fn a_pull_error_tells_a_missing_image_from_a_missing_network() {
        let cases = [
            (
                404,
                "manifest for r/web:2 not found: manifest unknown: manifest unknown",
                FailureKind::ImageNotFound,
            ),
            (
                500,
                "pull access denied for web, repository does not exist or may require 'docker login'",
                FailureKind::ImageNotFound,
            ),
            (
                500,
                "Get \"https://r/v2/\": dial tcp: lookup r: no such host",
                FailureKind::PullFailed,
            ),
            (
                500,
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                FailureKind::PullFailed,
            ),
            (400, "invalid reference format", FailureKind::Rejected),
        ];
        for (status, message, kind) in cases {
            assert_eq!(
                of_pull("web:2", &refused(status, message)).kind,
                kind,
                "{message}"
            );
        }
        let in_stream = CallError::Stream("manifest unknown".to_owned());
        assert_eq!(
            of_pull("web:2", &in_stream).kind,
            FailureKind::ImageNotFound
        );
    }

    #[test]
    fn an_engine_that_is_going_down_says_nothing_of_the_instance() {
        let error = CallError::from(Bollard::DockerResponseServerError {
            status_code: 500,
            message: "connection error: desc = \"transport: dial unix /run/containerd.sock\": rpc error: code = Unavailable".to_owned(),
        });
        assert_eq!(of_start(&error).kind, FailureKind::RuntimeUnavailable);
        assert_eq!(of_pull("x", &error).kind, FailureKind::RuntimeUnavailable);
    }
}
