//! Fields with old and new value and why they matter, and the one line over all.

use super::mask::mask;
use crate::model::preview::{FieldEffect, FieldPreview, PreviewCounts};
use crate::model::quantity::{format_cpu, format_memory};
use crate::model::spec::Task;
use crate::model::{AppSpec, Fit, Preview, PreviewVerdict};
use crate::plan::diff::{Effect, diff_specs};

/// What changes; of an app that is new, what it is made of.
pub(super) fn fields(old: Option<&AppSpec>, new: &AppSpec) -> Vec<FieldPreview> {
    let mut fields = match old {
        None => introduced(new),
        Some(old) => diff_specs(old, new)
            .into_iter()
            .map(|change| {
                let effect = match change.effect {
                    Effect::Replace => FieldEffect::Replace,
                    Effect::InPlace => FieldEffect::InPlace,
                };
                FieldPreview {
                    reason: reason(&change.field, effect).to_owned(),
                    field: change.field,
                    old: change.old,
                    new: change.new,
                    effect,
                }
            })
            .collect(),
    };
    fields.iter_mut().for_each(mask);
    fields
}

fn reason(field: &str, effect: FieldEffect) -> &'static str {
    let root = field.split(['.', '[']).next().unwrap_or_default();
    match (effect, root) {
        (FieldEffect::Replace, "image") => "another image is another process",
        (FieldEffect::Replace, "env") => "a process gets its environment at its start",
        (FieldEffect::Replace, "files") => "files are put in place before the start",
        (FieldEffect::Replace, "ports") => "ports are published at the start",
        (FieldEffect::Replace, "volumes") => "volumes are mounted at the start",
        (FieldEffect::Replace, _) => "it needs a new process",
        (FieldEffect::InPlace, "replicas") => "instances are added or stopped, the others stay",
        (FieldEffect::InPlace, "resources" | "requests") if field.contains("requests") => {
            "in place where the node has the room; elsewhere the instance moves"
        }
        (FieldEffect::InPlace, "placement") => "holds for instances placed from now on",
        (FieldEffect::InPlace, "health") => "probes change while it runs",
        (FieldEffect::InPlace, "rollout") => "holds for this rollout and the next ones",
        (FieldEffect::InPlace, _) => "changes while it runs",
    }
}

fn introduced(spec: &AppSpec) -> Vec<FieldPreview> {
    let mut fields = Vec::new();
    let mut tell = |field: &str, value: String| {
        fields.push(FieldPreview {
            field: field.to_owned(),
            old: None,
            new: Some(value),
            effect: FieldEffect::Replace,
            reason: "the app is new".to_owned(),
        });
    };
    match &spec.workload.task {
        Task::Image { image, .. } => tell("image", image.clone()),
        Task::Process { command, .. } => tell("command", command.join(" ")),
    }
    tell("replicas", spec.replicas.to_string());
    let requests = spec.requests;
    if requests.cpu_millis > 0 {
        tell("resources.requests.cpu", format_cpu(requests.cpu_millis));
    }
    if requests.memory_bytes > 0 {
        let memory = format_memory(requests.memory_bytes);
        tell("resources.requests.memory", memory);
    }
    let ports: Vec<String> = spec
        .workload
        .ports
        .iter()
        .map(|port| match port.host_port {
            Some(host) => format!("{} {} (host port {host})", port.name, port.port),
            None => format!("{} {}", port.name, port.port),
        })
        .collect();
    if !ports.is_empty() {
        tell("ports", ports.join(", "));
    }
    if !spec.workload.env.is_empty() {
        // Names only: the whole environment of a new app helps nobody to see what changes.
        let names: Vec<&str> = spec.workload.env.keys().map(String::as_str).collect();
        tell("variables", names.join(", "));
    }
    for (path, file) in &spec.workload.files {
        tell(&format!("files.{path}"), format!("{file:?}"));
    }
    fields
}

/// `2 created, 1 replaced`, or what stands against it.
pub(super) fn summary(preview: &Preview) -> String {
    let changes = counted(&preview.counts);
    match preview.verdict {
        PreviewVerdict::Unchanged => "no app would change".to_owned(),
        PreviewVerdict::Changes => changes,
        PreviewVerdict::Held => {
            let why = preview.brakes.first().cloned();
            let held = preview.apps.iter().find_map(|app| app.reason.as_ref());
            let why = why.or_else(|| held.cloned()).unwrap_or_default();
            format!("{changes}: {why}")
        }
        PreviewVerdict::Blocked => {
            format!("{}; {changes}", obstacle(preview))
        }
    }
}

/// The first thing that stands against it, in short.
fn obstacle(preview: &Preview) -> String {
    if let Some(first) = preview.problems.first() {
        let more = match preview.problem_count {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        return format!("invalid: {first}{more}");
    }
    for app in &preview.apps {
        if let Fit::Never { reason, fits_alone } = &app.fit {
            let together = if *fits_alone {
                " beside the other apps of this commit"
            } else {
                ""
            };
            return format!("{} does not fit{together}: {reason}", app.app);
        }
    }
    let rejected = preview.apps.iter().find_map(|app| {
        let reason = app.reason.as_ref()?;
        let quarantined = app.action == crate::model::PreviewAction::Quarantined;
        quarantined.then(|| format!("{}: {reason}", app.app))
    });
    let lost = || preview.brakes.last().cloned().unwrap_or_default();
    rejected.unwrap_or_else(lost)
}

fn counted(counts: &PreviewCounts) -> String {
    let words = [
        (counts.create, "created"),
        (counts.replace, "replaced"),
        (counts.in_place, "changed in place"),
        (counts.delete, "deleted"),
        (counts.held, "held"),
        (counts.quarantined, "quarantined"),
        (counts.invalid, "invalid"),
        (counts.foreign, "of another source"),
    ];
    let told: Vec<String> = words
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    if told.is_empty() {
        return format!("{} unchanged", counts.unchanged);
    }
    told.join(", ")
}
