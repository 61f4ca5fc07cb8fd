//! What each vendor's bodies say: the documented shapes, cut to what matters.

use serde_json::{Value, json};

use super::*;

const A: &str = "a10867b14bb761a232cd80139fbd4c0d33264240";
const B: &str = "b6568db1bc1dcd7f8b4d5a946b0b91f9dacd7327";
const ZERO: &str = "0000000000000000000000000000000000000000";

fn open(of: &[(&str, &str)], body: &[u8]) -> Result<Vec<Event>, String> {
    let (envelope, _) = Envelope::of(&headers(of));
    envelope.open(body).map(|d| d.events).map_err(|m| m.0)
}

#[track_caller]
fn says(header: &str, event: &str, body: &Value, wanted: Event) {
    let told = open(&[(header, event)], body.to_string().as_bytes());
    assert_eq!(told, Ok(vec![wanted]), "{event} {body}");
}

fn commit(hash: &str) -> Option<CommitId> {
    Some(CommitId(hash.to_owned()))
}

fn push(branch: &str) -> Event {
    Event::Push {
        branch: branch.to_owned(),
        after: commit(A),
    }
}

fn created(branch: &str) -> Event {
    Event::BranchCreated {
        branch: branch.to_owned(),
        after: commit(A),
    }
}

fn deleted(branch: &str) -> Event {
    Event::BranchDeleted {
        branch: branch.to_owned(),
    }
}

fn tag(name: &str, hash: Option<CommitId>) -> Event {
    Event::Tag {
        name: name.to_owned(),
        commit: hash,
    }
}

fn tag_deleted(name: &str) -> Event {
    Event::TagDeleted {
        name: name.to_owned(),
    }
}

fn request(action: PullRequestAction, merge: Option<CommitId>, from_fork: bool) -> Event {
    Event::PullRequest(PullRequestEvent {
        number: 7,
        action,
        base: "main".to_owned(),
        head_ref: "fix/login".to_owned(),
        head: CommitId(A.to_owned()),
        merge,
        from_fork,
        title: "Fix the login".to_owned(),
    })
}

#[test]
fn github_and_its_descendants_tell_of_refs() {
    for header in ["x-github-event", "x-gitea-event", "x-forgejo-event"] {
        let pushed = |full: &str, before: &str, after: &str, head: Value| {
            json!({"ref": full, "before": before, "after": after, "head_commit": head,
                   "commits": [], "repository": {"full_name": "team/apps"}})
        };
        let main = pushed("refs/heads/main", B, A, json!({"id": A}));
        says(header, "push", &main, push("main"));
        let slash = pushed("refs/heads/a/b", ZERO, A, Value::Null);
        says(header, "push", &slash, created("a/b"));
        let gone = pushed("refs/heads/main", B, ZERO, Value::Null);
        says(header, "push", &gone, deleted("main"));
        // `after` is the tag's own object.
        let tagged = pushed("refs/tags/v1", ZERO, B, json!({"id": A}));
        says(header, "push", &tagged, tag("v1", commit(A)));
        let untagged = pushed("refs/tags/v1", B, ZERO, Value::Null);
        says(header, "push", &untagged, tag_deleted("v1"));
        let note = Event::Ignored {
            event: "refs/notes/x".to_owned(),
            why: "it is neither a branch nor a tag".to_owned(),
        };
        says(
            header,
            "push",
            &pushed("refs/notes/x", B, A, Value::Null),
            note,
        );

        let named = |kind: &str| json!({"ref": "v/1", "ref_type": kind, "sha": A});
        says(header, "create", &named("branch"), created("v/1"));
        says(header, "create", &named("tag"), tag("v/1", None));
        says(header, "delete", &named("branch"), deleted("v/1"));
        says(header, "delete", &named("tag"), tag_deleted("v/1"));
        says(
            header,
            "ping",
            &json!({"zen": "Keep it logically awesome."}),
            Event::Ping,
        );
        let star = open(&[(header, "star")], b"not even JSON");
        assert!(matches!(&star.unwrap()[0], Event::Ignored { event, .. } if event == "star"));
    }
}

