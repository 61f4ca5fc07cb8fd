//! `kind: App` → [`AppSpec`], apart from the content of its files.

use std::collections::BTreeMap;

use super::{health, placement, rollout, text, workload};
use crate::manifest::Defaults;
use crate::manifest::field::Field;
use crate::manifest::limits;
use crate::manifest::problems::Cx;
use crate::manifest::raw;
use crate::manifest::tree::NodeId;
use crate::model::quantity::{
    Resources, format_cpu, format_memory, parse_cpu, parse_duration, parse_memory,
};
use crate::model::spec::{AppSpec, Limits, NodeLossAction, OnNodeLoss, RestartPolicy};
use crate::model::{AppKey, AppName, Problem, ProjectName};

/// A valid app whose `workload.files` are still to be read.
#[derive(Clone, Debug)]
pub struct AppDraft {
    pub spec: AppSpec,
    pub files: Vec<FileRef>,
}

/// One entry of `files`.
#[derive(Clone, Debug)]
pub struct FileRef {
    /// Path inside the container.
    pub target: String,
    /// Path below the repository's root.
    pub path: String,
    /// The problem to tell when it cannot be read: place and text filled in.
    pub place: Problem,
}

/// Who the app is; `None` where that cannot be said.
pub fn app_key(
    cx: &Cx<'_>,
    root: NodeId,
    metadata: Option<(NodeId, &raw::Metadata)>,
    defaults: &Defaults,
) -> Option<AppKey> {
    let Some((node, metadata)) = metadata else {
        // A `metadata` of the wrong shape has its problem already.
        if cx
            .tree
            .get(root, "metadata")
            .is_none_or(|n| cx.tree.is_null(n))
        {
            cx.problem_hint(
                root,
                "\"metadata\" is missing, so the app has no name",
                "add metadata: {name: …}",
            );
        }
        return None;
    };
    cx.required(node, "name", &metadata.name);
    let name = cx.parse(&metadata.name, |t| t, |t| AppName::new(t));
    let project = match metadata.project {
        Field::Absent => Some(defaults.project.clone()),
        Field::Bad(_) | Field::Set(..) => {
            cx.parse(&metadata.project, |t| t, |t| ProjectName::new(t))
        }
    };
    Some(AppKey::new(project?, name?))
}

/// Checks everything; `None` once anything is wrong.
pub fn app(
    cx: &Cx<'_>,
    node: NodeId,
    metadata: &raw::Metadata,
    raw: &raw::app::App,
    defaults: &Defaults,
) -> Option<AppDraft> {
    let (workload, files) = workload::workload(cx, node, raw, defaults);
    let replicas = replicas(cx, &raw.replicas);
    let (requests, limits) = resources(cx, &raw.resources);
    let spec = AppSpec {
        labels: labels(cx, metadata),
        image_pull_policy: workload::pull_policy(raw),
        replicas,
        requests,
        limits,
        health: health::health(cx, &raw.health, &workload),
        rollout: rollout::rollout(cx, &raw.rollout, replicas),
        placement: placement::placement(cx, &raw.placement),
        restart: restart(cx, &raw.restart),
        stop_grace_period: duration_or(cx, &raw.stop_grace_period, "10s"),
        on_node_loss: on_node_loss(cx, &raw.on_node_loss),
        workload,
    };
    not_yet(cx, raw);
    cx.is_clean().then_some(AppDraft { spec, files })
}

fn not_yet(cx: &Cx<'_>, raw: &raw::app::App) {
    for (node, _) in raw.routes.items().take(1) {
        cx.unsupported(
            node,
            "traffic by routes",
            "remove \"routes\"; ports of the node work: give the port a hostPort",
        );
    }
    for (node, _) in raw.depends_on.items().take(1) {
        cx.unsupported(node, "waiting for other apps", "remove \"dependsOn\"; an app that cannot reach another should fail its readiness probe");
    }
    if let Some((node, _)) = raw.priority.set() {
        cx.unsupported(node, "priority", "remove \"priority\"");
    }
}

/// The duration, or the default, which is a constant of this module's callers.
pub fn duration_or(
    cx: &Cx<'_>,
    field: &Field<crate::manifest::field::DurationText>,
    default: &str,
) -> std::time::Duration {
    cx.parse(field, |t| &t.0, parse_duration)
        .or_else(|| parse_duration(default).ok())
        .unwrap_or_default()
}

fn labels(cx: &Cx<'_>, metadata: &raw::Metadata) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (node, key, value) in metadata.labels.entries() {
        if key.is_empty() || key.len() > 128 || key.chars().any(|c| c.is_control() || c == '=') {
            cx.problem(node, "a label's key has 1 to 128 characters and no \"=\"");
        }
        if key.starts_with("dev.evenkeel.") {
            cx.problem_hint(
                node,
                "labels that start with dev.evenkeel. mark what Evenkeel owns",
                "choose another key",
            );
        }
        if value.is_absent() {
            cx.problem_hint(
                node,
                format!("label \"{key}\" has no value"),
                "write \"\" for an empty one",
            );
        }
        if let Some(value) = value.get() {
            labels.insert(key.to_owned(), value.0.clone());
        }
    }
    labels
}

