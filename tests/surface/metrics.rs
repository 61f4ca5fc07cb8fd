//! `/metrics`, and what `charts/` makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{Answer, Server, app};

/// Families of a page by name: the names of their labels, as far as they have values.
fn families(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let label = Regex::new(r#"([a-z_]+)="[^"\\\n]*""#).unwrap();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert!(["gauge", "counter", "summary"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let known = families.insert(name.to_owned(), BTreeSet::new());
            assert!(known.is_none(), "{name} is there twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().expect(line);
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let base = name.trim_end_matches("_sum").trim_end_matches("_count");
            let family = families.get_mut(base).expect(line);
            family.extend(label.captures_iter(labels).map(|c| c[1].to_owned()));
        }
    }
    families
}

fn value(text: &str, line: &str) -> Option<f64> {
    let found = text.lines().find_map(|l| l.strip_prefix(line))?;
    found.trim().parse().ok()
}

fn chart(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("charts")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

/// A server on which most things happened once.
async fn busy() -> Server {
    let server = Server::start().await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    server.register("n1").await;
    let file = server.dir.path().join("secret");
    std::fs::write(&file, "s3cret").unwrap();
    server.guard(&repository, &file).await;
    for token in ["s3cret", "wrong", "wrong"] {
        let hook = server
            .http
            .post(format!("{}/api/v1/hooks/shop", server.url))
            .header("x-gitlab-event", "Pipeline Hook")
            .header("x-gitlab-token", token)
            .body("{}");
        Answer::of(hook).await;
    }
    server
}

#[tokio::test]
async fn the_page_counts_what_happens() {
    let server = busy().await;
    server
        .until("it was synced", |s| {
            s.handle.counts().syncs.values().sum::<u64>() >= 1
        })
        .await;
    let text = server.get("/metrics").await.check(StatusCode::OK).text;
    for (line, wanted) in [
        ("evenkeel_leader ", 1.0),
        ("evenkeel_database_up ", 1.0),
        ("evenkeel_apps_quarantined ", 0.0),
        (
            "evenkeel_app_replicas_desired{project=\"shop\",app=\"web\"} ",
            1.0,
        ),
        (
            "evenkeel_app_replicas_ready{project=\"shop\",app=\"web\"} ",
            0.0,
        ),
        ("evenkeel_source_state{source=\"shop\",state=\"ok\"} ", 1.0),
        (
            "evenkeel_syncs_total{source=\"shop\",outcome=\"failed\"} ",
            0.0,
        ),
        ("evenkeel_events_total{kind=\"source.added\"} ", 1.0),
        ("evenkeel_events_total{kind=\"rollout.rolledBack\"} ", 0.0),
        (
            "evenkeel_nodes{liveness=\"ready\",scheduling=\"active\"} ",
            1.0,
        ),
        ("evenkeel_outbox_messages ", 0.0),
        ("evenkeel_agents_connected ", 0.0),
        (
            "evenkeel_webhook_deliveries_total{source=\"shop\",verdict=\"forged\"} ",
            2.0,
        ),
        (
            "evenkeel_webhook_deliveries_total{source=\"shop\",verdict=\"ignored\"} ",
            1.0,
        ),
    ] {
        assert_eq!(value(&text, line), Some(wanted), "{line}\n{text}");
    }
    for (line, least) in [
        ("evenkeel_lease_epoch ", 1.0),
        ("evenkeel_lease_remaining_seconds ", 0.1),
        ("evenkeel_syncs_total{source=\"shop\",outcome=\"ok\"} ", 1.0),
        ("evenkeel_sync_duration_seconds_count ", 1.0),
        ("evenkeel_plan_duration_seconds_count ", 1.0),
        ("evenkeel_plan_wait_seconds_count ", 1.0),
    ] {
        let found = value(&text, line).unwrap_or_else(|| panic!("{line}\n{text}"));
        assert!(found >= least, "{line}{found}");
    }
    server.stop().await;
}

/// Labels by family, as README.md's table has them: `name{label,…}`, or several names and then
/// the labels of all of them.
fn told() -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let token = Regex::new(r"`(evenkeel_[a-z_]+)?(?:\{([a-z,]+)\})?`").unwrap();
    let mut told = BTreeMap::new();
    for line in readme.lines().filter(|l| l.starts_with("| `evenkeel_")) {
        let cell = line.split('|').nth(1).unwrap();
        let mut bare = Vec::new();
        for found in token.captures_iter(cell) {
            let labels = found.get(2).map_or("", |m| m.as_str()).split(',');
            let labels: BTreeSet<String> = labels
                .filter(|l| !l.is_empty())
                .map(str::to_owned)
                .collect();
            match found.get(1) {
                Some(name) => {
                    if labels.is_empty() {
                        bare.push(name.as_str().to_owned());
                    }
                    told.insert(name.as_str().to_owned(), labels);
                }
                None => {
                    for name in bare.drain(..) {
                        told.insert(name, labels.clone());
                    }
                }
            }
        }
    }
    told
}

