//! What only the Docker runtime does, on real Engines: the shared one, and
//! private ones where an Engine has to die.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/desired.rs"]
mod desired;
#[path = "../support/engine.rs"]
mod engine;
mod support;

mod engine_dies;
#[path = "../support/free_port.rs"]
mod free_port;
mod ours_only;
mod pulls;
#[path = "../support/registry.rs"]
mod registry;
mod what_is_created;
