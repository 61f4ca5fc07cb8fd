//! What people see, for a hand-made document.

use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// An app that settled on commit `a`, with `change` merged over it.
pub fn document(change: Value) -> AppStatus {
    let a = json!({"commit": "a".repeat(40), "digest": "1".repeat(64)});
    let mut document = json!({
        "project": "shop", "name": "web", "version": 7,
        "sync": "synced", "health": "healthy", "messages": [],
        "source": "shop", "path": "apps/web.yaml",
        "git": a, "running": a, "rejected": null,
        "replicas": {"desired": 1, "ready": 1, "total": 1, "updated": 1, "unknown": 0},
        "rollout": null, "lastRollout": null, "suspended": null, "held": false,
        "problems": [],
        "instances": [{
            "id": "00000000-0000-0000-0000-000000000001", "slot": 0, "node": "n1",
            "release": "00000000-0000-0000-0000-000000000002", "commit": "a".repeat(40),
            "phase": "running", "observed": "known", "ready": true, "stopping": false,
            "ports": {"http": "127.0.0.1:32768"}, "containerId": "c0ffee",
            "reason": "first deployment", "createdAt": "2023-11-14T22:03:20.000Z",
            "startedAt": "2023-11-14T22:03:20.000Z", "readySince": "2023-11-14T22:03:20.000Z",
            "exits": 0, "restarts": 0, "lastExit": null, "lastProbe": null,
            "failure": null, "logTail": [],
        }],
    });
    merge(&mut document, change);
    serde_json::from_value(document).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn b() -> Value {
    json!({"commit": "b".repeat(40), "digest": "2".repeat(64)})
}

fn rejected() -> Value {
    json!({
        "commit": "b".repeat(40), "digest": "2".repeat(64), "at": "2023-11-14T22:12:20.000Z",
        "verdict": "crashLoop", "reason": "it exited 3 times before it was ready",
        "evidence": {
            "instance": "00000000-0000-0000-0000-00000000000c", "slot": 1, "node": "n1",
            "exits": 3, "lastExit": {"code": 3, "oomKilled": false, "ranForMs": 12},
            "lastProbe": {"probe": "readiness", "passed": false, "answer": "GET :8080/: 503"},
            "error": null, "logTail": ["boom", "bye"],
        },
        "release": "00000000-0000-0000-0000-000000000003", "rollout": null,
    })
}

pub fn rollout(phase: &str) -> Value {
    json!({
        "id": "00000000-0000-0000-0000-000000000004", "kind": "forward", "strategy": "rolling",
        "order": "startFirst", "phase": phase, "step": "1 of 1 instances updated, 0 ready",
        "from": {"commit": "a".repeat(40), "digest": "1".repeat(64)}, "to": b(),
        "startedAt": "2023-11-14T22:12:50.000Z", "finishedAt": null,
        "reason": "image changed", "outcome": null, "rejected": null,
    })
}

#[test]
fn the_overview_has_a_line_per_app() {
    let apps = [
        document(json!({})),
        document(json!({
            "name": "api", "sync": "quarantined", "git": b(), "rejected": rejected(),
            "messages": ["running aaaaaaaa, Git at bbbbbbbb, bbbbbbbb was rejected: no"],
        })),
    ];
    assert_eq!(
        overview(&apps, Paint::NONE),
        "\
APP       SYNC         HEALTH   READY  RUNNING   GIT       WHY
shop/web  synced       healthy  1/1    aaaaaaaa  aaaaaaaa
shop/api  quarantined  healthy  1/1    aaaaaaaa  bbbbbbbb  running aaaaaaaa, Git at bbbbbbbb, bbbbbbbb was rejected: no
"
    );
    assert!(overview(&[], Paint::NONE).contains("evenkeel source add"));
}

#[test]
fn a_rejected_app_shows_its_evidence() {
    let app = document(json!({
        "sync": "quarantined", "git": b(), "rejected": rejected(),
        "messages": ["running aaaaaaaa, Git at bbbbbbbb, bbbbbbbb was rejected: it exited 3 times before it was ready"],
    }));
    assert_eq!(
        one(&app, NOW, Paint::NONE),
        "\
shop/web  quarantined  healthy  1/1 ready
  running aaaaaaaa, Git at bbbbbbbb, bbbbbbbb was rejected: it exited 3 times before it was ready
  source    shop, apps/web.yaml
  git       bbbbbbbb  (spec 22222222)
  running   aaaaaaaa  (spec 11111111)
  version   7
  rejected bbbbbbbb 60s ago (crashLoop): it exited 3 times before it was ready
    instance 00000000, slot 1 on node n1
    exit code 3 after 12 ms, 3 exits in all
    last readiness probe: GET :8080/: 503
    last output:
      | boom
      | bye
  SLOT  INSTANCE  NODE  COMMIT    PHASE    READY  AGE  RESTARTS  PORTS                 WHY
  0     00000000  n1    aaaaaaaa  running  ready  10m  0         http=127.0.0.1:32768
"
    );
}

#[test]
fn a_rollout_under_way_shows_how_far_it_is() {
    let app = document(
        json!({"sync": "outOfSync", "health": "progressing", "rollout": rollout("progressing")}),
    );
    let text = one(&app, NOW, Paint::NONE);
    let line = "  rollout   forward progressing aaaaaaaa → bbbbbbbb, rolling, \
                1 of 1 instances updated, 0 ready, started 30s ago: image changed\n";
    assert!(text.contains(line), "{text}");
}