#[tokio::test]
async fn the_table_of_metrics_tells_their_labels() {
    let server = busy().await;
    let text = server.get("/metrics").await.check(StatusCode::OK).text;
    let (families, told) = (families(&text), told());
    assert_eq!(
        families.keys().collect::<Vec<_>>(),
        told.keys().collect::<Vec<_>>()
    );
    let mut labelled = 0;
    for (name, labels) in &families {
        // Nothing happened yet of which it could tell.
        let empty = labels.is_empty() && !told[name].is_empty();
        assert!(empty || *labels == told[name], "{name}: {labels:?}");
        labelled += usize::from(!labels.is_empty());
    }
    assert!(labelled >= 12, "{labelled}");
    server.stop().await;
}

/// Every metric and label that an expression names is there, and used rightly.
#[track_caller]
fn check(expression: &str, families: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let selector = Regex::new(r#"\b(evenkeel_[a-z_]+)(?:\{([^}]*)\})?(\[)?"#).unwrap();
    let matcher = Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    let by = Regex::new(r"\bby \(([^)]*)\)").unwrap();
    let mut used = BTreeSet::new();
    let mut labels: BTreeSet<String> = ["instance".to_owned(), "job".to_owned()].into();
    for found in selector.captures_iter(expression) {
        let name = &found[1];
        let base = name.trim_end_matches("_sum").trim_end_matches("_count");
        let known = families.get(base);
        let known = known.unwrap_or_else(|| panic!("there is no {name}: {expression}"));
        let counts = base != name || name.ends_with("_total");
        let ranged = found.get(3).is_some();
        assert_eq!(counts, ranged, "rates are of counters: {expression}");
        for asked in matcher.captures_iter(found.get(2).map_or("", |m| m.as_str())) {
            // Of a family without values nothing is known here.
            assert!(
                known.is_empty() || known.contains(&asked[1]),
                "{expression}"
            );
        }
        labels.extend(known.iter().cloned());
        used.insert(base.to_owned());
    }
    assert!(!used.is_empty(), "it names no metric: {expression}");
    let valueless = used.iter().any(|name| families[name].is_empty());
    for group in by.captures_iter(expression) {
        for label in group[1].split(',').map(str::trim) {
            assert!(valueless || labels.contains(label), "{label}: {expression}");
        }
    }
    let balanced = |open, close| {
        let count = |c| expression.matches::<char>(c).count();
        count(open) == count(close)
    };
    assert!(balanced('(', ')') && balanced('{', '}') && balanced('[', ']'));
    used
}

#[tokio::test]
async fn charts_use_only_metrics_that_exist() {
    let server = busy().await;
    let text = server.get("/metrics").await.check(StatusCode::OK).text;
    let families = families(&text);
    let mut used = BTreeSet::new();

    let rules: Value = serde_yaml::from_str(&chart("alerts.yaml")).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 15);
    let mut names = BTreeSet::new();
    for rule in rules {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        used.extend(check(&text(&rule["expr"]), &families));
        assert!(names.insert(text(&rule["alert"])), "twice: {rule}");
        assert!(["warning", "critical"].contains(&&*text(&rule["labels"]["severity"])));
        assert!(text(&rule["for"]).ends_with('m'));
        for part in ["summary", "description"] {
            assert!(!text(&rule["annotations"][part]).is_empty());
        }
    }
    let dashboard: Value = serde_json::from_str(&chart("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24);
        for target in panel["targets"].as_array().unwrap() {
            used.extend(check(target["expr"].as_str().unwrap(), &families));
        }
    }
    // And what exists is looked at, but for two that tell nothing over time.
    let rest = [
        "evenkeel_generation",
        "evenkeel_lease_epoch",
        "evenkeel_sources",
    ];
    let unused: Vec<&String> = families
        .keys()
        .filter(|name| !used.contains(*name))
        .collect();
    assert_eq!(unused, rest, "{unused:?}");
    server.stop().await;
}
