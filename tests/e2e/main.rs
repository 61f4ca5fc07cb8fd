//! The whole product on real input: the real binary with its private Postgres,
//! Git over HTTP, a real Docker Engine, and an observer outside of it all.
//!
//! Each test has its own cluster name, data folder, repository and port, so
//! they run side by side on one Engine; tests that kill an Engine bring their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/forge.rs"]
mod forge;
#[path = "../support/free_port.rs"]
mod free_port;
#[path = "../support/git_http.rs"]
mod git_http;

#[path = "../support/outliving.rs"]
mod outliving;
#[path = "../support/pg.rs"]
mod pg;

#[path = "../support/registry.rs"]
mod registry;
#[path = "../support/running.rs"]
mod running;
#[path = "../support/tls.rs"]
mod tls;

mod cluster;
mod observer;
mod specs;

mod crashes;
mod exec;
mod failures;
mod guide;
mod hooks;
mod images;
mod operators;
mod processes;
#[path = "../support/pull_forge.rs"]
mod pull_forge;
mod pulls;
mod rollouts;
mod sources;
mod statuses;
mod tour;
mod traces;
mod trust;
mod verbs;