#[test]
fn github_and_its_descendants_tell_of_pull_requests() {
    let of = |action: &str, merged: bool, head: Value| {
        json!({"action": action, "number": 7, "pull_request": {
            "title": "Fix the login", "merged": merged, "merge_commit_sha": B,
            "head": {"ref": "fix/login", "sha": A, "repo": head},
            "base": {"ref": "main", "sha": B, "repo": {"id": 1}}}})
    };
    use PullRequestAction as Act;
    for header in ["x-github-event", "x-gitea-event", "x-forgejo-event"] {
        for (action, merged, wanted) in [
            ("opened", false, Act::Opened),
            ("synchronize", false, Act::Updated),
            ("synchronized", false, Act::Updated),
            ("reopened", false, Act::Reopened),
            ("closed", false, Act::Closed { merged: false }),
            ("closed", true, Act::Closed { merged: true }),
            ("edited", false, Act::Edited),
            ("labeled", false, Act::Other),
        ] {
            let body = of(action, merged, json!({"id": 1}));
            says(
                header,
                "pull_request",
                &body,
                request(wanted, commit(B), false),
            );
        }
        let fork = of("opened", false, json!({"id": 2}));
        says(
            header,
            "pull_request",
            &fork,
            request(Act::Opened, commit(B), true),
        );
        let lost = of("opened", false, Value::Null);
        says(
            header,
            "pull_request",
            &lost,
            request(Act::Opened, commit(B), true),
        );
    }
}

#[test]
fn gitlab_tells_the_same() {
    let pushed = |kind: &str, full: &str, before: &str, after: &str, checkout: Value| {
        json!({"object_kind": kind, "ref": full, "before": before, "after": after,
               "checkout_sha": checkout, "project": {"id": 1}})
    };
    let header = "x-gitlab-event";
    let main = pushed("push", "refs/heads/main", B, A, json!(A));
    says(header, "Push Hook", &main, push("main"));
    says(header, "System Hook", &main, push("main"));
    let new = pushed("push", "refs/heads/x", ZERO, A, json!(A));
    says(header, "Push Hook", &new, created("x"));
    let gone = pushed("push", "refs/heads/main", A, ZERO, Value::Null);
    says(header, "Push Hook", &gone, deleted("main"));
    let tagged = pushed("tag_push", "refs/tags/v1", ZERO, B, json!(A));
    says(header, "Tag Push Hook", &tagged, tag("v1", commit(A)));
    let untagged = pushed("tag_push", "refs/tags/v1", B, ZERO, Value::Null);
    says(header, "Tag Push Hook", &untagged, tag_deleted("v1"));

    let merge = |action: &str, oldrev: Value, source: Value| {
        json!({"object_kind": "merge_request", "object_attributes": {
            "iid": 7, "id": 99, "title": "Fix the login", "action": action, "oldrev": oldrev,
            "source_branch": "fix/login", "target_branch": "main", "merge_commit_sha": null,
            "source_project_id": source, "target_project_id": 1, "last_commit": {"id": A}}})
    };
    use PullRequestAction as Act;
    for (action, oldrev, wanted) in [
        ("open", Value::Null, Act::Opened),
        ("update", json!(B), Act::Updated),
        ("update", Value::Null, Act::Edited),
        ("reopen", Value::Null, Act::Reopened),
        ("close", Value::Null, Act::Closed { merged: false }),
        ("merge", Value::Null, Act::Closed { merged: true }),
        ("approved", Value::Null, Act::Other),
    ] {
        let body = merge(action, oldrev, json!(1));
        says(
            header,
            "Merge Request Hook",
            &body,
            request(wanted, None, false),
        );
    }
    for source in [json!(2), Value::Null] {
        let body = merge("open", Value::Null, source);
        says(
            header,
            "Merge Request Hook",
            &body,
            request(Act::Opened, None, true),
        );
    }
    let other = open(&[(header, "Pipeline Hook")], b"");
    assert!(matches!(other.unwrap()[0], Event::Ignored { .. }));
    let user = open(
        &[(header, "System Hook")],
        b"{\"event_name\": \"user_create\"}",
    );
    assert!(matches!(user.unwrap()[0], Event::Ignored { .. }));
}

#[test]
fn bitbucket_cloud_tells_several_changes_at_once() {
    let side = |kind: &str, name: &str| json!({"type": kind, "name": name, "target": {"hash": A}});
    let body = json!({"push": {"changes": [
        {"old": side("branch", "main"), "new": side("branch", "main"), "truncated": true},
        {"old": null, "new": side("branch", "new")},
        {"old": side("branch", "old"), "new": null},
        {"old": null, "new": side("tag", "v1")},
        {"old": side("tag", "v0"), "new": null},
    ]}});
    let told = open(&[("x-event-key", "repo:push")], body.to_string().as_bytes());
    let wanted = vec![
        push("main"),
        created("new"),
        deleted("old"),
        tag("v1", commit(A)),
        tag_deleted("v0"),
    ];
    assert_eq!(told, Ok(wanted));
    let none = json!({"push": {"changes": []}}).to_string();
    let told = open(&[("x-event-key", "repo:push")], none.as_bytes());
    assert!(matches!(told.unwrap()[0], Event::Ignored { .. }));
}

