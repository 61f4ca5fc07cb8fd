//! The surface in process: real HTTP, a real controller on a real Postgres, a real Git
//! repository; agents are made of messages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod access;
mod agents;
mod apps;
mod bad_input;
mod cli;
mod commits;
mod events;
mod followers;
mod forge;
mod forge_app;
mod forge_limits;
mod forge_pulls;
#[path = "../support/free_port.rs"]
mod free_port;
mod hooks;
mod limits;
mod metrics;
mod operators;
mod pages;
#[path = "../support/pg.rs"]
mod pg;
mod plans;
#[path = "../support/pull_forge.rs"]
mod pull_forge;
mod pulls;
#[path = "../support/forge.rs"]
mod recorder;
mod server;
mod sources;
mod tokens;
mod versions;
