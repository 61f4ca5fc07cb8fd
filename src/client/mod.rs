//! Typed client of the REST API, version 1.
//!
//! Every call has a deadline; streams have one between two signs of life where
//! the server promises any. A refusal keeps the server's problem document, so
//! that callers can tell the user what to do. Never retries by itself: only the
//! caller knows whether asking twice is harmless.

pub mod agent;
pub mod error;
pub mod events;
pub mod exec;
pub mod http;

mod calls;

pub use calls::AppFilter;
pub use error::Error;
pub use events::EventQuery;
pub use http::Client;
