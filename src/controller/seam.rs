//! The planner's types under the controller's name.

pub use crate::plan::{AppReport, Decision, IdSource, Refusal};
