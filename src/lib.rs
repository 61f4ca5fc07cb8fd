//! Evenkeel keeps a cluster of Docker hosts equal to a Git repository.
//!
//! `src/ARCHITECTURE.md` is the map: which module owns what, what may import
//! what, and the invariants that hold between them. Without the feature `full`
//! only the modules that decide are built; they do no I/O.

/// What tests share with those beside the crate names it as they do.
#[cfg(test)]
extern crate self as evenkeel;

#[cfg(feature = "full")]
pub mod agent;
#[cfg(not(feature = "full"))]
#[path = "agent/core.rs"]
pub mod agent;
pub mod manifest;
pub mod model;
pub mod mutant;
pub mod plan;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

#[cfg(feature = "full")]
pub mod api;
#[cfg(feature = "full")]
mod causes;
#[cfg(feature = "full")]
pub mod cli;
#[cfg(feature = "full")]
pub mod client;
#[cfg(feature = "full")]
pub mod clock;
#[cfg(feature = "full")]
pub mod config;
#[cfg(feature = "full")]
pub mod controller;
#[cfg(feature = "full")]
pub mod failpoint;
#[cfg(feature = "full")]
pub mod forge;
#[cfg(feature = "full")]
pub mod git;
#[cfg(feature = "full")]
pub mod http;
#[cfg(feature = "full")]
pub mod store;
#[cfg(feature = "full")]
pub mod telemetry;
