//! Whatever changes a document moves its version, however the change arrives.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Versions;
use crate::api::app_status::app_status;
use crate::api::app_status_tests::settled;
use crate::api::node::node_view;
use crate::api::source::source_status;
use crate::model::source::Held;
use crate::model::{
    Change, Generation, Goal, Liveness, Scheduling, Snapshot, Suspension, Timestamp,
};

/// Name → what it shows and its version.
type Documents = BTreeMap<String, (Value, u64)>;

fn documents(snapshot: &Snapshot, versions: &Versions) -> Documents {
    let mut all = Documents::new();
    for (key, app) in &snapshot.apps {
        let document = json!(app_status(snapshot, app));
        all.insert(format!("app {key}"), (document, versions.app(key)));
    }
    for (name, source) in &snapshot.sources {
        let document = json!(source_status(snapshot, source));
        all.insert(format!("source {name}"), (document, versions.source(name)));
    }
    for (name, node) in &snapshot.nodes {
        let mut document = json!(node_view(snapshot, node));
        document["lastHeard"] = Value::Null;
        all.insert(format!("node {name}"), (document, versions.node(name)));
    }
    all
}

/// Every kind of change that an operator can see, on top of a settled cluster.
fn life() -> Vec<Change> {
    let world = settled();
    let mut changes = world.1.clone();
    let app = world.0.apps.keys().next().unwrap().clone();
    let node = world.0.nodes.keys().next().unwrap().clone();
    let instance = *world.0.apps[&app].instances.keys().next().unwrap();
    let mut held = world.0.sources.values().next().unwrap().clone();
    held.held = Some(Held {
        commit: crate::model::CommitId("b".repeat(40)),
        since: Timestamp(0),
        deletions: BTreeMap::from([(app.clone(), "web.yaml".to_owned())]),
        reason: "1 of 1".to_owned(),
    });
    let mut let_go = held.clone();
    let_go.held = None;
    let liveness = |liveness| Change::SetLiveness {
        node: node.clone(),
        liveness,
        last_heard: Timestamp(1),
    };
    changes.extend([
        liveness(Liveness::Ready),
        liveness(Liveness::Suspect),
        liveness(Liveness::Ready),
        Change::PutSource(Box::new(held)),
        Change::PutSource(Box::new(let_go)),
        Change::SetSuspension {
            app: app.clone(),
            suspension: Some(Suspension {
                by: "jane".to_owned(),
                at: Timestamp(0),
                reason: None,
                until: None,
            }),
        },
        Change::SetScheduling {
            node: node.clone(),
            scheduling: Scheduling::Cordoned,
            note: None,
        },
        Change::SetGoal {
            app: app.clone(),
            instance,
            goal: Goal::Stop {
                at: Timestamp(0),
                reason: "scaled".to_owned(),
            },
        },
        Change::ForgetInstance {
            app: app.clone(),
            instance,
        },
        Change::RemoveNode { node },
        Change::Undeclare { app: app.clone() },
        Change::RemoveApp { app },
    ]);
    changes
}

fn check(before: &Documents, after: &Documents, at: Generation, what: &str) {
    for (name, (document, version)) in after {
        let known = before.get(name);
        if known.is_none_or(|(known, _)| known != document) {
            assert_eq!(
                *version,
                at.0.unsigned_abs(),
                "{name} changed unseen: {what}"
            );
        }
        assert!(
            known.is_none_or(|(_, known)| known <= version),
            "{name}: {what}"
        );
    }
}

#[test]
fn a_change_of_a_document_moves_its_version() {
    let mut snapshot = Snapshot::default();
    let mut versions = Versions::default();
    for change in life() {
        let before = documents(&snapshot, &versions);
        let at = snapshot.generation.next();
        versions.committed(&snapshot, std::slice::from_ref(&change), at);
        snapshot.apply(&change).unwrap();
        snapshot.generation = at;
        let after = documents(&snapshot, &versions);
        check(&before, &after, at, &format!("{change:?}"));
    }
}

#[test]
fn what_is_read_anew_moves_the_versions_of_what_differs_and_no_others() {
    let mut snapshot = Snapshot::default();
    let mut versions = Versions::default();
    let mut quiet = 0;
    for change in life() {
        let known = snapshot.clone();
        let before = documents(&known, &versions);
        snapshot.apply(&change).unwrap();
        snapshot.generation = known.generation.next();
        versions.replaced(Some(&known), &snapshot);
        let after = documents(&snapshot, &versions);
        check(&before, &after, snapshot.generation, &format!("{change:?}"));
        let moved = |name: &String| before.get(name).map(|b| b.1) != after.get(name).map(|a| a.1);
        quiet += after.keys().filter(|name| !moved(name)).count();
    }
    assert!(quiet > 20, "what stays as it is keeps its version: {quiet}");
}

#[test]
fn a_first_read_counts_as_a_change_of_all() {
    let mut snapshot = settled().0;
    snapshot.generation = Generation(7);
    let mut versions = Versions::default();
    versions.replaced(None, &snapshot);
    let all = documents(&snapshot, &versions);
    assert!(all.values().all(|(_, version)| *version == 7));
}
