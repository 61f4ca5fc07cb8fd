//! Wire types of the REST API, version 1, and their conversions from `model`.
//!
//! Field names here are what scripts and dashboards build on: they may gain
//! neighbours, never change. Words that the model already speaks (phases,
//! sync and health states, evidence, problems) cross the wire as they are, so
//! API, CLI and pages cannot disagree. Conversions are pure; nothing here
//! knows of HTTP.

pub mod agent;
pub mod app;
pub mod app_status;
pub mod commit;
pub mod error;
pub mod event;
pub mod exec;
pub mod list;
pub mod node;
pub mod plan;
pub mod release;
pub mod source;
pub mod token;
pub mod verb;

pub use app::{AppStatus, InstanceView, Rejected, Replicas, Revision, RolloutView};
pub use commit::CommitReport;
pub use error::ProblemDetails;
pub use exec::{ExecFrame, ExecInput};
pub use list::Page;
pub use node::NodeView;
pub use plan::PlanInput;
pub use release::{CommitView, ReleaseView};
pub use source::{HookAnswer, SourceInput, SourceStatus, Webhook, WebhookSetup};
pub use token::{NewToken, TokenInput, TokenView};
pub use verb::{AppDiff, EmptyInput, ReasonInput, RollbackInput, ScaleInput, SuspendInput, Why};

/// Where version 1 lives.
pub const PREFIX: &str = "/api/v1";

#[cfg(test)]
pub(crate) mod app_status_tests;
