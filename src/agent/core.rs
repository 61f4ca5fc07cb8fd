//! The part of the agent that decides; built without `full`.
pub mod found;
pub mod step;
