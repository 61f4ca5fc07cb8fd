//! A small world to plan in: nodes that do what they are told, at once or
//! badly, and every plan is checked.

pub(super) mod world;

mod applying;
mod failing;
mod images;
mod nodes;
mod observing;
mod operators;
mod placing;
mod placing_exhaustive;
mod placing_indexed;
mod promises;
mod properties;
mod rolling;
mod silence;
mod statuses;
mod strategies;
mod syncing;
mod telling;
mod third;
