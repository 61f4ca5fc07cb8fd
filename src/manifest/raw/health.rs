//! Probes of an app.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::field::{DurationText, Field, List, Scalar};

#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Health {
    /// Until it passes once, the other probes wait.
    pub startup: Field<Probe>,
    /// While it fails, the instance is not ready. Without one, an instance is ready as
    /// soon as it runs.
    pub readiness: Field<Probe>,
    /// When it fails, the instance is restarted.
    pub liveness: Field<Probe>,
}

/// Exactly one of `http`, `tcp`, `exec` and `grpc`, asked every `interval`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Probe {
    /// Passes when a GET is answered with one of the expected status codes.
    pub http: Field<HttpCheck>,
    /// Passes when a connection is accepted.
    pub tcp: Field<TcpCheck>,
    /// Passes when the program, run inside the instance, exits with 0.
    pub exec: List<Scalar>,
    /// Passes when the service answers SERVING (grpc.health.v1).
    pub grpc: Field<GrpcCheck>,
    /// Time between two asks. Default: `10s`.
    #[schemars(extend("default" = "10s"))]
    pub interval: Field<DurationText>,
    /// Longest wait for an answer. Default: `1s`.
    #[schemars(extend("default" = "1s"))]
    pub timeout: Field<DurationText>,
    /// Passes in a row that make it good. Default: 1.
    #[schemars(range(min = 1), extend("default" = 1))]
    pub success_threshold: Field<u32>,
    /// Failures in a row that make it bad. Default: 3.
    #[schemars(range(min = 1), extend("default" = 3))]
    pub failure_threshold: Field<u32>,
    /// Failures in this time after the start do not count. Default: `0s`.
    #[schemars(extend("default" = "0s"))]
    pub grace_period: Field<DurationText>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCheck {
    /// Name or number of one of `ports`.
    pub port: Field<Scalar>,
    /// Path with its query. Default: `/`.
    #[serde(default)]
    #[schemars(extend("default" = "/"))]
    pub path: Field<String>,
    /// Codes that pass: `200`, `200-399`, `200,204`. Default: `200-399`.
    #[serde(default)]
    #[schemars(extend("default" = "200-399"))]
    pub status: Field<Scalar>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpCheck {
    /// Name or number of one of `ports`.
    pub port: Field<Scalar>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcCheck {
    /// Name or number of one of `ports`.
    pub port: Field<Scalar>,
    /// Service to ask for. Default: the server as a whole.
    #[serde(default)]
    pub service: Field<String>,
}
