//! `/metrics`: the text format of Prometheus, 0.0.4.
//!
//! What lasts is counted from the image and is the same on every controller; counters and
//! the state of loops are this process' own, so on a follower they stand still. Every
//! family is there from the first scrape on, also while it has no values. Labels are names
//! and words of ours only. The outbox is read from the database, within a deadline; while
//! that does not answer, its two values are left out.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::{AppState, Problem};
use crate::api::app_status;
use crate::controller::{Counts, Gauges, Role, RolloutEnd, Sum, SyncEnd};
use crate::model::{AppKey, DeliveryVerdict, EventKind, InstancePhase, Snapshot, SourceName};

/// For the one question to the database.
const DEADLINE: Duration = Duration::from_secs(2);

pub async fn show(State(state): State<AppState>) -> Result<Response, Problem> {
    let status = state.handle.status();
    let mut page = Page::default();
    state.handle.read(|s| cluster(&mut page, s))?;
    let leads = u8::from(status.role == Role::Leader);
    page.gauge("evenkeel_leader", "1 if this controller leads.", leads);
    let database = u8::from(status.database);
    page.gauge(
        "evenkeel_database_up",
        "1 if the database answered when last asked.",
        database,
    );
    loops(&mut page, &state.handle.gauges());
    forges(&mut page, &state)?;
    outbox(&mut page, &state).await;
    counters(&mut page, &state.handle.counts());
    let mut response = page.0.into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    Ok(response)
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// `labels` as they stand in the line: our words and names never need escaping.
    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.value(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.value(name, "", value);
    }

    fn sum(&mut self, name: &str, help: &str, sum: Sum) {
        self.family(name, "summary", help);
        self.value(&format!("{name}_sum"), "", sum.seconds);
        self.value(&format!("{name}_count"), "", sum.count);
    }
}

/// A state's name on the wire, so that all surfaces say the same word.
fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

fn of_app(app: &AppKey) -> String {
    format!("project=\"{}\",app=\"{}\"", app.project, app.name)
}

/// What the image says.
fn cluster(page: &mut Page, snapshot: &Snapshot) {
    apps(page, snapshot);
    let mut nodes: BTreeMap<(String, String), u64> = BTreeMap::new();
    for node in snapshot.nodes.values() {
        let key = (word(node.liveness), word(node.scheduling));
        *nodes.entry(key).or_default() += 1;
    }
    page.family(
        "evenkeel_nodes",
        "gauge",
        "Nodes by liveness and scheduling.",
    );
    for ((liveness, scheduling), n) in &nodes {
        let labels = format!("liveness=\"{liveness}\",scheduling=\"{scheduling}\"");
        page.value("evenkeel_nodes", &labels, n);
    }
    sources(page, snapshot);
    page.gauge(
        "evenkeel_generation",
        "Version of the cluster's state.",
        snapshot.generation.0,
    );
}

