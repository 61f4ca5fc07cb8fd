//! Whatever is sent, parsing ends with an answer, and what comes out is bounded.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const EVENTS: [(&str, &str); 17] = [
    ("x-github-event", "push"),
    ("x-github-event", "create"),
    ("x-github-event", "delete"),
    ("x-github-event", "pull_request"),
    ("x-github-event", "ping"),
    ("x-gitea-event", "push"),
    ("x-forgejo-event", "pull_request"),
    ("x-gitlab-event", "Push Hook"),
    ("x-gitlab-event", "Tag Push Hook"),
    ("x-gitlab-event", "Merge Request Hook"),
    ("x-gitlab-event", "System Hook"),
    ("x-event-key", "repo:push"),
    ("x-event-key", "pullrequest:created"),
    ("x-event-key", "repo:refs_changed"),
    ("x-event-key", "pr:opened"),
    ("x-event-key", "diagnostics:ping"),
    ("content-type", "application/json"),
];

fn open(event: (&str, &str), body: &[u8]) -> Result<Delivery, Malformed> {
    Envelope::of(&headers(&[event])).0.open(body)
}

/// One body with all fields that any vendor has.
fn everything() -> Value {
    let hash = "a10867b14bb761a232cd80139fbd4c0d33264240";
    let side = json!({"ref": "main", "sha": hash, "repo": {"id": 1},
        "branch": {"name": "main"}, "commit": {"hash": hash}, "repository": {"id": 1, "uuid": "u"},
        "id": "refs/heads/main", "latestCommit": hash});
    let request = json!({"number": 7, "id": 7, "iid": 7, "title": "t", "merged": false,
        "head": side, "base": side, "source": side, "destination": side, "fromRef": side,
        "toRef": side});
    json!({"object_kind": "push", "ref": "refs/heads/main", "before": hash, "after": hash,
        "ref_type": "branch", "head_commit": {"id": hash}, "checkout_sha": hash,
        "action": "opened", "number": 7, "pull_request": request, "pullrequest": request,
        "pullRequest": request, "object_attributes": request,
        "push": {"changes": [{"old": null,
            "new": {"type": "branch", "name": "main", "target": {"hash": hash}}}]},
        "changes": [{"ref": {"id": "refs/heads/main"}, "toHash": hash, "type": "ADD"}]})
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for event in EVENTS {
        for n in [127, 200, 500_000] {
            for body in [
                deep(n),
                format!("{{\"ref\": {}}}", deep(n)),
                format!("{{\"push\": {{\"changes\": {}}}}}", deep(n)),
                format!("{{\"x\": {}, \"ref\": \"main\"}}", "{\"x\":".repeat(n)),
            ] {
                let _ = open(event, body.as_bytes());
            }
        }
    }
    let body = format!("{{\"ref\": \"refs/heads/main\", \"x\": {}}}", deep(500_000));
    assert!(open(EVENTS[0], body.as_bytes()).is_err());
}

