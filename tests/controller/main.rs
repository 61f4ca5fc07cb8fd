//! The controller on a real Postgres and real repositories, with agents made of messages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod agents;
mod leadership;
#[path = "../support/pg.rs"]
mod pg;
mod sources;
mod support;
