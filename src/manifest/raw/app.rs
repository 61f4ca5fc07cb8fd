//! `kind: App`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::health::Health;
use super::placement::Placement;
use crate::manifest::field::{
    CountOrPercentText, CpuText, Dict, DurationText, Either, Field, List, MemoryText, Scalar,
};

/// A long-running service: what runs, how many, where, and how it is exchanged.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
pub struct App {
    /// Image to run, `registry/name:tag` or `name@sha256:…`. Either `image` or `process`.
    pub image: Field<String>,
    /// Runs a program of the node itself instead of an image.
    pub process: Field<Process>,
    /// When nodes ask the registry for the image. Default: `missing`.
    pub image_pull_policy: Field<PullPolicy>,
    /// Replaces the image's entrypoint.
    pub command: List<Scalar>,
    /// Arguments of the entrypoint; they replace the image's.
    pub args: List<Scalar>,
    /// Environment variables. Values are taken as they are written.
    pub env: Dict<Either<Scalar, EnvFrom>>,
    /// Files put into the container: absolute path inside → path of a file beside this
    /// spec. Their content is part of the app: a change of it is a new release.
    pub files: Dict<String>,
    /// Named volumes, tmpfs, and folders of the node.
    pub volumes: List<Volume>,
    /// `uid`, `uid:gid` or a name known in the image. Default: the image's.
    pub user: Field<Scalar>,
    /// Working directory; absolute. Default: the image's.
    pub working_dir: Field<String>,
    /// Linux capabilities. All are dropped but the ones added here.
    pub capabilities: Field<Capabilities>,
    /// What an instance needs and what it may use at most.
    pub resources: Field<Resources>,
    /// Number of instances. Default: 1.
    #[schemars(range(max = 10000), extend("default" = 1))]
    pub replicas: Field<u32>,
    /// Ports the instance listens on.
    pub ports: List<Port>,
    /// Host names and paths that lead to a port. Not supported yet.
    pub routes: List<Route>,
    /// How to tell that an instance started, may get traffic, still works.
    pub health: Field<Health>,
    /// How one release replaces another.
    pub rollout: Field<Rollout>,
    /// On which nodes instances run.
    pub placement: Field<Placement>,
    /// Waiting times between restarts of an instance that exits.
    pub restart: Field<Restart>,
    /// Time from the stop signal to the kill. Default: `10s`.
    #[schemars(extend("default" = "10s"))]
    pub stop_grace_period: Field<DurationText>,
    /// Apps that must be healthy first; `project/name` for one of another project. Not
    /// supported yet.
    pub depends_on: List<String>,
    /// What happens to instances of a node that is lost.
    pub on_node_loss: Field<OnNodeLoss>,
    /// Who goes first when there is not room for all, 0 to 100. Not supported yet.
    #[schemars(range(max = 100))]
    pub priority: Field<u32>,
}

/// A program of the node, run without a container.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Program and its arguments. The node finds the program on its PATH.
    #[schemars(length(min = 1))]
    pub command: List<Scalar>,
    /// Working directory on the node; absolute.
    #[serde(default)]
    pub working_dir: Field<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PullPolicy {
    /// Before each start of a new release.
    Always,
    /// Only where the node does not have it.
    Missing,
    /// Never: the image must be on the node.
    Never,
}

/// A value that is not written here.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvFrom {
    /// A key of a secret. Not supported yet.
    pub secret_ref: Field<SecretRef>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the secret, in the app's project.
    #[allow(dead_code)]
    pub name: Field<String>,
    /// Key inside the secret.
    #[allow(dead_code)]
    pub key: Field<String>,
}

