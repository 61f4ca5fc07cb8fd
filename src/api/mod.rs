//! Wire types, version 1.
pub mod agent;
