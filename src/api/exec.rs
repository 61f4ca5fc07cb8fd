//! Commands inside an instance: what is asked for, and the frames in which it is answered.
//!
//! The same frames, a line of JSON each, go from the agent to the controller and from there to
//! whoever asked. The last one is `exited` or `failed`; a stream without it broke off.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{InstanceId, NodeName};

/// For how long a command may run where nobody says otherwise, and at most.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Program and arguments together, in bytes.
pub const MAX_COMMAND_BYTES: usize = 32 * 1024;
/// What one command may write, in bytes; more ends it.
pub const MAX_OUTPUT_BYTES: u64 = 256 << 20;
/// Output in one frame, in bytes: a frame is a line, and lines are cut at 64 KiB.
pub const MAX_CHUNK_BYTES: usize = 16 * 1024;

/// Body of `exec`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecInput {
    /// Program and arguments; no shell reads them.
    pub command: Vec<String>,
    /// Id of an instance, or its first digits; left out: one that is ready.
    #[serde(default)]
    pub instance: Option<String>,
    /// After this time it is killed, such as `10m`; `1m` where left out, at most `1h`.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Kept in the event, for those who ask later.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ExecFrame {
    /// Where it runs; the first frame.
    #[serde(rename_all = "camelCase")]
    Started {
        instance: InstanceId,
        slot: u32,
        node: NodeName,
    },
    Stdout(Chunk),
    Stderr(Chunk),
    /// It ended by itself; 128 + N after signal N.
    Exited {
        code: i32,
    },
    /// It did not run, or not to its end.
    Failed {
        message: String,
    },
}

/// Bytes of output: as text where they are some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Chunk {
    Text(String),
    Base64(String),
}

impl Chunk {
    pub fn new(bytes: &[u8]) -> Chunk {
        // Text of nothing but escapes would be six times as long as its bytes.
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(is_escaped) => Chunk::Text(text.to_owned()),
            Ok(_) | Err(_) => Chunk::Base64(STANDARD.encode(bytes)),
        }
    }

    /// `None`: it is no base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Chunk::Text(text) => Some(text.clone().into_bytes()),
            Chunk::Base64(text) => STANDARD.decode(text).ok(),
        }
    }
}

fn is_escaped(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

impl ExecFrame {
    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        match self {
            ExecFrame::Exited { .. } | ExecFrame::Failed { .. } => true,
            ExecFrame::Started { .. } | ExecFrame::Stdout(_) | ExecFrame::Stderr(_) => false,
        }
    }

    /// With its line feed.
    pub fn line(&self) -> String {
        // It holds strings and numbers only: there is nothing that cannot be written.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_crosses_the_wire_as_it_is_and_fits_a_line() {
        let all: Vec<u8> = (0..=255).collect();
        let escapes = vec![1_u8; MAX_CHUNK_BYTES];
        let quotes = vec![b'"'; MAX_CHUNK_BYTES];
        for bytes in [b"plain \"text\"\n".to_vec(), all, escapes, quotes] {
            let line = ExecFrame::Stdout(Chunk::new(&bytes)).line();
            assert!(line.len() < 64 * 1024, "{}", line.len());
            assert_eq!(line.matches('\n').count(), 1);
            let Ok(ExecFrame::Stdout(chunk)) = serde_json::from_str(&line) else {
                panic!("{line}");
            };
            assert_eq!(chunk.bytes(), Some(bytes));
        }
        let text = ExecFrame::Stderr(Chunk::new(b"hi")).line();
        assert_eq!(text, "{\"kind\":\"stderr\",\"text\":\"hi\"}\n");
        assert_eq!(Chunk::Base64("?".into()).bytes(), None);
    }
}