/// Exactly one of `name`, `tmpfs` and `hostPath`, at `path`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// A named volume: data that stays on its node and belongs to one instance at a time.
    #[serde(default)]
    pub name: Field<String>,
    /// Memory of this size, empty at each start.
    #[serde(default)]
    pub tmpfs: Field<MemoryText>,
    /// A folder of the node. Only where the controller allows it.
    #[serde(default)]
    pub host_path: Field<String>,
    /// Where it appears in the container; absolute, unique.
    pub path: Field<String>,
    /// Default: false.
    #[serde(default)]
    pub read_only: Field<bool>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Capabilities {
    /// Names without `CAP_`, such as `NET_BIND_SERVICE`.
    pub add: List<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Reserved on the node for each instance. Default: the limits, else nothing.
    pub requests: Field<Amounts>,
    /// Most that an instance may use. Default: no limit.
    pub limits: Field<Amounts>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Amounts {
    /// Cores: `250m`, `0.5`, `2`.
    pub cpu: Field<CpuText>,
    /// Bytes: `128Mi`, `1.5Gi`, `500M`.
    pub memory: Field<MemoryText>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// Name, unique in the app: a DNS label. Probes and `$PORT_<NAME>` go by it.
    pub name: Field<String>,
    /// Port the instance listens on. A process finds its real port in `$PORT_<NAME>`.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Field<u32>,
    /// Fixed port of the node: then one instance per node. Default: a free one.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    pub host_port: Field<u32>,
    /// Default: `tcp`.
    #[serde(default)]
    pub protocol: Field<Protocol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
pub struct Route {
    /// Host name that clients ask for.
    #[serde(default)]
    pub host: Field<String>,
    /// Path prefix. Default: `/`.
    #[serde(default)]
    pub path: Field<String>,
    /// Name of one of `ports`.
    pub port: Field<Scalar>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rollout {
    /// Default: `rolling`.
    pub strategy: Field<Strategy>,
    /// Instances above `replicas` during a rollout: a count, or percent of `replicas`
    /// rounded up. Default: 1.
    #[schemars(extend("default" = 1))]
    pub max_surge: Field<CountOrPercentText>,
    /// Instances below `replicas` during a rollout: a count, or percent of `replicas`
    /// rounded down. Default: 0.
    #[schemars(extend("default" = 0))]
    pub max_unavailable: Field<CountOrPercentText>,
    /// How long an instance must be ready before the next is exchanged. Default: `10s`.
    #[schemars(extend("default" = "10s"))]
    pub min_healthy_time: Field<DurationText>,
    /// Per instance: longest time from its start to ready. Default: `5m`.
    #[schemars(extend("default" = "5m"))]
    pub healthy_deadline: Field<DurationText>,
    /// Exits of a new release that was never ready which condemn it. Default: 3.
    #[schemars(range(min = 1), extend("default" = 3))]
    pub start_attempts: Field<u32>,
    /// Per rollout: longest time without progress. Default: `10m`.
    #[schemars(extend("default" = "10m"))]
    pub progress_deadline: Field<DurationText>,
    /// Watched after the last step, before the release counts as stable. Default: `0s`.
    #[schemars(extend("default" = "0s"))]
    pub bake_time: Field<DurationText>,
    /// Default: `rollback`.
    pub on_failure: Field<OnFailure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// A few at a time, within `maxSurge` and `maxUnavailable`.
    Rolling,
    /// A whole second set beside the first, then a switch. Not supported yet.
    BlueGreen,
    /// A share of the traffic first. Not supported yet.
    Canary,
    /// Stops all, then starts all: an outage, for what may not run twice.
    Recreate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Back to the last stable release, by itself.
    Rollback,
    /// Stop and wait for a person.
    Pause,
}

/// The n-th restart waits `backoff` × `factor`^(n-1), at most `max`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Restart {
    /// Wait before the first restart. Default: `1s`.
    #[schemars(extend("default" = "1s"))]
    pub backoff: Field<DurationText>,
    /// At least 1. Default: 2.
    #[schemars(range(min = 1.0), extend("default" = 2))]
    pub factor: Field<f64>,
    /// Longest wait. Default: `1m`.
    #[schemars(extend("default" = "1m"))]
    pub max: Field<DurationText>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OnNodeLoss {
    /// Default: `reschedule`.
    pub action: Field<NodeLossAction>,
    /// How long the node must be silent first. Default: `60s`.
    #[schemars(extend("default" = "60s"))]
    pub after: Field<DurationText>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NodeLossAction {
    /// Start them elsewhere.
    Reschedule,
    /// Wait for the node.
    Hold,
}
