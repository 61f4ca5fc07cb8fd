//! The part of the agent that decides; built without `full`.
pub mod admission;
pub mod found;
pub mod step;
#[cfg(test)]
#[allow(dead_code, reason = "each test program uses some of it")]
mod testing;
