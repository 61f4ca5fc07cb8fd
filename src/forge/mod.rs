//! Forges: how each vendor wants to be asked and told, and what its answers mean.
//!
//! Owns commit statuses, pull requests and comments as requests of GitHub, GitLab, Gitea and
//! Forgejo, Bitbucket Cloud and Data Center; the credentials (a token's file, a GitHub App's
//! key); what answers mean ([`judge`]); the one HTTP client for it. Credentials go to the host
//! of the source's `apiUrl` and nowhere else: redirects are never followed. Each call is one
//! attempt with a deadline. Deliberately absent: what is said (`plan::statuses`), retries and
//! their pace (`controller::notify`). [`hook`] is the other direction: what forges tell us.

mod answer;
mod app;
mod auth;
mod client;
mod comments;
mod failure;
pub mod hook;
mod pulls;
mod request;
mod status;
mod token;

pub use answer::{Answer, judge};
pub use client::{Client, DEADLINE};
pub use failure::{Again, Failure, FailureKind};
pub use pulls::{MAX_OPEN, OpenPulls};
pub use request::Request;
pub use status::check_name;
