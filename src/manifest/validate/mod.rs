//! Raw documents → model types: every rule that one document alone can break, and
//! every default.
//!
//! Checks go on after a fault with a stand-in value, so that one look shows all faults;
//! what they built is thrown away unless nothing at all was wrong.

mod app;
mod health;
mod placement;
mod rollout;
mod source;
pub mod text;
mod workload;

pub use app::{AppDraft, FileRef, app, app_key};
pub use source::source;
