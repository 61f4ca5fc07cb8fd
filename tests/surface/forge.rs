//! Each vendor's request, field by field against its documented shape, and what each of
//! its answers leads to.

use std::time::Duration;

use evenkeel::forge::{Client, Verdict};
use evenkeel::model::{CommitId, CommitStatus, ForgeKind, ForgeSpec, StatusState, Timestamp};
use serde_json::{Value, json};

use crate::recorder::{Forge, Reply};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NOW: i64 = 1_790_000_000;

struct Asking {
    forge: Forge,
    spec: ForgeSpec,
    _dir: tempfile::TempDir,
}

async fn asking(kind: ForgeKind, base: &str, repository: &str, replies: &[Reply]) -> Asking {
    let forge = Forge::start(replies).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let spec = ForgeSpec {
        kind,
        api_url: format!("{}{base}", forge.url),
        repository: repository.to_owned(),
        token_file: file.to_str().unwrap().to_owned(),
    };
    Asking {
        forge,
        spec,
        _dir: dir,
    }
}

impl Asking {
    async fn post(&self, state: StatusState) -> Verdict {
        let status = CommitStatus {
            state,
            description: format!("shop/web: {}", "ü".repeat(300)),
        };
        let commit = CommitId(COMMIT.to_owned());
        let client = Client::new().unwrap();
        let now = Timestamp(NOW * 1000);
        let context = "evenkeel/prod/shop";
        client
            .post(&self.spec, &commit, context, &status, now)
            .await
    }
}

fn cut(limit: usize) -> String {
    let whole = format!("shop/web: {}", "ü".repeat(300));
    let start: String = whole.chars().take(limit - 1).collect();
    format!("{start}…")
}

async fn check(
    kind: ForgeKind,
    base: &str,
    repository: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Fn(&str) -> Value,
    states: [&str; 4],
) {
    let asking = asking(kind, base, repository, &[]).await;
    let all = [
        StatusState::Pending,
        StatusState::Success,
        StatusState::Failure,
        StatusState::Superseded,
    ];
    for state in all {
        assert_eq!(asking.post(state).await, Verdict::Delivered);
    }
    let calls = asking.forge.calls();
    assert_eq!(calls.len(), 4);
    for (call, state) in calls.iter().zip(states) {
        assert_eq!(call.method, "POST");
        assert_eq!(call.path, path);
        assert_eq!(call.headers["content-type"], "application/json");
        assert!(call.headers["user-agent"].starts_with("evenkeel/"));
        for (name, value) in headers {
            assert_eq!(call.headers[*name], *value, "{name}");
        }
        // The token stands in its one header only.
        let with_token = call.headers.values().filter(|v| v.contains("s3cret"));
        assert_eq!(with_token.count(), 1, "{call:?}");
        assert_eq!(call.body, body(state));
    }
}

#[tokio::test]
async fn github_is_asked_in_its_own_words() {
    check(
        ForgeKind::GitHub,
        "/api/v3/",
        "team/apps.git_2",
        &format!("/api/v3/repos/team/apps.git_2/statuses/{COMMIT}"),
        &[
            ("accept", "application/vnd.github+json"),
            ("x-github-api-version", "2022-11-28"),
            ("authorization", "Bearer s3cret"),
        ],
        |state| json!({"state": state, "context": "evenkeel/prod/shop", "description": cut(140)}),
        ["pending", "success", "failure", "error"],
    )
    .await;
}

#[tokio::test]
async fn gitlab_is_asked_in_its_own_words() {
    for base in ["", "/api/v4"] {
        check(
            ForgeKind::GitLab,
            base,
            "team/sub/apps",
            &format!("/api/v4/projects/team%2Fsub%2Fapps/statuses/{COMMIT}"),
            &[("private-token", "s3cret")],
            |state| json!({"state": state, "name": "evenkeel/prod/shop", "description": cut(255)}),
            ["pending", "success", "failed", "canceled"],
        )
        .await;
    }
}

#[tokio::test]
async fn gitea_and_forgejo_are_asked_in_their_own_words() {
    for base in ["", "/api/v1"] {
        check(
            ForgeKind::Gitea,
            base,
            "team/apps",
            &format!("/api/v1/repos/team/apps/statuses/{COMMIT}"),
            &[("authorization", "token s3cret")],
            |state| {
                json!({"state": state, "context": "evenkeel/prod/shop", "description": cut(255)})
            },
            ["pending", "success", "failure", "error"],
        )
        .await;
    }
}

