//! The grammar of specs, as text may write it: one struct per mapping.
//!
//! The doc comments are the reference that users read (through the JSON Schema). No rule
//! but shape lives here; meaning is [`super::validate`]'s. What nothing executes yet is
//! part of the grammar all the same, so that it is answered and never dropped.

pub mod app;
pub mod health;
pub mod placement;
pub mod source;

use schemars::JsonSchema;
use serde::Deserialize;

use super::field::{Dict, Field, Scalar};

/// Who the document is about.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name, unique in its project: a DNS label (`a-z`, `0-9`, `-`, at most 63 characters).
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: Field<String>,
    /// Project the app belongs to. Default: the source's project.
    #[serde(default)]
    pub project: Field<String>,
    /// Free labels, also put on containers.
    #[serde(default)]
    pub labels: Dict<Scalar>,
}
