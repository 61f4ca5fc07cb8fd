//! The operator's verbs and the long-running roles.

pub mod roles;
