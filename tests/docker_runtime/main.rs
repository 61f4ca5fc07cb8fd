//! What only the Docker runtime does, on real Engines: the shared one, and
//! private ones where an Engine has to die.

#[path = "../support/engine.rs"]
mod engine;
mod support;

mod engine_dies;
mod ours_only;
mod pulls;
mod what_is_created;
