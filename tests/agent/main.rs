//! The agent over the fake runtime, with a controller made of a few lines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod controller;
mod door;
#[path = "../support/free_port.rs"]
mod free_port;
mod life;
mod node;
mod probes;
#[path = "../../src/agent/testing.rs"]
#[allow(dead_code, reason = "each test program uses some of it")]
mod testing;

/// What `testing` finds in the crate it normally lives in.
mod model {
    pub use evenkeel::model::*;
}
