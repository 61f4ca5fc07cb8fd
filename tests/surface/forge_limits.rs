//! What forges ask for when they are asked too often, and forges that do not answer rightly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use evenkeel::forge::{Again, Client, Failure, FailureKind};
use evenkeel::model::{CommitId, CommitStatus, ForgeKind, ForgeSpec, StatusState, Timestamp};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::forge::http_date;
use crate::recorder::{Forge, Reply};

const NOW: i64 = 1_790_000_000;

struct Asker {
    client: Client,
    spec: ForgeSpec,
    _dir: tempfile::TempDir,
}

fn asker(kind: ForgeKind, url: &str) -> Asker {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    Asker {
        client: Client::with_deadline(Duration::from_millis(300)),
        spec: ForgeSpec {
            kind,
            api_url: url.to_owned(),
            repository: "team/apps".to_owned(),
            token_file: Some(file.to_str().unwrap().to_owned()),
            username: None,
            app: None,
        },
        _dir: dir,
    }
}

impl Asker {
    async fn post(&self, seconds: i64) -> Result<(), Failure> {
        let status = CommitStatus {
            state: StatusState::Success,
            description: "healthy".to_owned(),
            target_url: Some("https://evenkeel.example".to_owned()),
        };
        let (commit, now) = (CommitId("0".repeat(40)), Timestamp(seconds * 1000));
        let context = "evenkeel/prod/shop";
        self.client
            .post(&self.spec, &commit, context, &status, now)
            .await
    }

    async fn read(&self) -> FailureKind {
        let now = Timestamp(NOW * 1000);
        let read = self.client.pull_request(&self.spec, 7, now).await;
        read.unwrap_err().kind
    }
}

#[tokio::test]
async fn the_limits_of_each_vendor_are_heeded() {
    let limited = |status, headers: &[(&'static str, i64)], message: &str| {
        let mut reply = Reply::json(status, json!({"message": message}));
        for (name, value) in headers {
            reply = reply.header(name, value);
        }
        reply
    };
    let (reset, primary) = (NOW + 90, "API rate limit exceeded for user ID 1.");
    let secondary = "You have exceeded a secondary rate limit and have been temporarily blocked";
    let cases = [
        (
            ForgeKind::GitHub,
            limited(
                403,
                &[
                    ("x-ratelimit-limit", 5000),
                    ("x-ratelimit-remaining", 0),
                    ("x-ratelimit-reset", reset),
                ],
                primary,
            ),
            90,
        ),
        (
            ForgeKind::GitHub,
            limited(429, &[("retry-after", 75)], secondary),
            75,
        ),
        (
            // It names no time: a minute is its own advice.
            ForgeKind::GitHub,
            limited(
                403,
                &[
                    ("x-ratelimit-remaining", 4000),
                    ("x-ratelimit-reset", reset),
                ],
                secondary,
            ),
            60,
        ),
        (
            ForgeKind::GitLab,
            limited(
                429,
                &[
                    ("ratelimit-limit", 60),
                    ("ratelimit-remaining", 0),
                    ("ratelimit-reset", reset),
                ],
                "Retry later",
            ),
            90,
        ),
        (
            ForgeKind::BitbucketDataCenter,
            limited(
                429,
                &[("x-ratelimit-remaining", 0), ("retry-after", 30)],
                "too many requests",
            ),
            30,
        ),
    ];
    for (kind, reply, pause) in cases {
        let forge = Forge::start(&[reply.header("date", http_date(NOW))]).await;
        let asker = asker(kind, &forge.url);
        let failure = asker.post(NOW).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited, "{failure}");
        let pause = Duration::from_secs(pause);
        assert_eq!(failure.again, Again::After(pause), "{failure}");
    }
    // bitbucket.org tells nothing but that.
    let forge = Forge::start(&[Reply::new(429)]).await;
    let failure = asker(ForgeKind::BitbucketCloud, &forge.url).post(NOW).await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    assert_eq!(failure.again, Again::Soon);
    // A date in place of seconds.
    let until = http_date(NOW + 45);
    let reply = Reply::new(503)
        .header("date", http_date(NOW))
        .header("retry-after", until);
    let forge = Forge::start(&[reply]).await;
    let failure = asker(ForgeKind::Gitea, &forge.url).post(NOW).await;
    let again = failure.unwrap_err().again;
    assert_eq!(again, Again::After(Duration::from_secs(45)));
}

