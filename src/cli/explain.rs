//! `explain FIELD`: the schema's words on one field, so that they are the same everywhere.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::manifest::{json_schema, problems::did_you_mean};

use super::args::Global;
use super::exit::{Code, Failure, Outcome};
use super::output::{Paint, Tone, print};

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    kind: String,
    field: String,
    #[serde(rename = "type")]
    type_name: String,
    required: bool,
    description: String,
    /// Words it may be.
    values: Vec<String>,
    fields: Vec<Inner>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inner {
    field: String,
    #[serde(rename = "type")]
    type_name: String,
    description: String,
}

pub fn run(global: &Global, field: &str) -> Outcome {
    let schema = json_schema();
    let found = explain(&schema, field)?;
    print(global.output, &found, |paint| text(&found, paint))?;
    Ok(Code::Done)
}

/// `App.spec.rollout`, `spec.rollout` (of an App, or the first kind that has it), `rollout`.
fn explain(schema: &Value, field: &str) -> Result<Explained, Failure> {
    let mut parts: Vec<&str> = field.split('.').filter(|p| !p.is_empty()).collect();
    let kinds = kinds(schema);
    let chosen = parts.first().and_then(|first| {
        let same = |(kind, _): &&(String, &Value)| kind.eq_ignore_ascii_case(first);
        kinds.iter().find(same)
    });
    let candidates: Vec<&(String, &Value)> = match chosen {
        Some(kind) => {
            parts.remove(0);
            vec![kind]
        }
        None => kinds.iter().collect(),
    };
    let mut error = None;
    for (kind, document) in candidates {
        match walk(schema, kind, document, &parts) {
            Ok(found) => return Ok(found),
            Err(failure) => error = error.or(Some(failure)),
        }
        // `rollout.maxSurge` is meant below `spec`.
        let below: Vec<&str> = std::iter::once("spec")
            .chain(parts.iter().copied())
            .collect();
        if let Ok(found) = walk(schema, kind, document, &below) {
            return Ok(found);
        }
    }
    Err(error.unwrap_or_else(|| Failure::usage("the schema is empty")))
}

/// Each kind with the schema of its documents.
fn kinds(schema: &Value) -> Vec<(String, &Value)> {
    let branches = schema.pointer("/then/allOf").and_then(Value::as_array);
    branches
        .into_iter()
        .flatten()
        .filter_map(|branch| {
            let kind = branch.pointer("/if/properties/kind/const")?.as_str()?;
            Some((kind.to_owned(), branch.get("then")?))
        })
        .collect()
}

/// What `node` is, with references followed; its own description wins over the definition's.
fn resolve<'s>(schema: &'s Value, node: &'s Value) -> Vec<&'s Map<String, Value>> {
    let mut found = Vec::new();
    let mut at = Some(node);
    // The schema's definitions do not refer to each other in circles; a bound all the same.
    for _ in 0..16 {
        let Some(map) = at.and_then(Value::as_object) else {
            break;
        };
        found.push(map);
        at = map
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|r| schema.pointer(r.trim_start_matches('#')));
    }
    let forms = found
        .iter()
        .flat_map(|m| ["anyOf", "oneOf", "allOf"].map(|k| m.get(k)));
    let inner: Vec<&Value> = forms
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .collect();
    for form in inner {
        if form.get("type").and_then(Value::as_str) != Some("null") {
            found.extend(resolve(schema, form));
        }
    }
    found
}

fn properties<'s>(schema: &'s Value, node: &'s Value) -> Vec<(&'s str, &'s Value)> {
    let maps = resolve(schema, node);
    let own = maps.iter().filter_map(|m| m.get("properties")?.as_object());
    let mut all: Vec<(&str, &Value)> = own.flatten().map(|(k, v)| (k.as_str(), v)).collect();
    // Of a list or a map of objects, the fields of each.
    let items = maps
        .iter()
        .flat_map(|m| ["items", "additionalProperties"].map(|k| m.get(k)))
        .flatten()
        .filter(|v| v.is_object());
    for item in items {
        let maps = resolve(schema, item);
        let own = maps.iter().filter_map(|m| m.get("properties")?.as_object());
        all.extend(own.flatten().map(|(k, v)| (k.as_str(), v)));
    }
    all
}

fn first<'s>(maps: &[&'s Map<String, Value>], key: &str) -> Option<&'s Value> {
    maps.iter().find_map(|m| m.get(key))
}

fn type_of(schema: &Value, node: &Value) -> String {
    let maps = resolve(schema, node);
    let mut types: Vec<String> = Vec::new();
    for value in maps.iter().filter_map(|m| m.get("type")) {
        let names: Vec<&str> = match value {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            other => other.as_str().into_iter().collect(),
        };
        for name in names {
            let known = types.iter().any(|t| t == name);
            if name != "null" && !known {
                types.push(name.to_owned());
            }
        }
    }
    let item = first(&maps, "items").filter(|i| i.is_object());
    match (types.as_slice(), item) {
        ([only], Some(item)) if only == "array" => format!("list of {}", type_of(schema, item)),
        ([], _) => "any".to_owned(),
        (types, _) => types.join(" or "),
    }
}

