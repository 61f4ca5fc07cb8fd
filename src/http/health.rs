//! `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{AppState, Problem};
use crate::api::app_status;
use crate::controller::Role;
use crate::model::{InstancePhase, Snapshot};

/// The process answers.
pub async fn live() -> &'static str {
    "ok\n"
}

/// The cluster's state is known here and the database answers.
pub async fn ready(State(state): State<AppState>) -> Response {
    let status = state.handle.status();
    let code = if status.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Json(json!({
        "ready": status.is_ready(),
        "role": match status.role { Role::Leader => "leader", Role::Follower => "follower" },
        "leader": status.leader,
        "database": status.database,
        "loaded": status.loaded,
        "generation": status.generation,
        "version": env!("CARGO_PKG_VERSION"),
    }));
    (code, body).into_response()
}

/// The text format of Prometheus, 0.0.4.
pub async fn metrics(State(state): State<AppState>) -> Result<Response, Problem> {
    let leads = state.handle.status().role == Role::Leader;
    let mut text = state.handle.read(render)?;
    gauge(&mut text, "evenkeel_leader", "1 if this controller leads.");
    let _ = writeln!(text, "evenkeel_leader {}", u8::from(leads));
    let mut response = text.into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    Ok(response)
}

fn gauge(out: &mut String, name: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n");
}

/// A state's name on the wire, so that all surfaces say the same word.
fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

fn render(snapshot: &Snapshot) -> String {
    let mut apps: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut phases: BTreeMap<String, u64> = BTreeMap::new();
    let (mut rollouts, mut quarantined) = (0u64, 0u64);
    for app in snapshot.apps.values() {
        let sync = word(app_status::sync(snapshot, app));
        let health = word(app_status::health(snapshot, app));
        *apps.entry((sync, health)).or_default() += 1;
        rollouts += u64::from(app.active_rollout().is_some());
        quarantined += u64::from(app.rejection_of_declared().is_some());
        for instance in app.instances.values() {
            let phase = instance
                .status
                .as_ref()
                .map_or(InstancePhase::Pending, |s| s.phase);
            *phases.entry(word(phase)).or_default() += 1;
        }
    }
    let mut nodes: BTreeMap<(String, String), u64> = BTreeMap::new();
    for node in snapshot.nodes.values() {
        *nodes
            .entry((word(node.liveness), word(node.scheduling)))
            .or_default() += 1;
    }

    let mut out = String::new();
    gauge(&mut out, "evenkeel_apps", "Apps by sync and health.");
    for ((sync, health), n) in &apps {
        let _ = writeln!(
            out,
            "evenkeel_apps{{sync=\"{sync}\",health=\"{health}\"}} {n}"
        );
    }
    gauge(
        &mut out,
        "evenkeel_instances",
        "Instances by phase as last seen.",
    );
    for (phase, n) in &phases {
        let _ = writeln!(out, "evenkeel_instances{{phase=\"{phase}\"}} {n}");
    }
    gauge(
        &mut out,
        "evenkeel_nodes",
        "Nodes by liveness and scheduling.",
    );
    for ((liveness, scheduling), n) in &nodes {
        let _ = writeln!(
            out,
            "evenkeel_nodes{{liveness=\"{liveness}\",scheduling=\"{scheduling}\"}} {n}"
        );
    }
    for (name, help, n) in [
        ("evenkeel_rollouts_active", "Rollouts under way.", rollouts),
        (
            "evenkeel_apps_quarantined",
            "Apps whose version in Git was rejected.",
            quarantined,
        ),
        (
            "evenkeel_sources",
            "Sources that are followed.",
            snapshot.sources.len() as u64,
        ),
    ] {
        gauge(&mut out, name, help);
        let _ = writeln!(out, "{name} {n}");
    }
    gauge(
        &mut out,
        "evenkeel_source_last_applied_timestamp_seconds",
        "When a commit of the source was last taken over.",
    );
    for (name, source) in &snapshot.sources {
        if let Some(at) = source.last_applied_at {
            let seconds = at.0 as f64 / 1000.0;
            let _ = writeln!(
                out,
                "evenkeel_source_last_applied_timestamp_seconds{{source=\"{name}\"}} {seconds}"
            );
        }
    }
    gauge(
        &mut out,
        "evenkeel_generation",
        "Version of the cluster's state.",
    );
    let _ = writeln!(out, "evenkeel_generation {}", snapshot.generation.0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_cluster_has_metrics_too() {
        let text = render(&Snapshot::default());
        assert!(text.contains("\nevenkeel_sources 0\n"), "{text}");
        assert!(
            text.lines()
                .all(|l| l.starts_with("# ") || l.starts_with("evenkeel_"))
        );
    }
}
