//! What only the process runtime promises, with the real supervisor, real
//! processes and the control groups of this machine. What every runtime
//! promises is in `tests/runtime_contract`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/desired.rs"]
mod desired;
#[path = "../support/free_port.rs"]
mod free_port;
mod support;

mod adoption;
mod environment;
mod limits;
mod output;
mod ports;
mod refusals;
mod tree;
