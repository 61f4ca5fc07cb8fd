//! What every runtime must do, as one suite.
//!
//! To plug a runtime in: write `mod docker;` here with a type that implements
//! [`harness::Harness`], and one line `contract!(DockerHarness::start().await)`
//! in it; the macro makes a test of each rule in `rules`. What only your
//! runtime does belongs in tests of its own beside its harness, not here. If it
//! cannot run on this machine, fail loudly, never pass by doing nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[macro_use]
mod rules;
mod commands;
#[path = "../support/desired.rs"]
mod desired;
#[path = "../support/engine.rs"]
mod engine;
mod harness;
#[path = "../support/running.rs"]
mod running;

mod docker;
mod fake;
mod process;
