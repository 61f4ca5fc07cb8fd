//! The live stream of events, beside the events themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The message that holds a [`Gap`].
pub const GAP: &str = "gap";

/// Events that a client has missed for good. The stream goes on after them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The last event that it has; `null`: none.
    pub after: Option<i64>,
    /// The last one of those missed.
    pub until: i64,
    pub why: String,
    /// What to do.
    pub hint: String,
}