#[tokio::test]
async fn answers_are_heeded() {
    let minute = Some(Duration::from_secs(60));
    let person = Some(Duration::from_secs(300));
    let hour = Some(Duration::from_secs(3600));
    // What it answers, the pause (`Err`: never again) and what is said.
    let cases: [(Reply, Result<Option<Duration>, ()>, &str); 14] = [
        (Reply::new(500), Ok(None), "500 from 127.0.0.1"),
        (Reply::new(502).header("retry-after", 60), Ok(minute), "502"),
        (
            Reply::new(429).header("retry-after", 60),
            Ok(minute),
            "limits",
        ),
        (
            Reply::new(429).header("x-ratelimit-reset", NOW + 60),
            Ok(minute),
            "limits",
        ),
        (
            Reply::new(429).header("ratelimit-reset", NOW + 60),
            Ok(minute),
            "limits",
        ),
        (Reply::new(429), Ok(None), "limits"),
        (
            Reply::new(429).header("retry-after", 999_999),
            Ok(hour),
            "limits",
        ),
        (
            Reply::new(403)
                .header("x-ratelimit-remaining", 0)
                .header("x-ratelimit-reset", NOW + 60),
            Ok(minute),
            "limits",
        ),
        (
            Reply::new(403)
                .header("x-ratelimit-remaining", 5)
                .header("x-ratelimit-reset", NOW + 60),
            Ok(person),
            "may not write commit statuses",
        ),
        (Reply::new(401), Ok(person), "renew the token in /"),
        (Reply::new(404), Ok(person), "no such repository"),
        (Reply::new(400), Err(()), "400"),
        (Reply::new(422), Err(()), "422"),
        (
            Reply::new(302).header("location", "http://elsewhere.example/x"),
            Err(()),
            "redirects to http://elsewhere.example/x",
        ),
    ];
    for (reply, wanted, words) in cases {
        let asking = asking(ForgeKind::GitHub, "", "a/b", std::slice::from_ref(&reply)).await;
        let verdict = asking.post(StatusState::Success).await;
        let (pause, reason) = match verdict {
            Verdict::Delivered => panic!("{reply:?}"),
            Verdict::Retry { after, reason } => (Ok(after), reason),
            Verdict::GiveUp { reason } => (Err(()), reason),
        };
        assert_eq!(pause, wanted, "{reply:?}");
        assert!(reason.contains(words), "{reason}");
        assert!(!reason.contains("s3cret"), "{reason}");
        assert_eq!(asking.forge.calls().len(), 1);
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = Forge::start(&[]).await;
    let there = format!("{}/x", elsewhere.url);
    for status in [301, 302, 307, 308] {
        let reply = Reply::new(status).header("location", &there);
        let asking = asking(ForgeKind::Gitea, "", "a/b", &[reply]).await;
        assert!(matches!(
            asking.post(StatusState::Pending).await,
            Verdict::GiveUp { .. }
        ));
    }
    assert_eq!(elsewhere.calls(), []);
}

#[tokio::test]
async fn what_keeps_a_status_from_being_sent_is_told() {
    let gitlab = Reply {
        body: r#"{"message":"Cannot transition status via :enqueue from :pending"}"#,
        ..Reply::new(400)
    };
    let same = asking(ForgeKind::GitLab, "", "a/b", &[gitlab]).await;
    assert_eq!(same.post(StatusState::Pending).await, Verdict::Delivered);

    let mut asking = asking(ForgeKind::GitHub, "", "a/b", &[]).await;
    let file = asking.spec.token_file.clone();
    for content in ["", " \n", "two words"] {
        std::fs::write(&file, content).unwrap();
        match asking.post(StatusState::Success).await {
            Verdict::Retry { reason, .. } => assert!(reason.contains(&file), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    std::fs::write(&file, "s3cret").unwrap();
    asking.spec.api_url = "http://127.0.0.1:1".to_owned();
    match asking.post(StatusState::Success).await {
        Verdict::Retry { reason, .. } => assert!(reason.contains("127.0.0.1:1"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(asking.forge.calls(), []);
}
