//! Killed at every crash point there is, and started again: what runs in the end, and what
//! was created, started, stopped and removed on the way, is what it would have been anyway.
//!
//! The real binary, a real Postgres, a real Docker Engine or real processes, and a forge
//! that records. `life` is the script that is gone through, `points` says what is killed
//! where, and `seams` holds the code to its list of points.
//!
//! `make crash-points` goes through every point at several of its hits and in both layouts
//! (all in one process; controller and agent apart), one crash in each life. Without
//! `CRASH_POINTS=all` each point is killed at one time, at a hit and in a layout that `CRASH_SEED`
//! chooses, several points in one life; a life that ends otherwise is taken apart again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/free_port.rs"]
mod free_port;
#[path = "../support/git_http.rs"]
mod git_http;
#[path = "../support/outliving.rs"]
mod outliving;
#[path = "../support/pg.rs"]
mod pg;
#[path = "../support/pull_forge.rs"]
mod pull_forge;
#[path = "../support/registry.rs"]
mod registry;

mod end;
mod housekeeping;
mod life;
mod points;
mod seams;
mod subject;
mod watch;
