//! The nouns: what the cluster is, as plain data.
//!
//! Owns every type that more than one module speaks about, and the few rules
//! that are true of one value alone (legal transitions, derived states).
//! Knows nothing of Git, SQL, HTTP, Docker, clocks or randomness.

pub mod access;
pub mod action;
pub mod app;
pub mod declaration;
pub mod delivery;
pub mod desired;
pub mod event;
mod fit;
pub mod forge;
pub mod id;
pub mod instance;
pub mod node;
pub mod preview;
pub mod problem;
pub mod pull_request;
pub mod quantity;
pub mod release;
pub mod rollout;
pub mod schema;
pub mod snapshot;
pub mod source;
pub mod spec;
pub mod time;

pub use access::{Projects, Role, Token};
pub use action::{ApplyError, Change};
pub use app::{App, Declared, HealthState, Invalid, Scale, Suspension, SyncState};
pub use declaration::{Catalog, Declaration};
pub use delivery::{DeliveryLog, DeliveryRecord, DeliveryVerdict, Vendor};
pub use desired::{DesiredInstance, DesiredSet, RunSpec};
pub use event::{Actor, Event, EventKind};
pub use forge::{
    CommitStatus, ForgeKind, ForgeSpec, GitHubApp, OutboxEntry, PullComment, StatusState,
};
pub use id::{
    AppKey, AppName, CommitId, Epoch, Generation, InstanceId, NodeName, ProjectName, ReleaseId,
    RolloutId, SourceName, SpecDigest, WorkloadDigest,
};
pub use instance::{Exit, FailureKind, Goal, Instance, InstancePhase, InstanceStatus, ProbeAnswer};
pub use node::{ImageState, Liveness, Node, NodeFacts, Scheduling, SchedulingNote};
pub use preview::{AppPreview, Downtime, Fit, Preview, PreviewAction, PreviewVerdict};
pub use problem::Problem;
pub use pull_request::{PullRefs, PullRequest, PullState};
pub use release::{Evidence, Rejection, Release, ReleaseState, Verdict};
pub use rollout::{Order, Rollout, RolloutKind, RolloutPhase};
pub use snapshot::Snapshot;
pub use source::{PullRequestPolicy, Source, SourceSpec, SyncOutcome};
pub use spec::AppSpec;
pub use time::Timestamp;
