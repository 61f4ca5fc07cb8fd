//! Errors as RFC 9457 problem documents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Media type of an error's body.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetails {
    /// Names the kind of problem for programs: `urn:evenkeel:problem:not-found`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words; the same for every occurrence.
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Who acted before, where the refusal may come of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_act: Option<LastAct>,
}

/// Something that was done by somebody else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAct {
    /// The operator's name, or the source whose commit it was.
    pub by: String,
    pub at: Timestamp,
    /// In words.
    pub what: String,
}

impl ProblemDetails {
    pub fn new(slug: &str, title: &str, status: u16, detail: impl Into<String>) -> ProblemDetails {
        ProblemDetails {
            kind: format!("urn:evenkeel:problem:{slug}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            hint: None,
            last_act: None,
        }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> ProblemDetails {
        self.hint = Some(hint.into());
        self
    }

    /// `not-found` of `urn:evenkeel:problem:not-found`.
    pub fn slug(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or(&self.kind)
    }
}
