//! Each vendor's request, field by field against its documented shape, and what each of
//! its answers leads to.

use std::time::Duration;

use evenkeel::forge::{Again, Client, Failure, FailureKind};
use evenkeel::model::{
    CommitId, CommitStatus, ForgeKind, ForgeSpec, PullComment, StatusState, Timestamp,
};
use serde_json::{Value, json};

use crate::recorder::{Forge, Reply};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TARGET: &str = "https://evenkeel.example/sources/shop/commits/x";
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
        token_file: Some(file.to_str().unwrap().to_owned()),
        username: None,
        app: None,
    };
    Asking {
        forge,
        spec,
        _dir: dir,
    }
}

impl Asking {
    async fn post(&self, state: StatusState) -> Result<(), Failure> {
        let status = CommitStatus {
            state,
            description: format!("shop/web: {}", "ü".repeat(300)),
            target_url: Some(TARGET.to_owned()),
        };
        let commit = CommitId(COMMIT.to_owned());
        let client = Client::default();
        let now = Timestamp(NOW * 1000);
        let context = "evenkeel/prod/shop";
        client
            .post(&self.spec, &commit, context, &status, now)
            .await
    }
}

pub fn http_date(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
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
        assert_eq!(asking.post(state).await, Ok(()));
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
        |state| json!({"state": state, "context": "evenkeel/prod/shop", "description": cut(140), "target_url": TARGET}),
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
            |state| json!({"state": state, "name": "evenkeel/prod/shop", "description": cut(255), "target_url": TARGET}),
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
                json!({"state": state, "context": "evenkeel/prod/shop", "description": cut(255), "target_url": TARGET})
            },
            ["pending", "success", "failure", "error"],
        )
        .await;
    }
}

#[tokio::test]
async fn bitbucket_cloud_is_asked_in_its_own_words() {
    for base in ["", "/2.0"] {
        check(
            ForgeKind::BitbucketCloud,
            base,
            "team/apps",
            &format!("/2.0/repositories/team/apps/commit/{COMMIT}/statuses/build"),
            &[("authorization", "Bearer s3cret")],
            |state| {
                json!({
                    "state": state, "key": "evenkeel/prod/shop", "name": "evenkeel/prod/shop",
                    "description": cut(255), "url": TARGET,
                })
            },
            ["INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"],
        )
        .await;
    }
}

#[tokio::test]
async fn bitbucket_data_center_is_asked_in_its_own_words() {
    for (base, root) in [
        ("", "/rest/api/1.0"),
        ("/bitbucket/", "/bitbucket/rest/api/1.0"),
        ("/rest/api/latest", "/rest/api/latest"),
    ] {
        check(
            ForgeKind::BitbucketDataCenter,
            base,
            "~ann/apps",
            &format!("{root}/projects/~ann/repos/apps/commits/{COMMIT}/builds"),
            &[
                ("authorization", "Bearer s3cret"),
                ("x-atlassian-token", "no-check"),
            ],
            |state| {
                json!({
                    "state": state, "parent": "evenkeel/prod/shop", "key": "evenkeel/prod/shop", "name": "evenkeel/prod/shop",
                    "description": cut(255), "url": TARGET,
                })
            },
            ["INPROGRESS", "SUCCESSFUL", "FAILED", "CANCELLED"],
        )
        .await;
    }
}

/// The pause is `Err` where it is never tried again.
type Case = (Reply, Result<Option<Duration>, ()>, &'static str);

#[tokio::test]
async fn answers_are_heeded() {
    let minute = Some(Duration::from_secs(60));
    let person = Some(Duration::from_secs(300));
    let hour = Some(Duration::from_secs(3600));
    // What it answers, the pause (`Err`: never again) and what is said.
    let cases: [Case; 16] = [
        (Reply::new(500), Ok(None), "500 from 127.0.0.1"),
        (
            Reply::new(503),
            Ok(None),
            "a fault of its own; it is tried again",
        ),
        (Reply::new(502).header("retry-after", 60), Ok(minute), "502"),
        (Reply::new(409), Ok(None), "not now; it is tried again"),
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
        (Reply::new(404), Ok(person), "there is no repository a/b"),
        (Reply::new(400), Err(()), "check forge.kind"),
        (Reply::new(422), Err(()), "does not take what was sent"),
        (
            Reply::new(302).header("location", "http://elsewhere.example/x"),
            Err(()),
            "redirects to http://elsewhere.example/x",
        ),
    ];
    for (reply, wanted, words) in cases {
        // The forge's clock counts for what it says, not ours.
        let reply = reply.header("date", http_date(NOW));
        let asking = asking(ForgeKind::GitHub, "", "a/b", std::slice::from_ref(&reply)).await;
        let Failure { again, reason, .. } = asking.post(StatusState::Success).await.unwrap_err();
        let pause = match again {
            Again::Soon => Ok(None),
            Again::After(pause) => Ok(Some(pause)),
            Again::Never => Err(()),
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
    let comment = PullComment {
        marker: "prod/shop/plan".to_owned(),
        body: "plan".to_owned(),
    };
    let (client, now) = (Client::default(), Timestamp(NOW * 1000));
    for status in [301, 302, 303, 307, 308] {
        let reply = Reply::new(status).header("location", &there);
        for kind in ForgeKind::ALL {
            let replies = vec![reply.clone(); 6];
            let asking = asking(kind, "", "a/b", &replies).await;
            let spec = &asking.spec;
            for failure in [
                asking.post(StatusState::Pending).await.unwrap_err(),
                client.pull_request(spec, 7, now).await.unwrap_err(),
                client
                    .open_pull_requests(spec, "main", now)
                    .await
                    .unwrap_err(),
                client
                    .upsert_comment(spec, 7, &comment, now)
                    .await
                    .unwrap_err(),
            ] {
                assert_eq!(failure.kind, FailureKind::Redirected, "{kind:?}: {failure}");
                assert_eq!(failure.again, Again::Never);
                assert!(failure.reason.contains(&there), "{failure}");
            }
            assert!(asking.forge.calls().len() >= 4);
        }
    }
    assert_eq!(elsewhere.calls(), []);
}

#[tokio::test]
async fn what_keeps_a_status_from_being_sent_is_told() {
    let gitlab = Reply {
        body: r#"{"message":"Cannot transition status via :enqueue from :pending"}"#.to_owned(),
        ..Reply::new(400)
    };
    let same = asking(ForgeKind::GitLab, "", "a/b", &[gitlab]).await;
    assert_eq!(same.post(StatusState::Pending).await, Ok(()));

    let mut asking = asking(ForgeKind::GitHub, "", "a/b", &[]).await;
    let file = asking.spec.token_file.clone().unwrap();
    for content in ["", " \n", "two words"] {
        std::fs::write(&file, content).unwrap();
        let failure = asking.post(StatusState::Success).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Credentials);
        assert_eq!(failure.again, Again::Soon);
        assert!(failure.reason.contains(&file), "{failure}");
    }
    std::fs::write(&file, "s3cret").unwrap();
    asking.spec.api_url = "http://127.0.0.1:1".to_owned();
    let failure = asking.post(StatusState::Success).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.reason.contains("127.0.0.1:1"), "{failure}");
    assert_eq!(asking.forge.calls(), []);
}
