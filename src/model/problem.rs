//! What is wrong with a file, told like a compiler would.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Path below the repository's root.
    pub file: String,
    /// From 1; 0 where the file as a whole is meant.
    pub line: u32,
    pub column: u32,
    /// `spec.rollout.maxSurge`; empty where none.
    pub field: String,
    /// The offending text.
    pub text: String,
    /// What is wrong, and why.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(
                f,
                "{}:{}:{}: {}",
                self.file, line, self.column, self.message
            )?,
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}
