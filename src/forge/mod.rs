//! Forges: how each vendor wants a commit's status, and what its answer means.
//!
//! Owns the requests ([`request()`]), the meaning of answers ([`answer::judge`]), the
//! token's file, and the one HTTP client for it. The token goes to the host of the source's
//! `apiUrl` and nowhere else: redirects are never followed. Deliberately absent: what is
//! said (`plan::statuses`), retries and their pace (`controller::notify`). [`hook`] is the
//! other direction: what forges tell us.

mod answer;
mod client;
pub mod hook;
mod request;
mod token;

pub use answer::{Answer, Verdict, judge};
pub use client::{Client, DEADLINE};
pub use request::{Request, request};
