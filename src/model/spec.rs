//! A validated app spec, split along one line: what a running process is made
//! from ([`Workload`]; a change exchanges instances) and all else (a change
//! takes effect in place).
//!
//! Values come from `manifest`, which checks every rule that one spec alone can
//! break. Only what Evenkeel executes today has a field here.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::id::{SpecDigest, WorkloadDigest};
use super::quantity::{CountOrPercent, Resources, duration_text};

/// A long-running service, as declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppSpec {
    pub labels: BTreeMap<String, String>,
    pub workload: Workload,
    pub image_pull_policy: PullPolicy,
    pub replicas: u32,
    pub requests: Resources,
    pub limits: Limits,
    pub health: Health,
    pub rollout: RolloutPolicy,
    pub placement: Placement,
    pub restart: RestartPolicy,
    #[serde(with = "duration_text")]
    pub stop_grace_period: Duration,
    pub on_node_loss: OnNodeLoss,
}

/// What needs a new process when it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    pub task: Task,
    pub env: BTreeMap<String, String>,
    /// Path inside the container → content.
    pub files: BTreeMap<String, FileContent>,
    pub volumes: Vec<Volume>,
    pub ports: Vec<Port>,
    /// `uid`, `uid:gid` or a name known in the image.
    pub user: Option<String>,
    /// Without the `CAP_` prefix, upper case, sorted.
    pub capabilities: Vec<String>,
}

/// What runs: a container of an image, or a plain process on the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Task {
    #[serde(rename_all = "camelCase")]
    Image {
        image: String,
        /// Replaces the image's entrypoint.
        command: Option<Vec<String>>,
        args: Vec<String>,
        working_dir: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    Process {
        /// Program and arguments; the program is looked up on the node.
        command: Vec<String>,
        working_dir: Option<String>,
    },
}

/// A file from the repository; small (`manifest::limits`), so it travels inside the spec.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileContent {
    #[serde(with = "base64_text")]
    pub data: Vec<u8>,
}

impl std::fmt::Debug for FileContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes, sha256 {}",
            self.data.len(),
            &self.digest()[..12]
        )
    }
}

impl FileContent {
    /// SHA-256 of the content in hex.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.data))
    }
}