fn apps(page: &mut Page, snapshot: &Snapshot) {
    let mut by_state: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut phases: BTreeMap<String, u64> = BTreeMap::new();
    let (mut rollouts, mut quarantined) = (0u64, 0u64);
    let (mut states, mut desired, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for (key, app) in &snapshot.apps {
        // Not the whole document: writers wait while this looks.
        let sync = word(app_status::sync(snapshot, app));
        let health = word(app_status::health(snapshot, app));
        let replicas = app_status::replicas(snapshot, app);
        states.push(format!(
            "{},sync=\"{sync}\",health=\"{health}\"",
            of_app(key)
        ));
        *by_state.entry((sync, health)).or_default() += 1;
        desired.push((of_app(key), replicas.desired));
        ready.push((of_app(key), replicas.ready));
        rollouts += u64::from(app.active_rollout().is_some());
        quarantined += u64::from(app.rejection_of_declared().is_some());
        for instance in app.instances.values() {
            let phase = instance.status.as_ref();
            let phase = phase.map_or(InstancePhase::Pending, |s| s.phase);
            *phases.entry(word(phase)).or_default() += 1;
        }
    }
    page.family("evenkeel_apps", "gauge", "Apps by sync and health.");
    for ((sync, health), n) in &by_state {
        let labels = format!("sync=\"{sync}\",health=\"{health}\"");
        page.value("evenkeel_apps", &labels, n);
    }
    page.family(
        "evenkeel_app_state",
        "gauge",
        "1 for the sync and health that the app has.",
    );
    for labels in &states {
        page.value("evenkeel_app_state", labels, 1);
    }
    page.family(
        "evenkeel_app_replicas_desired",
        "gauge",
        "Instances that the app is to have.",
    );
    for (labels, n) in &desired {
        page.value("evenkeel_app_replicas_desired", labels, n);
    }
    page.family(
        "evenkeel_app_replicas_ready",
        "gauge",
        "Instances of the app that serve.",
    );
    for (labels, n) in &ready {
        page.value("evenkeel_app_replicas_ready", labels, n);
    }
    page.family(
        "evenkeel_instances",
        "gauge",
        "Instances by phase as last seen.",
    );
    for (phase, n) in &phases {
        page.value("evenkeel_instances", &format!("phase=\"{phase}\""), n);
    }
    page.gauge("evenkeel_rollouts_active", "Rollouts under way.", rollouts);
    page.gauge(
        "evenkeel_apps_quarantined",
        "Apps whose version in Git was rejected.",
        quarantined,
    );
}

fn sources(page: &mut Page, snapshot: &Snapshot) {
    page.gauge(
        "evenkeel_sources",
        "Sources that are followed.",
        snapshot.sources.len(),
    );
    page.family(
        "evenkeel_source_state",
        "gauge",
        "1 for the state that the source is in.",
    );
    for (name, source) in &snapshot.sources {
        let state = word(crate::api::source::state(source));
        let labels = format!("source=\"{name}\",state=\"{state}\"");
        page.value("evenkeel_source_state", &labels, 1);
    }
    page.family(
        "evenkeel_source_last_applied_timestamp_seconds",
        "gauge",
        "When a commit of the source was last taken over.",
    );
    for (name, source) in &snapshot.sources {
        if let Some(at) = source.last_applied_at {
            page.value(
                "evenkeel_source_last_applied_timestamp_seconds",
                &format!("source=\"{name}\""),
                at.0 as f64 / 1000.0,
            );
        }
    }
}

/// How this process' loops stand.
fn loops(page: &mut Page, now: &Gauges) {
    page.gauge(
        "evenkeel_lease_epoch",
        "Number of this controller's leadership; 0 if it does not lead.",
        now.epoch.unwrap_or(0),
    );
    page.gauge(
        "evenkeel_lease_remaining_seconds",
        "Until this leadership ends unless its lease is renewed.",
        now.lease_left.as_secs_f64(),
    );
    page.gauge(
        "evenkeel_agents_connected",
        "Streams of agents that are open here.",
        now.agents,
    );
    page.family(
        "evenkeel_queue_length",
        "gauge",
        "What waits: apps to be planned, sources to be synced.",
    );
    for (queue, n) in [("plan", now.plan_queue), ("sync", now.sync_queue)] {
        page.value("evenkeel_queue_length", &format!("queue=\"{queue}\""), n);
    }
    page.family(
        "evenkeel_loop_lag_seconds",
        "gauge",
        "For how long the oldest of what waits has been due.",
    );
    for (queue, lag) in [("plan", now.plan_lag), ("sync", now.sync_lag)] {
        let labels = format!("loop=\"{queue}\"");
        page.value("evenkeel_loop_lag_seconds", &labels, lag.as_secs_f64());
    }
}

/// Of the leader: followers tell forges nothing.
fn forges(page: &mut Page, state: &AppState) -> Result<(), Problem> {
    let sources: Vec<SourceName> = state.handle.read(|s| s.sources.keys().cloned().collect())?;
    page.family(
        "evenkeel_source_forge_failing",
        "gauge",
        "1 while commit statuses of the source do not arrive at its forge.",
    );
    for source in sources {
        if let Some(report) = state.handle.forge_report(&source) {
            let failing = u8::from(report.trouble.is_some());
            let labels = format!("source=\"{source}\"");
            page.value("evenkeel_source_forge_failing", &labels, failing);
        }
    }
    Ok(())
}

async fn outbox(page: &mut Page, state: &AppState) {
    page.family(
        "evenkeel_outbox_messages",
        "gauge",
        "Messages to forges that wait to be sent.",
    );
    let depth = match &state.store {
        Some(store) => tokio::time::timeout(DEADLINE, store.outbox_depth())
            .await
            .ok()
            .and_then(Result::ok),
        None => None,
    };
    if let Some((waiting, _)) = depth {
        page.value("evenkeel_outbox_messages", "", waiting);
    }
    page.family(
        "evenkeel_outbox_oldest_seconds",
        "gauge",
        "For how long the oldest of them has waited.",
    );
    if let Some((_, age)) = depth {
        page.value("evenkeel_outbox_oldest_seconds", "", age.as_secs_f64());
    }
}

/// What this process has done since it started.
fn counters(page: &mut Page, counts: &Counts) {
    page.family(
        "evenkeel_syncs_total",
        "counter",
        "Attempts to sync a source, by outcome.",
    );
    // A rate needs its first value before the first failure.
    let mut syncs = counts.syncs.clone();
    for (source, _) in counts.syncs.keys() {
        for end in SyncEnd::ALL {
            syncs.entry((source.clone(), end)).or_default();
        }
    }
    for ((source, end), n) in &syncs {
        let labels = format!("source=\"{source}\",outcome=\"{}\"", end.as_str());
        page.value("evenkeel_syncs_total", &labels, n);
    }
    page.sum(
        "evenkeel_sync_duration_seconds",
        "From the fetch to what it changes.",
        counts.sync_time,
    );
    page.family(
        "evenkeel_rollouts_total",
        "counter",
        "Rollouts that ended, by outcome.",
    );
    let mut rollouts = counts.rollouts.clone();
    for (app, _) in counts.rollouts.keys() {
        for end in RolloutEnd::ALL {
            rollouts.entry((app.clone(), end)).or_default();
        }
    }
    for ((app, end), n) in &rollouts {
        let labels = format!("{},outcome=\"{}\"", of_app(app), word(end.phase()));
        page.value("evenkeel_rollouts_total", &labels, n);
    }
    page.family(
        "evenkeel_rollbacks_total",
        "counter",
        "Rollouts that failed and were rolled back.",
    );
    for ((app, end), n) in &rollouts {
        if *end == RolloutEnd::RolledBack {
            page.value("evenkeel_rollbacks_total", &of_app(app), n);
        }
    }
    page.family(
        "evenkeel_events_total",
        "counter",
        "Events by kind; README lists them.",
    );
    for kind in EventKind::ALL {
        let n = counts.events.get(kind).copied().unwrap_or(0);
        let labels = format!("kind=\"{}\"", kind.as_str());
        page.value("evenkeel_events_total", &labels, n);
    }
    page.sum(
        "evenkeel_plan_duration_seconds",
        "Planning runs, with the writing of what they decide.",
        counts.plan_time,
    );
    page.sum(
        "evenkeel_plan_wait_seconds",
        "From a change to the planning run that looks at it.",
        counts.plan_wait,
    );
    page.counter(
        "evenkeel_plan_failures_total",
        "Planning runs that were not carried out.",
        counts.plans_failed,
    );
    page.family(
        "evenkeel_forge_calls_total",
        "counter",
        "Statuses and comments sent to forges, by outcome.",
    );
    for ((source, end), n) in &counts.forge_calls {
        let labels = format!("source=\"{source}\",outcome=\"{}\"", end.as_str());
        page.value("evenkeel_forge_calls_total", &labels, n);
    }
    deliveries(page, counts);
}

fn deliveries(page: &mut Page, counts: &Counts) {
    page.family(
        "evenkeel_webhook_deliveries_total",
        "counter",
        "Deliveries of forges, by verdict.",
    );
    let mut deliveries = counts.deliveries.clone();
    for (source, _) in counts.deliveries.keys() {
        for verdict in DeliveryVerdict::ALL {
            deliveries.entry((source.clone(), verdict)).or_default();
        }
    }
    for ((source, verdict), n) in &deliveries {
        let labels = format!("source=\"{source}\",verdict=\"{}\"", verdict.as_str());
        page.value("evenkeel_webhook_deliveries_total", &labels, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_cluster_has_metrics_too() {
        let mut page = Page::default();
        cluster(&mut page, &Snapshot::default());
        counters(&mut page, &Counts::default());
        let text = page.0;
        assert!(text.contains("\nevenkeel_sources 0\n"), "{text}");
        assert!(text.contains("# TYPE evenkeel_rollouts_total counter\n"));
        assert!(
            text.lines()
                .all(|l| l.starts_with("# ") || l.starts_with("evenkeel_"))
        );
    }

    #[test]
    fn each_outcome_of_a_source_is_there_from_its_first_on() {
        let mut counts = Counts::default();
        let source: crate::model::SourceName = "shop".parse().unwrap();
        counts.syncs.insert((source.clone(), SyncEnd::Ok), 3);
        let forged = (source, DeliveryVerdict::Forged);
        counts.deliveries.insert(forged, 7);
        let mut page = Page::default();
        counters(&mut page, &counts);
        for line in [
            "evenkeel_syncs_total{source=\"shop\",outcome=\"ok\"} 3\n",
            "evenkeel_syncs_total{source=\"shop\",outcome=\"failed\"} 0\n",
            "evenkeel_webhook_deliveries_total{source=\"shop\",verdict=\"forged\"} 7\n",
            "evenkeel_webhook_deliveries_total{source=\"shop\",verdict=\"accepted\"} 0\n",
        ] {
            assert!(page.0.contains(line), "{line}:\n{}", page.0);
        }
    }
}
