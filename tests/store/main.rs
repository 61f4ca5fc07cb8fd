//! The store on a real Postgres; a database per test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod builders;
mod cases;
mod commit;
mod faults;
mod history;
mod lease;
mod outbox;
#[path = "../support/pg.rs"]
mod pg;
mod private;
mod round_trip;
#[path = "../support/store_cases/mod.rs"]
mod store_cases;
mod support;