mod base64_text {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(data: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&base64::engine::general_purpose::STANDARD.encode(data))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        base64::engine::general_purpose::STANDARD
            .decode(String::deserialize(d)?)
            .map_err(D::Error::custom)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Volume {
    /// Data that lives on one node and belongs to one slot at a time.
    Named {
        name: String,
        path: String,
        read_only: bool,
    },
    Tmpfs {
        size_bytes: u64,
        path: String,
    },
    #[serde(rename_all = "camelCase")]
    HostPath {
        host_path: String,
        path: String,
        read_only: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    pub name: String,
    /// Inside the container; for a process: a wish, the real one is in `$PORT_<NAME>`.
    pub port: u16,
    /// Fixed port on the node; `None`: the runtime picks a free one.
    pub host_port: Option<u16>,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PullPolicy {
    Always,
    Missing,
    Never,
}

/// Hard ceilings; `None` is unlimited. The runtimes change them on a live instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Until it passes once, the other probes wait.
    pub startup: Option<Probe>,
    /// Without one, an instance is ready as soon as it runs.
    pub readiness: Option<Probe>,
    /// When it fails, the instance is restarted.
    pub liveness: Option<Probe>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    pub check: Check,
    #[serde(with = "duration_text")]
    pub interval: Duration,
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// Passes in a row that make it good; at least 1.
    pub success_threshold: u32,
    /// Failures in a row that make it bad; at least 1.
    pub failure_threshold: u32,
    /// After the start, failures in this time do not count.
    #[serde(with = "duration_text")]
    pub grace_period: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Check {
    Http {
        /// Name of one of the workload's ports; likewise below.
        port: String,
        path: String,
        /// Inclusive ranges of status codes that pass.
        status: Vec<(u16, u16)>,
    },
    Tcp {
        port: String,
    },
    Exec {
        command: Vec<String>,
    },
    /// grpc.health.v1; an empty service asks for the server as a whole.
    Grpc {
        port: String,
        service: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPolicy {
    pub strategy: Strategy,
    pub max_surge: CountOrPercent,
    pub max_unavailable: CountOrPercent,
    #[serde(with = "duration_text")]
    pub min_healthy_time: Duration,
    /// Per instance, from its start to ready.
    #[serde(with = "duration_text")]
    pub healthy_deadline: Duration,
    /// Exits before the release proved itself that condemn it; at least 1.
    pub start_attempts: u32,
    /// Per rollout, since its last progress.
    #[serde(with = "duration_text")]
    pub progress_deadline: Duration,
    #[serde(with = "duration_text")]
    pub bake_time: Duration,
    pub on_failure: OnFailure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    Rolling,
    Recreate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    Rollback,
    Pause,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    pub strategy: PlacementStrategy,
    pub constraints: Vec<Constraint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlacementStrategy {
    Spread,
    Binpack,
    Random,
}

/// A hard rule on nodes. The attribute `node` is the node's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Constraint {
    #[serde(rename_all = "camelCase")]
    Attribute {
        attribute: String,
        operator: Operator,
        /// One for comparing operators, any number for `in`/`notIn`, none for `exists`/`notExists`.
        values: Vec<String>,
        value_type: ValueType,
    },
    /// At most one instance of the app per value of the attribute.
    Unique { attribute: String },
    /// At most `max` instances of the app per value of the attribute.
    MaxPer { attribute: String, max: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operator {
    Eq,
    NotEq,
    In,
    NotIn,
    Matches,
    Lt,
    Le,
    Gt,
    Ge,
    Exists,
    NotExists,
}

/// How the two sides of a comparison are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueType {
    String,
    Number,
    Version,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartPolicy {
    #[serde(with = "duration_text")]
    pub backoff: Duration,
    /// At least 1.
    pub factor: f64,
    #[serde(with = "duration_text")]
    pub max: Duration,
}

impl RestartPolicy {
    /// A run this long shows that the exits before it are over.
    pub fn stable_after(&self) -> Duration {
        self.max.max(self.backoff.saturating_mul(10))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnNodeLoss {
    pub action: NodeLossAction,
    #[serde(with = "duration_text")]
    pub after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeLossAction {
    Reschedule,
    Hold,
}

/// SHA-256 over the JSON form. Field order is the declaration's and maps are
/// ordered, so equal values give equal text.
fn digest_of(value: &impl Serialize) -> String {
    let mut hasher = Sha256::new();
    // Writing into a hasher cannot fail and these types have only string keys.
    let _ = serde_json::to_writer(HashWriter(&mut hasher), value);
    hex::encode(hasher.finalize())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl AppSpec {
    pub fn digest(&self) -> SpecDigest {
        SpecDigest(digest_of(self))
    }
    pub fn workload_digest(&self) -> WorkloadDigest {
        WorkloadDigest(digest_of(&self.workload))
    }
}

impl Workload {
    /// The image's reference as declared; `None` for a process.
    pub fn image(&self) -> Option<&str> {
        match &self.task {
            Task::Image { image, .. } => Some(image),
            Task::Process { .. } => None,
        }
    }
    /// Ports of the node that only one instance there can hold.
    pub fn fixed_host_ports(&self) -> impl Iterator<Item = (u16, Protocol)> + '_ {
        self.ports
            .iter()
            .filter_map(|p| p.host_port.map(|h| (h, p.protocol)))
    }
    /// Named volumes that are written: only one instance may hold one at a time.
    pub fn exclusive_volumes(&self) -> impl Iterator<Item = &str> + '_ {
        self.volumes.iter().filter_map(|v| match v {
            Volume::Named {
                name,
                read_only: false,
                ..
            } => Some(name.as_str()),
            Volume::Named { .. } | Volume::Tmpfs { .. } | Volume::HostPath { .. } => None,
        })
    }
}
