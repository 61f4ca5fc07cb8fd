//! Stand-ins until `plan` brings them; the names stay `controller::{Decision, Refusal, IdSource}`.

use crate::model::{Change, Event};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
}

#[derive(Clone, Debug)]
pub struct IdSource(u64);

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AppReport {}

impl IdSource {
    pub fn new(seed: u64) -> IdSource {
        IdSource(seed)
    }
}
