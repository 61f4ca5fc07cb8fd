//! What is fuzzed: each takes any bytes, panics where a promise breaks, and else says nothing.
//! Shared by the harness on stable (`main.rs`) and cargo-fuzz (`cargo/`).

use std::collections::BTreeMap;

use evenkeel::api::agent::{Report, ToAgent};
use evenkeel::forge::hook::Envelope;
use evenkeel::manifest::{Content, Defaults, Lookup, limits, validate_files};
use evenkeel::model::quantity::{
    format_cpu, format_duration, format_memory, parse_cpu, parse_duration, parse_memory,
};
use evenkeel::model::{Catalog, Node, Problem, Timestamp};
use evenkeel::plan::constraint::Compiled;

pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 5] = [
    ("specs", specs),
    ("quantities", quantities),
    ("constraints", constraints),
    ("hooks", hooks),
    ("messages", messages),
];

fn check(path: &str, bytes: &[u8]) -> (Catalog, Vec<Problem>) {
    let defaults = Defaults::new("default".parse().unwrap(), "");
    let files = [(path.to_owned(), Content::Bytes(bytes.to_vec()))];
    let checked = validate_files(&defaults, files, &mut |_| Lookup::Missing);
    (checked.catalog, checked.problems)
}

/// YAML → specs: the same each time, problems bounded and with a place, and what has problems
/// is never taken for a tree that declares nothing.
pub fn specs(data: &[u8]) {
    let (catalog, problems) = check("app.yaml", data);
    assert_eq!(catalog, check("app.yaml", data).0);
    assert!(problems.len() <= limits::PROBLEMS_PER_FILE + 1);
    for problem in &problems {
        assert!(problem.message.len() < 20_000, "{}", problem.message.len());
        assert_eq!(problem.file, "app.yaml");
        assert!(problem.line <= data.len() as u32 + 2, "{problem:?}");
    }
    // A document of another kind is known not to be an app, and needs no mark.
    let known = |problem: &Problem| matches!(problem.field.as_str(), "kind" | "apiVersion");
    if !problems.iter().all(known) {
        let declared = !catalog.invalid.is_empty() || !catalog.sources.is_empty();
        let kept = catalog.unreadable.contains("app.yaml") || declared;
        assert!(kept, "problems, and nothing is marked: {problems:?}");
    }
    // A file of JSON goes the same way.
    check("app.json", data);
}

/// What is read is written so that it is read again.
pub fn quantities(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(cpu) = parse_cpu(&text) {
        assert_eq!(parse_cpu(&format_cpu(cpu)), Ok(cpu), "{text:?}");
    }
    if let Ok(memory) = parse_memory(&text) {
        assert_eq!(parse_memory(&format_memory(memory)), Ok(memory), "{text:?}");
    }
    if let Ok(duration) = parse_duration(&text) {
        let again = parse_duration(&format_duration(duration));
        assert_eq!(again, Ok(duration), "{text:?}");
    }
}

/// `attribute NUL operator NUL value NUL as NUL what the node has`.
pub fn constraints(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let (attribute, operator, value, kind, has) = (next(), next(), next(), next(), next());
    let mut constraint = serde_json::json!({"attribute": attribute, "operator": operator});
    if operator == "in" || operator == "notIn" {
        constraint["values"] = serde_json::json!([value, has]);
    } else if !operator.ends_with("xists") {
        constraint["value"] = value.into();
    }
    if !kind.is_empty() {
        constraint["as"] = kind.into();
    }
    let document = serde_json::json!({
        "apiVersion": "evenkeel.dev/v1", "kind": "App", "metadata": {"name": "web"},
        "spec": {"image": "web:1", "placement": {"constraints": [constraint]}},
    });
    let (catalog, problems) = check("app.json", document.to_string().as_bytes());
    let mut node: Node = serde_json::from_str(NODE).unwrap();
    node.facts.attributes = BTreeMap::from([(attribute, has)]);
    let mut apps = 0;
    for app in catalog.apps.values() {
        apps += 1;
        for constraint in &app.spec.placement.constraints {
            let compiled = Compiled::new(constraint);
            assert_eq!(compiled.matches(&node), compiled.matches(&node));
        }
    }
    assert_eq!(apps, usize::from(problems.is_empty()), "{problems:?}");
}

/// A node that has nothing but the attribute.
const NODE: &str = r#"{"name": "n", "facts": {"address": "127.0.0.1", "attributes": {},
    "capacity": {"cpuMillis": 1000, "memoryBytes": 1000}, "agentVersion": "1"},
    "scheduling": "active", "liveness": "ready", "lastHeard": "2026-01-01T00:00:00Z",
    "registeredAt": "2026-01-01T00:00:00Z",
    "images": {}}"#;

/// The first byte chooses the forge, the rest is the body. Nothing is authentic without the
/// secret, and an empty secret never is one.
pub fn hooks(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let headers: &[(&str, &str)] = match first % 8 {
        0 => &[("x-forgejo-event", "push"), ("x-forgejo-signature", "")],
        1 => &[
            ("x-gitea-event", "pull_request"),
            ("x-gitea-signature", "ab"),
        ],
        2 => &[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "")],
        3 => &[
            ("x-gitlab-event", "Merge Request Hook"),
            ("x-gitlab-token", "x"),
        ],
        4 => &[
            ("x-github-event", "pull_request"),
            ("x-hub-signature-256", "sha256=00"),
        ],
        5 => &[("x-event-key", "repo:push"), ("x-request-uuid", "1")],
        6 => &[
            ("x-event-key", "pr:opened"),
            ("x-request-id", "1"),
            ("x-hub-signature", "sha256="),
        ],
        _ => &[
            ("x-github-event", "push"),
            ("content-type", "application/x-www-form-urlencoded"),
        ],
    };
    let headers: BTreeMap<String, String> = headers
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    let (envelope, _) = Envelope::of(&headers);
    let now = Timestamp(1_700_000_000_000);
    for secret in [&b""[..], b"not it"] {
        assert!(envelope.verify(secret, body, now).is_err());
    }
    let opened = envelope.open(body);
    assert_eq!(opened, envelope.open(body));
}

/// Agents and controller: what is read is written so that it is read again, and what a node
/// reports can be told in the same words.
pub fn messages(data: &[u8]) {
    if let Ok(told) = serde_json::from_slice::<ToAgent>(data) {
        let text = serde_json::to_vec(&told).unwrap();
        assert_eq!(serde_json::from_slice::<ToAgent>(&text).unwrap(), told);
    }
    if let Ok(report) = serde_json::from_slice::<Report>(data) {
        let text = serde_json::to_vec(&report).unwrap();
        assert_eq!(serde_json::from_slice::<Report>(&text).unwrap(), report);
    }
}