#[test]
fn bitbucket_cloud_tells_of_pull_requests_with_short_hashes() {
    let of = |source: &str| {
        json!({"pullrequest": {"id": 7, "title": "Fix the login", "merge_commit": null,
            "source": {"branch": {"name": "fix/login"}, "commit": {"hash": &A[..12]},
                       "repository": {"full_name": source}},
            "destination": {"branch": {"name": "main"}, "commit": {"hash": &B[..12]},
                            "repository": {"full_name": "team/apps"}}}})
    };
    use PullRequestAction as Act;
    for (event, wanted) in [
        ("pullrequest:created", Act::Opened),
        ("pullrequest:updated", Act::Updated),
        ("pullrequest:fulfilled", Act::Closed { merged: true }),
        ("pullrequest:rejected", Act::Closed { merged: false }),
    ] {
        for (repository, from_fork) in [("team/apps", false), ("me/apps", true)] {
            let Event::PullRequest(mut told) = request(wanted, None, from_fork) else {
                unreachable!()
            };
            told.head = CommitId(A[..12].to_owned());
            says(
                "x-event-key",
                event,
                &of(repository),
                Event::PullRequest(told),
            );
        }
    }
}

#[test]
fn bitbucket_data_center_tells_the_same() {
    let change = |id: &str, kind: &str, to: &str| {
        json!({"ref": {"id": id, "displayId": "x", "type": "BRANCH"}, "refId": id,
               "fromHash": B, "toHash": to, "type": kind})
    };
    let body = json!({"eventKey": "repo:refs_changed", "changes": [
        change("refs/heads/main", "UPDATE", A),
        change("refs/heads/new", "ADD", A),
        change("refs/heads/old", "DELETE", ZERO),
        change("refs/tags/v1", "ADD", B),
        change("refs/tags/v0", "DELETE", ZERO),
    ]});
    let key = [("x-event-key", "repo:refs_changed")];
    let wanted = vec![
        push("main"),
        created("new"),
        deleted("old"),
        tag("v1", None),
        tag_deleted("v0"),
    ];
    assert_eq!(open(&key, body.to_string().as_bytes()), Ok(wanted));
    says(
        "x-event-key",
        "diagnostics:ping",
        &json!({"test": true}),
        Event::Ping,
    );

    let of = |repository: u64| {
        json!({"pullRequest": {"id": 7, "title": "Fix the login", "open": true,
            "fromRef": {"id": "refs/heads/fix/login", "latestCommit": A,
                        "repository": {"id": repository}},
            "toRef": {"id": "refs/heads/main", "latestCommit": B, "repository": {"id": 84}},
            "properties": {"mergeCommit": {"id": B}}}})
    };
    use PullRequestAction as Act;
    for (event, wanted) in [
        ("pr:opened", Act::Opened),
        ("pr:from_ref_updated", Act::Updated),
        ("pr:modified", Act::Edited),
        ("pr:merged", Act::Closed { merged: true }),
        ("pr:declined", Act::Closed { merged: false }),
        ("pr:deleted", Act::Closed { merged: false }),
    ] {
        says(
            "x-event-key",
            event,
            &of(84),
            request(wanted, commit(B), false),
        );
        says(
            "x-event-key",
            event,
            &of(85),
            request(wanted, commit(B), true),
        );
    }
}

#[test]
fn a_program_of_ones_own_may_say_little() {
    for body in [&b""[..], b"  ", b"hello", b"\xff\xfe", b"{}", b"[1, 2"] {
        assert_eq!(open(&[], body), Ok(vec![Event::Changed]));
    }
    let of = |full: &str, after: &str| format!(r#"{{"ref": "{full}", "after": "{after}"}}"#);
    for full in ["refs/heads/main", "main"] {
        assert_eq!(open(&[], of(full, A).as_bytes()), Ok(vec![push("main")]));
        let told = open(&[], of(full, ZERO).as_bytes());
        assert_eq!(told, Ok(vec![deleted("main")]));
    }
    let told = open(&[], of("refs/tags/v1", A).as_bytes());
    assert_eq!(told, Ok(vec![tag("v1", commit(A))]));
    for wrong in ["{", "{\"ref\": 5}", "{\"ref\": \"main\", \"after\": \"x\"}"] {
        assert!(open(&[], wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_form_holds_the_same_body() {
    let body = json!({"ref": "refs/heads/main", "before": B, "after": A}).to_string();
    let encoded: String = body.bytes().map(|b| format!("%{b:02X}")).collect();
    let form = (
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );
    let told = open(
        &[("x-github-event", "push"), form],
        format!("payload={encoded}").as_bytes(),
    );
    assert_eq!(told, Ok(vec![push("main")]));
    assert!(open(&[("x-github-event", "push"), form], body.as_bytes()).is_err());
    // What curl sends unless told otherwise.
    assert_eq!(open(&[form], body.as_bytes()), Ok(vec![push("main")]));
}