fn replicas(cx: &Cx<'_>, field: &Field<u32>) -> u32 {
    match field.set() {
        None => 1,
        Some((_, &n)) if n <= limits::REPLICAS => n,
        Some((node, n)) => {
            cx.problem(
                node,
                format!(
                    "{n} replicas are more than the {} that one app may have",
                    limits::REPLICAS
                ),
            );
            1
        }
    }
}

fn amounts(cx: &Cx<'_>, field: &Field<raw::app::Amounts>) -> Limits {
    let Some(amounts) = field.get() else {
        return Limits::default();
    };
    Limits {
        cpu_millis: cx.parse(&amounts.cpu, |t| &t.0, parse_cpu),
        memory_bytes: cx.parse(&amounts.memory, |t| &t.0, parse_memory),
    }
}

/// Requests default to the limits: what an instance may use is what it may be given.
fn resources(cx: &Cx<'_>, field: &Field<raw::app::Resources>) -> (Resources, Limits) {
    let Some(raw) = field.get() else {
        return (Resources::default(), Limits::default());
    };
    let (requests, limits) = (amounts(cx, &raw.requests), amounts(cx, &raw.limits));
    if let Some(l) = raw.limits.get() {
        if let (Some(node), Some(0)) = (l.cpu.node(), limits.cpu_millis) {
            cx.problem_hint(
                node,
                "a cpu limit of 0 would never let it run",
                "leave it out for no limit",
            );
        }
        if let (Some(node), Some(bytes)) = (l.memory.node(), limits.memory_bytes)
            && bytes < 4 << 20
        {
            cx.problem_hint(
                node,
                format!("a memory limit of {bytes} bytes lets nothing start; the least is 4Mi"),
                "a unit such as Mi may be missing",
            );
        }
    }
    if let Some(r) = raw.requests.get() {
        if let (Some(node), Some(want), Some(most)) =
            (r.cpu.node(), requests.cpu_millis, limits.cpu_millis)
            && want > most
        {
            cx.problem(
                node,
                format!(
                    "requests {} cpu, above its own limit of {}",
                    format_cpu(want),
                    format_cpu(most)
                ),
            );
        }
        if let (Some(node), Some(want), Some(most)) =
            (r.memory.node(), requests.memory_bytes, limits.memory_bytes)
            && want > most
        {
            cx.problem(
                node,
                format!(
                    "requests {} of memory, above its own limit of {}",
                    format_memory(want),
                    format_memory(most)
                ),
            );
        }
    }
    let requests = Resources {
        cpu_millis: requests.cpu_millis.or(limits.cpu_millis).unwrap_or(0),
        memory_bytes: requests.memory_bytes.or(limits.memory_bytes).unwrap_or(0),
    };
    (requests, limits)
}

fn restart(cx: &Cx<'_>, field: &Field<raw::app::Restart>) -> RestartPolicy {
    let raw = field.get().cloned().unwrap_or_default();
    let policy = RestartPolicy {
        backoff: duration_or(cx, &raw.backoff, "1s"),
        factor: raw.factor.get().copied().unwrap_or(2.0),
        max: duration_or(cx, &raw.max, "1m"),
    };
    if let Some((node, &factor)) = raw.factor.set()
        && !(1.0..=100.0).contains(&factor)
    {
        cx.problem(
            node,
            "the factor is from 1 (always the same wait) to 100; below 1 the waits would shrink",
        );
    }
    if let Some(node) = raw.backoff.node().or(raw.max.node())
        && policy.max < policy.backoff
    {
        cx.problem(
            node,
            "\"max\" is shorter than \"backoff\", so the first wait would exceed the longest one",
        );
    }
    policy
}

fn on_node_loss(cx: &Cx<'_>, field: &Field<raw::app::OnNodeLoss>) -> OnNodeLoss {
    use raw::app::NodeLossAction as Raw;
    let raw = field.get().cloned().unwrap_or_default();
    OnNodeLoss {
        action: match raw.action.get() {
            None | Some(Raw::Reschedule) => NodeLossAction::Reschedule,
            Some(Raw::Hold) => NodeLossAction::Hold,
        },
        after: duration_or(cx, &raw.after, "60s"),
    }
}

/// Arguments as written; `None` where the key is absent.
pub fn words(
    cx: &Cx<'_>,
    list: &crate::manifest::field::List<crate::manifest::field::Scalar>,
) -> Option<Vec<String>> {
    let (_, items) = list.set()?;
    for item in items {
        if let Some((node, word)) = item.set()
            && word.0.contains('\0')
        {
            cx.problem(
                node,
                "it holds a NUL character, which no program can be given",
            );
        }
    }
    Some(list.items().map(|(_, word)| word.0.clone()).collect())
}

/// A folder that is set, checked.
pub fn working_dir(cx: &Cx<'_>, field: &Field<String>) -> Option<String> {
    cx.parse(field, |t| t, text::folder)
}