fn description(schema: &Value, node: &Value) -> String {
    let maps = resolve(schema, node);
    let words = first(&maps, "description").and_then(Value::as_str);
    words
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn values(schema: &Value, node: &Value) -> Vec<String> {
    let maps = resolve(schema, node);
    let listed = maps
        .iter()
        .filter_map(|m| m.get("enum")?.as_array())
        .flatten();
    let single = maps.iter().filter_map(|m| m.get("const"));
    listed
        .chain(single)
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

fn walk(
    schema: &Value,
    kind: &str,
    document: &Value,
    parts: &[&str],
) -> Result<Explained, Failure> {
    let mut at = document;
    let mut path: Vec<String> = Vec::new();
    let mut required = false;
    for part in parts {
        let name = part.split('[').next().unwrap_or(part);
        let inner = properties(schema, at);
        let Some((_, next)) = inner.iter().find(|(known, _)| *known == name) else {
            let at = if path.is_empty() {
                kind.to_owned()
            } else {
                path.join(".")
            };
            let near = did_you_mean(name, inner.iter().map(|(known, _)| *known));
            let message = match &near {
                Some(near) => format!("{at} has no field \"{name}\" ({near})"),
                None => format!("{at} has no field \"{name}\""),
            };
            let hint = if path.is_empty() {
                format!("evenkeel explain {kind}.spec")
            } else {
                format!("evenkeel explain {}", path.join("."))
            };
            return Err(Failure::usage(message).with_hint(hint));
        };
        let needed = resolve(schema, at);
        let needed = needed.iter().filter_map(|m| m.get("required")?.as_array());
        required = needed.flatten().any(|r| r.as_str() == Some(name));
        path.push(name.to_owned());
        at = next;
    }
    let fields = properties(schema, at);
    let inner = |(name, node): &(&str, &Value)| Inner {
        field: (*name).to_owned(),
        type_name: type_of(schema, node),
        description: description(schema, node),
    };
    Ok(Explained {
        kind: kind.to_owned(),
        field: path.join("."),
        type_name: if path.is_empty() {
            "object".to_owned()
        } else {
            type_of(schema, at)
        },
        required,
        description: description(schema, at),
        values: values(schema, at),
        fields: fields.iter().map(inner).collect(),
    })
}

fn text(found: &Explained, paint: Paint) -> String {
    let name = if found.field.is_empty() {
        found.kind.clone()
    } else {
        format!("{} {}", found.kind, found.field)
    };
    let needed = if found.required { ", required" } else { "" };
    let mut out = format!(
        "{}  {}{needed}\n",
        paint.paint(Tone::Strong, &name),
        found.type_name
    );
    if !found.description.is_empty() {
        out.push_str(&format!("  {}\n", found.description));
    }
    if !found.values.is_empty() {
        out.push_str(&format!("  one of: {}\n", found.values.join(", ")));
    }
    let width = found
        .fields
        .iter()
        .map(|f| f.field.len())
        .max()
        .unwrap_or(0);
    for inner in &found.fields {
        out.push_str(&format!(
            "  {:width$}  {}  {}\n",
            inner.field,
            paint.paint(Tone::Faint, &inner.type_name),
            inner.description
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: &str) -> Explained {
        explain(&json_schema(), field).expect("a known field")
    }

    #[test]
    fn a_field_is_found_by_its_path_with_or_without_its_start() {
        let long = of("spec.rollout.maxSurge");
        assert_eq!(long.field, "spec.rollout.maxSurge");
        assert!(!long.description.is_empty(), "{long:?}");
        assert_eq!(of("App.spec.rollout.maxSurge"), long);
        assert_eq!(of("rollout.maxSurge"), long);
        assert_eq!(of("Source.spec.branch").kind, "Source");
        assert!(of("metadata.name").required);
    }

    #[test]
    fn an_object_tells_its_fields_and_a_choice_its_words() {
        let names: Vec<String> = of("spec.ports")
            .fields
            .into_iter()
            .map(|f| f.field)
            .collect();
        assert!(names.contains(&"hostPort".to_owned()), "{names:?}");
        let words = of("spec.rollout.strategy").values;
        assert!(words.contains(&"recreate".to_owned()), "{words:?}");
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_field() {
        let failure = explain(&json_schema(), "spec.rollout.maxSurg").expect_err("no such field");
        assert_eq!(failure.code, Code::Usage);
        assert!(
            failure.message.contains("did you mean \"maxSurge\"?"),
            "{failure}"
        );
        assert!(failure.hint.is_some());
    }

    #[test]
    fn every_field_of_an_app_has_words() {
        let mut left = vec!["App.spec".to_owned()];
        let mut seen = 0;
        while let Some(path) = left.pop() {
            for inner in of(&path).fields {
                let field = format!("{path}.{}", inner.field);
                assert!(!inner.description.is_empty(), "{field} is not described");
                seen += 1;
                left.push(field);
            }
        }
        assert!(seen > 50, "only {seen} fields");
    }
}
