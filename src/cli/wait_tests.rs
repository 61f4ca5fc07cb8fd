//! What a wait concludes from an app's and its source's documents.

use serde_json::{Value, json};

use super::super::status::tests::{document, rollout};
use super::*;

fn source(attempts: u64, running: bool, seen: &str, outcome: &str) -> SourceStatus {
    let outcome = match outcome {
        "ok" => json!({"kind": "ok"}),
        other => json!({"kind": other, "message": "no route"}),
    };
    let document = json!({
        "name": "shop", "url": "/srv/shop", "branch": "main", "path": "", "project": "shop",
        "interval": "1m", "credentials": {}, "webhook": {"path": "", "configured": false, "secretFile": null},
        "declaredBy": null, "suspended": false, "state": "ok", "outcome": outcome,
        "lastAttemptAt": null, "lastSeen": seen.repeat(40), "lastApplied": "a".repeat(40),
        "lastAppliedAt": null, "problems": [], "ignoredDocuments": 0, "held": null, "apps": 1,
        "sync": {
            "running": running, "lastAttemptAt": null, "nextAttemptAt": null, "outcome": outcome,
            "attempts": attempts, "warnings": [],
        },
    });
    serde_json::from_value(document).unwrap()
}

#[test]
fn only_a_sync_that_began_later_counts() {
    let wanted = |running| {
        let before = source(4, running, "a", "ok").sync;
        Asked::Attempt(wanted_attempt(before.as_ref()))
    };
    let check = |asked, attempts| git(&source(attempts, false, "a", "ok"), asked);
    assert_eq!(check(wanted(false), 4), Git::Unknown);
    assert_eq!(check(wanted(false), 5), Git::Applied);
    assert_eq!(check(wanted(true), 5), Git::Unknown);
    assert_eq!(check(wanted(true), 6), Git::Applied);
    assert_eq!(wanted_attempt(None), 1);
}

#[test]
fn a_source_that_cannot_be_followed_is_not_caught_up() {
    let check = |source: &SourceStatus| git(source, Asked::Attempt(1));
    assert!(matches!(check(&source(1, false, "b", "ok")), Git::Stuck(_)));
    let cut_off = check(&source(1, false, "a", "unreachable"));
    assert!(
        matches!(&cut_off, Git::Stuck(why) if why.contains("no route")),
        "{cut_off:?}"
    );
    // A suspended one is not fetched: its past outcome does not matter.
    assert_eq!(
        git(&source(1, false, "a", "unreachable"), Asked::Nothing),
        Git::Applied
    );
}

#[test]
fn an_app_that_is_not_there_is_told_with_the_sources() {
    assert!(absent("web", &[]).contains("no sources"));
    let told = absent("web", &[source(1, false, "a", "ok")]);
    assert_eq!(told, "web was never declared; the sources are: shop");
}

#[test]
fn a_wait_ends_as_soon_as_the_end_is_certain() {
    let check = |change: Value, caught_up: bool| {
        let behind = || Git::Stuck("not applied".to_owned());
        judge(
            &document(change),
            &if caught_up { Git::Applied } else { behind() },
        )
    };
    assert_eq!(check(json!({}), true), Wait::Done);
    assert_eq!(
        check(json!({}), false),
        Wait::Going("not applied".to_owned())
    );
    // Nothing is concluded from a state that a sync may change.
    let rejected = document(json!({"sync": "quarantined"}));
    assert!(matches!(judge(&rejected, &Git::Unknown), Wait::Going(_)));
    for sync in ["quarantined", "invalid", "suspended", "held"] {
        let change = json!({"sync": sync, "messages": ["why"]});
        assert_eq!(
            check(change, true),
            Wait::Failed("why".to_owned()),
            "{sync}"
        );
    }
    let rolling =
        json!({"sync": "outOfSync", "health": "progressing", "rollout": rollout("progressing")});
    assert!(matches!(check(rolling, true), Wait::Going(_)));
    let paused = json!({"sync": "outOfSync", "health": "degraded", "rollout": rollout("paused")});
    assert!(matches!(check(paused, true), Wait::Failed(_)));
    let failed = json!({"health": "failed", "lastRollout": rollout("failed")});
    assert!(matches!(check(failed, true), Wait::Failed(_)));
    let degraded = json!({"health": "degraded"});
    assert!(matches!(check(degraded, true), Wait::Going(_)));
}
