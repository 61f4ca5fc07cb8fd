//! The node's side: brings what runs here to the desired set, and reports.
pub mod runtime;
pub mod step;
