//! What is asked of `/plan`. The answer is `model::Preview`, as it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{CommitId, Preview, SourceName, Timestamp};

/// Largest body of `/plan` in bytes, and most files in it.
pub const MAX_BYTES: usize = 16 << 20;
pub const MAX_FILES: usize = 20_000;

/// A tree to be planned as if it were that of a source: either its files, or a commit of the
/// source that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanInput {
    /// One that is not there is looked at as if it were just added.
    pub source: SourceName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// Specs, and what they name in `files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<PlanFile>>,
    /// For a source that is not there yet: the project of apps that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanFile {
    /// Below the repository's root, `/` between the parts.
    pub path: String,
    #[serde(flatten)]
    pub content: PlanContent,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PlanContent {
    Text(String),
    /// For what is not UTF-8.
    Base64(String),
}

impl PlanFile {
    pub fn new(path: String, bytes: Vec<u8>) -> PlanFile {
        let content = match String::from_utf8(bytes) {
            Ok(text) => PlanContent::Text(text),
            Err(error) => PlanContent::Base64(STANDARD.encode(error.as_bytes())),
        };
        PlanFile { path, content }
    }

    /// Its bytes; the error says what is wrong with the encoding.
    pub fn bytes(self) -> Result<Vec<u8>, String> {
        match self.content {
            PlanContent::Text(text) => Ok(text.into_bytes()),
            PlanContent::Base64(text) => STANDARD
                .decode(&text)
                .map_err(|e| format!("{} is not base64: {e}", self.path)),
        }
    }
}

/// An open pull request as it was last planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullView {
    pub number: u64,
    pub title: String,
    pub url: String,
    pub head: CommitId,
    /// Head of the followed branch that it was planned onto.
    pub base: CommitId,
    /// The plan's verdict (unchanged, changes, held, blocked), or `notPlanned`.
    pub verdict: String,
    /// What the status at the forge says.
    pub summary: String,
    pub planned_at: Timestamp,
    /// `null`: none could be made; the summary says why.
    pub plan: Option<Preview>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_cross_the_wire_as_they_are() {
        for bytes in [b"kind: App\n".to_vec(), vec![0, 159, 146, 150], Vec::new()] {
            let file = PlanFile::new("a/b.yaml".to_owned(), bytes.clone());
            let wire = serde_json::to_string(&file).unwrap();
            let back: PlanFile = serde_json::from_str(&wire).unwrap();
            assert_eq!(back.bytes(), Ok(bytes), "{wire}");
        }
        let text = r#"{"path":"a","text":"b"}"#;
        assert!(serde_json::from_str::<PlanFile>(text).is_ok());
        let bad: PlanFile = serde_json::from_str(r#"{"path":"a","base64":"?"}"#).unwrap();
        assert!(bad.bytes().unwrap_err().starts_with("a is not base64"));
    }
}