#[tokio::test]
async fn a_forge_that_wants_to_be_left_alone_is_whoever_asks() {
    // This one was taken, but it was the last for a minute.
    let last = Reply::new(201)
        .header("date", http_date(NOW))
        .header("x-ratelimit-remaining", 0)
        .header("x-ratelimit-reset", NOW + 60);
    let forge = Forge::start(&[last]).await;
    let mut asker = asker(ForgeKind::GitHub, &forge.url);
    assert_eq!(asker.post(NOW).await, Ok(()));
    let failure = asker.post(NOW + 20).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    assert_eq!(failure.again, Again::After(Duration::from_secs(40)));
    assert_eq!(asker.read().await, FailureKind::RateLimited);
    assert_eq!(forge.calls().len(), 1);
    assert_eq!(asker.post(NOW + 61).await, Ok(()));
    assert_eq!(forge.calls().len(), 2);
    // Limits are per credentials.
    let limited = Reply::new(429).header("retry-after", 3600);
    let forge = Forge::start(&[limited]).await;
    asker.spec.api_url = forge.url.clone();
    assert!(asker.post(NOW).await.is_err());
    let other = asker._dir.path().join("other");
    std::fs::write(&other, "0ther").unwrap();
    asker.spec.token_file = Some(other.to_str().unwrap().to_owned());
    assert_eq!(asker.post(NOW).await, Ok(()));
}

#[tokio::test]
async fn a_commit_that_the_forge_does_not_have_is_not_told_again() {
    let none = |status, message: &str| Reply::json(status, json!({"message": message}));
    let sha = "0".repeat(40);
    let cases = [
        (
            ForgeKind::GitHub,
            none(422, &format!("No commit found for SHA: {sha}")),
        ),
        (ForgeKind::GitLab, none(404, "404 Commit Not Found")),
        (
            ForgeKind::Gitea,
            none(
                500,
                &format!("object does not exist [id: {sha}, rel_path: ]"),
            ),
        ),
    ];
    for (kind, reply) in cases {
        let forge = Forge::start(&[reply]).await;
        let failure = asker(kind, &forge.url).post(NOW).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
        assert_eq!(failure.again, Again::Never);
        let advice = "the repository that the source follows";
        assert!(failure.reason.contains(advice), "{failure}");
    }
    // What Gitea says of its own troubles is temporary.
    let forge = Forge::start(&[none(500, "database is locked")]).await;
    let failure = asker(ForgeKind::Gitea, &forge.url).post(NOW).await;
    assert_eq!(failure.unwrap_err().again, Again::Soon);
}

#[tokio::test]
async fn bitbucket_takes_a_user_with_a_password() {
    for kind in [ForgeKind::BitbucketCloud, ForgeKind::BitbucketDataCenter] {
        let forge = Forge::start(&[]).await;
        let mut asker = asker(kind, &forge.url);
        asker.spec.username = Some("ann@team.example".to_owned());
        assert_eq!(asker.post(NOW).await, Ok(()));
        let sent = &forge.calls()[0].headers["authorization"];
        assert_eq!(sent, "Basic YW5uQHRlYW0uZXhhbXBsZTpzM2NyZXQ=");
    }
}

/// Answers each request with these bytes, and then hangs or ends.
async fn raw(answer: &'static str, hangs: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(answer.as_bytes()).await;
            if hangs {
                held.push(stream);
            }
        }
    });
    (url, seen)
}

#[tokio::test]
async fn silence_and_half_answers_end_in_time() {
    let started = Instant::now();
    let (url, seen) = raw("", true).await;
    let silent = asker(ForgeKind::GitHub, &url);
    let failure = silent.post(NOW).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert_eq!(failure.again, Again::Soon);
    assert!(failure.reason.contains("no answer in time"), "{failure}");
    assert_eq!(silent.read().await, FailureKind::Unreachable);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    // It breaks off before it said anything that counts.
    for half in ["", "HTTP/1.1 20"] {
        let (url, _) = raw(half, false).await;
        let failure = asker(ForgeKind::GitLab, &url).post(NOW).await;
        assert_eq!(failure.unwrap_err().kind, FailureKind::Unreachable);
    }
    // It took the status, and that is all that counts; of what is read, half is nothing.
    let half = "HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n{\"id\": 1, \"sta";
    for hangs in [false, true] {
        let (url, _) = raw(half, hangs).await;
        let asker = asker(ForgeKind::GitLab, &url);
        assert_eq!(asker.post(NOW).await, Ok(()));
        assert_eq!(asker.read().await, FailureKind::Unreachable);
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}