#[test]
fn bodies_that_are_cut_off_are_malformed() {
    let whole = everything().to_string();
    let pushes = EVENTS
        .iter()
        .filter(|(_, e)| !e.contains("ping"))
        .filter(|(h, _)| *h != "content-type");
    for event in pushes {
        for end in (1..whole.len()).step_by(7) {
            assert!(open(*event, &whole.as_bytes()[..end]).is_err(), "{event:?}");
        }
    }
    let cut = open(EVENTS[0], br#"{"ref": "refs/heads/main""#).unwrap_err();
    assert!(cut.0.contains("it is not JSON"), "{cut}");
}

#[test]
fn wrong_types_and_texts_are_malformed_and_not_repeated_at_length() {
    let long = "x".repeat(100_000);
    for body in [
        r#"{"ref": 5, "after": "x"}"#.to_owned(),
        r#"{"ref": ["refs/heads/main"]}"#.to_owned(),
        r#"{"ref": "refs/heads/main"}"#.to_owned(),
        r#"{"ref": "refs/heads/main", "after": "HEAD"}"#.to_owned(),
        r#"{"ref": "refs/heads/", "after": "a10867b14bb761a232cd80139fbd4c0d33264240"}"#.to_owned(),
        r#"{"ref": "refs/heads/a\nb", "after": "a10867b14bb761a232cd80139fbd4c0d33264240"}"#
            .to_owned(),
        r#"{"ref": "a", "ref": "b"}"#.to_owned(),
        format!(r#"{{"ref": "refs/heads/main", "after": "{long}"}}"#),
        format!(r#"{{"ref": 5{}}}"#, "0".repeat(400)),
        "null".to_owned(),
        "[]".to_owned(),
        "\"push\"".to_owned(),
        "\u{feff}{}".to_owned(),
    ] {
        let malformed = open(("x-github-event", "push"), body.as_bytes()).unwrap_err();
        assert!(malformed.0.len() < 400, "{} bytes", malformed.0.len());
    }
    for body in [&b"\xff\xfe{}"[..], b"{\"ref\": \"refs/heads/\xff\"}", b""] {
        assert!(open(("x-github-event", "push"), body).is_err());
    }
}

#[test]
fn headers_come_out_short_and_on_one_line() {
    let long = format!("pu\u{1b}sh\n{}", "x".repeat(10_000));
    let (envelope, _) = Envelope::of(&headers(&[
        ("x-github-event", &long),
        ("x-github-delivery", &long),
    ]));
    assert_eq!(envelope.event.chars().count(), 100);
    assert!(envelope.event.starts_with("pu sh x"));
    assert!(!envelope.id.unwrap().contains('\n'));
}

/// Any JSON, with the vendors' own keys and words more often than chance.
fn any_json() -> impl Strategy<Value = Value> {
    let words = [
        "refs/heads/main",
        "refs/tags/v1",
        "branch",
        "tag",
        "push",
        "merge_request",
        "",
        "0000000000000000000000000000000000000000",
        "a10867b14bb761a232cd80139fbd4c0d33264240",
    ];
    let keys = [
        "ref",
        "after",
        "before",
        "deleted",
        "head_commit",
        "id",
        "ref_type",
        "action",
        "number",
        "pull_request",
        "head",
        "base",
        "sha",
        "repo",
        "object_kind",
        "object_attributes",
        "iid",
        "push",
        "changes",
        "old",
        "new",
        "type",
        "name",
        "target",
        "hash",
        "pullRequest",
        "pullrequest",
        "fromRef",
        "toRef",
        "toHash",
        "latestCommit",
        "properties",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let key = prop_oneof![
            prop::sample::select(keys.to_vec()).prop_map(str::to_owned),
            any::<String>(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..10)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn check_bounds(delivery: &Delivery) {
    let plain = |text: &str| text.len() <= 1024 && !text.contains(char::is_control);
    for event in &delivery.events {
        let fine = match event {
            Event::Push { branch, .. }
            | Event::BranchCreated { branch, .. }
            | Event::BranchDeleted { branch } => plain(branch) && !branch.is_empty(),
            Event::Tag { name, .. } | Event::TagDeleted { name } => plain(name),
            Event::PullRequest(r) => plain(&r.base) && plain(&r.head_ref) && plain(&r.title),
            Event::Changed | Event::Ping => true,
            Event::Ignored { event, why } => plain(event) && plain(why),
        };
        assert!(fine, "{event:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(
        event in prop::sample::select(EVENTS.to_vec()),
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        if let Ok(delivery) = open(event, &body) {
            check_bounds(&delivery);
        }
    }

    #[test]
    fn any_json_gets_an_answer(
        event in prop::sample::select(EVENTS.to_vec()),
        body in any_json(),
    ) {
        if let Ok(delivery) = open(event, body.to_string().as_bytes()) {
            check_bounds(&delivery);
        }
    }

    /// Bodies that were right, with some bytes of them changed.
    #[test]
    fn any_damage_gets_an_answer(
        event in prop::sample::select(EVENTS.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut body = everything().to_string().into_bytes();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(delivery) = open(event, &body) {
            check_bounds(&delivery);
        }
    }

    #[test]
    fn no_headers_and_no_body_are_proven_by_chance(
        names in prop::collection::vec((0usize..14, ".{0,80}"), 0..8),
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let known = [
            "x-github-event", "x-gitea-event", "x-forgejo-event", "x-gitlab-event", "x-event-key",
            "x-hub-signature", "x-hub-signature-256", "x-gitea-signature", "x-forgejo-signature",
            "x-gitlab-token", "webhook-id", "webhook-timestamp", "webhook-signature",
            "content-type",
        ];
        let given: Vec<(&str, &str)> =
            names.iter().map(|(n, v)| (known[*n], v.as_str())).collect();
        let (envelope, _) = Envelope::of(&headers(&given));
        prop_assert!(envelope.verify(b"a secret of some length", &body, NOW).is_err());
        let _ = envelope.open(&body);
    }
}
