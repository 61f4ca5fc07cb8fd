//! The part of the agent that decides; built without `full`.
pub mod step;
