//! What differs between two specs, down to the field or file, and what that needs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::AppSpec;
use crate::model::quantity::{format_cpu, format_memory};

/// One field that differs. Long values are told by their size, files by their digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// `workload.env.LOG`, `replicas`.
    pub field: String,
    pub old: Option<String>,
    pub new: Option<String>,
    pub effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Every instance is exchanged for a new one.
    Replace,
    InPlace,
}

/// Values longer than this are told by their beginning only, in characters.
const MAX_VALUE: usize = 120;

pub fn diff_specs(old: &AppSpec, new: &AppSpec) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    if old == new {
        return changes;
    }
    // A spec has only string keys: it always has a JSON form.
    let (old, new) = (
        serde_json::to_value(old).unwrap_or_default(),
        serde_json::to_value(new).unwrap_or_default(),
    );
    walk("", Some(&old), Some(&new), &mut changes);
    changes
}

/// What stands for a value that is not shown.
const HIDDEN: &str = "(value hidden)";

/// Parts of a variable's name that tell of a value nobody should read in a log.
const SECRET_WORDS: [&str; 5] = ["PASSWORD", "SECRET", "TOKEN", "KEY", "CREDENTIAL"];

/// `image: web:1 -> web:2, env.LOG: info -> debug`; the first few, then how many more.
pub fn summary(changes: &[FieldChange]) -> String {
    const SHOWN: usize = 4;
    let mut parts: Vec<String> = changes
        .iter()
        .take(SHOWN)
        .map(|c| {
            let side = |v: &Option<String>| v.clone().unwrap_or_else(|| "nothing".to_owned());
            format!("{}: {} -> {}", c.field, side(&c.old), side(&c.new))
        })
        .collect();
    if changes.len() > SHOWN {
        parts.push(format!("and {} more", changes.len() - SHOWN));
    }
    if parts.is_empty() {
        return "nothing that matters to its instances".to_owned();
    }
    parts.join(", ")
}

fn walk(path: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<FieldChange>) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(a)), Some(Value::Object(b))) = (old, new)
        && !is_file(path)
    {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            walk(&inner, a.get(key), b.get(key), out);
        }
        return;
    }
    if let (Some(Value::Array(a)), Some(Value::Array(b))) = (old, new)
        && a.len() == b.len()
        && a.iter().chain(b).all(Value::is_object)
    {
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            walk(&format!("{path}[{index}]"), Some(a), Some(b), out);
        }
        return;
    }
    let is_workload = path.starts_with("workload");
    out.push(FieldChange {
        field: as_written(path).to_owned(),
        old: old.filter(|v| !v.is_null()).map(|v| show(path, v)),
        new: new.filter(|v| !v.is_null()).map(|v| show(path, v)),
        effect: if is_workload {
            Effect::Replace
        } else {
            Effect::InPlace
        },
    });
}

/// The field by the name that it has in a spec.
fn as_written(path: &str) -> &str {
    match path {
        "requests.cpuMillis" => "resources.requests.cpu",
        "requests.memoryBytes" => "resources.requests.memory",
        "limits.cpuMillis" => "resources.limits.cpu",
        "limits.memoryBytes" => "resources.limits.memory",
        _ => path
            .trim_start_matches("workload.task.")
            .trim_start_matches("workload."),
    }
}

fn is_file(path: &str) -> bool {
    path.starts_with("workload.files.")
}

/// Changes end in events, which more people may read than the repository.
fn is_secret(path: &str) -> bool {
    path.strip_prefix("workload.env.").is_some_and(|name| {
        let name = name.to_ascii_uppercase();
        SECRET_WORDS.iter().any(|word| name.contains(word))
    })
}

fn show(path: &str, value: &Value) -> String {
    if is_secret(path) {
        return HIDDEN.to_owned();
    }
    if is_file(path)
        && let Ok(file) = serde_json::from_value::<crate::model::spec::FileContent>(value.clone())
    {
        return format!("{file:?}");
    }
    match (path, value.as_u64()) {
        ("requests.cpuMillis" | "limits.cpuMillis", Some(millis)) => return format_cpu(millis),
        ("requests.memoryBytes" | "limits.memoryBytes", Some(bytes)) => {
            return format_memory(bytes);
        }
        _ => {}
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    if text.chars().count() > MAX_VALUE {
        let start: String = text.chars().take(MAX_VALUE).collect();
        return format!("{start}… ({} bytes)", text.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::world::spec;

    #[test]
    fn values_that_look_secret_are_not_shown() {
        let (mut old, mut new) = (spec("web:1"), spec("web:1"));
        let names = [
            "DB_PASSWORD",
            "client_secret",
            "GITHUB_TOKEN",
            "Api.Key",
            "AWS_CREDENTIALS",
        ];
        for name in names {
            new.workload
                .env
                .insert(name.to_owned(), "hunter2".to_owned());
        }
        old.workload
            .env
            .insert("DB_PASSWORD".to_owned(), "hunter1".to_owned());
        new.workload
            .env
            .insert("LOG".to_owned(), "debug".to_owned());

        let changes = diff_specs(&old, &new);
        assert_eq!(changes.len(), 6);
        assert!(!format!("{changes:?}").contains("hunter"), "{changes:?}");
        let told = |name: &str| {
            let change = changes.iter().find(|c| c.field == format!("env.{name}"));
            summary(change.map(std::slice::from_ref).unwrap_or_default())
        };
        assert_eq!(
            told("DB_PASSWORD"),
            "env.DB_PASSWORD: (value hidden) -> (value hidden)"
        );
        assert_eq!(told("Api.Key"), "env.Api.Key: nothing -> (value hidden)");
        assert_eq!(told("LOG"), "env.LOG: nothing -> debug");
    }
}
