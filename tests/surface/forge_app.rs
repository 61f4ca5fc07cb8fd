//! A GitHub App: the signature by its key, the token it gets, and for how long that is kept.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use evenkeel::forge::{Again, Client, Failure, FailureKind};
use evenkeel::model::{
    CommitId, CommitStatus, ForgeKind, ForgeSpec, GitHubApp, PullComment, StatusState, Timestamp,
};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::forge::http_date;
use crate::recorder::{Call, Forge, Reply};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NOW: i64 = 1_790_000_000;
const HOUR: i64 = 3600;

struct App {
    forge: Forge,
    client: Client,
    spec: ForgeSpec,
    dir: tempfile::TempDir,
}

fn make_key(file: &Path, format: &str) {
    let made = Command::new("ssh-keygen")
        .args([
            "-q", "-t", "rsa", "-b", "2048", "-m", format, "-N", "", "-f",
        ])
        .arg(file)
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
}

async fn app(installation: Option<u64>, replies: &[Reply]) -> App {
    let forge = Forge::start(replies).await;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("app.pem");
    make_key(&key, "PEM");
    let spec = ForgeSpec {
        kind: ForgeKind::GitHub,
        // An Enterprise server by its bare address.
        api_url: forge.url.clone(),
        repository: "team/apps".to_owned(),
        token_file: None,
        username: None,
        app: Some(GitHubApp {
            id: "12345".to_owned(),
            private_key_file: key.to_str().unwrap().to_owned(),
            installation_id: installation,
        }),
    };
    App {
        forge,
        client: Client::default(),
        spec,
        dir,
    }
}

impl App {
    async fn post(&self, seconds: i64) -> Result<(), Failure> {
        let status = CommitStatus {
            state: StatusState::Success,
            description: "healthy".to_owned(),
            target_url: None,
        };
        let (commit, now) = (CommitId(COMMIT.to_owned()), Timestamp(seconds * 1000));
        self.client
            .post(&self.spec, &commit, "evenkeel/prod/shop", &status, now)
            .await
    }

    fn lines(&self) -> Vec<String> {
        let line = |c: &Call| format!("{} {}", c.method, c.path);
        self.forge.calls().iter().map(line).collect()
    }

    /// Claims of the signature that this call carried, checked with the key's public half.
    fn claims(&self, call: &Call) -> Value {
        let pem = std::fs::read_to_string(self.dir.path().join("app.pem")).unwrap();
        let der: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
        let pair = RsaKeyPair::from_der(&STANDARD.decode(der).unwrap()).unwrap();
        let token = call.headers["authorization"]
            .strip_prefix("Bearer ")
            .unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .unwrap();
        let part = |text: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(part(head), json!({"alg": "RS256", "typ": "JWT"}));
        part(claims)
    }
}

/// A token that lasts an hour from `seconds` on, by the forge's clock.
fn granted(token: &str, seconds: i64) -> Reply {
    let end = chrono::DateTime::from_timestamp(seconds + HOUR, 0).unwrap();
    let body = json!({"token": token, "expires_at": end.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "permissions": {"statuses": "write"}, "repository_selection": "selected"});
    Reply::json(201, body).header("date", http_date(seconds))
}

const GRANT: &str = "POST /api/v3/app/installations/67/access_tokens";
const STATUS: &str =
    "POST /api/v3/repos/team/apps/statuses/0123456789abcdef0123456789abcdef01234567";
const LOOKUP: &str = "GET /api/v3/repos/team/apps/installation";

#[tokio::test]
async fn an_app_signs_for_a_token_of_this_repository_and_keeps_it_until_shortly_before_its_end() {
    let found = Reply::json(200, json!({"id": 67, "account": {"login": "team"}}));
    let replies = [
        found.clone().header("date", http_date(NOW)),
        granted("ghs_first", NOW),
        Reply::new(201),
        Reply::new(201),
        found,
        granted("ghs_second", NOW + HOUR - 200),
    ];
    let app = app(None, &replies).await;
    assert_eq!(app.post(NOW).await, Ok(()));
    assert_eq!(app.post(NOW + HOUR - 400).await, Ok(()));
    assert_eq!(app.lines(), [LOOKUP, GRANT, STATUS, STATUS]);
    // Five minutes before its end it is not used any more.
    assert_eq!(app.post(NOW + HOUR - 200).await, Ok(()));
    assert_eq!(app.lines()[4..], [LOOKUP, GRANT, STATUS]);

    let calls = app.forge.calls();
    for call in &calls[..2] {
        let claims = app.claims(call);
        assert_eq!(
            claims,
            json!({"iat": NOW - 60, "exp": NOW + 540, "iss": "12345"})
        );
        assert_eq!(call.headers["accept"], "application/vnd.github+json");
        assert_eq!(call.headers["x-github-api-version"], "2022-11-28");
    }
    assert_eq!(calls[1].body, json!({"repositories": ["apps"]}));
    let bearers: Vec<&str> = [2, 3, 6]
        .map(|n: usize| calls[n].headers["authorization"].as_str())
        .to_vec();
    assert_eq!(
        bearers,
        ["Bearer ghs_first", "Bearer ghs_first", "Bearer ghs_second"]
    );
}

#[tokio::test]
async fn a_token_that_was_revoked_is_renewed_once() {
    let replies = [
        granted("ghs_first", NOW),
        Reply::new(201),
        Reply::new(401),
        granted("ghs_second", NOW),
        Reply::new(201),
        Reply::new(401),
        granted("ghs_third", NOW),
        Reply::new(401),
    ]
    .map(|reply| reply.header("date", http_date(NOW)));
    let app = app(Some(67), &replies).await;
    assert_eq!(app.post(NOW).await, Ok(()));
    assert_eq!(app.post(NOW).await, Ok(()));
    assert_eq!(app.lines(), [GRANT, STATUS, STATUS, GRANT, STATUS]);
    let failure = app.post(NOW).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Credentials);
    assert_eq!(failure.again, Again::After(Duration::from_secs(300)));
    assert!(failure.reason.contains("the App 12345"), "{failure}");
    assert_eq!(app.lines()[5..], [STATUS, GRANT, STATUS]);
}

#[tokio::test]
async fn clocks_may_differ() {
    // The forge is an hour and a half ahead: what we sign is long over there.
    let theirs = NOW + 5400;
    let refused = Reply::json(
        401,
        json!({"message": "'Expiration time' claim ('exp') is past"}),
    );
    let replies = [
        refused.clone().header("date", http_date(theirs)),
        granted("ghs_first", theirs),
        Reply::new(201).header("date", http_date(theirs)),
        Reply::new(201).header("date", http_date(theirs)),
    ];
    let app = app(Some(67), &replies).await;
    assert_eq!(app.post(NOW).await, Ok(()));
    assert_eq!(app.lines(), [GRANT, GRANT, STATUS]);
    let calls = app.forge.calls();
    assert_eq!(app.claims(&calls[0])["exp"], NOW + 540);
    assert_eq!(app.claims(&calls[1])["exp"], theirs + 540);
    // Its end is by the forge's clock too.
    assert_eq!(app.post(NOW + HOUR - 400).await, Ok(()));
    assert_eq!(app.lines().len(), 4);
    // Where the clocks agree the key is what is wrong: not tried twice.
    let same = refused.header("date", http_date(NOW));
    let app = self::app(Some(67), &[same]).await;
    let failure = app.post(NOW).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Credentials);
    assert_eq!(app.lines(), [GRANT]);
}

#[tokio::test]
async fn an_app_that_may_not_is_told_so() {
    let date = http_date(NOW);
    let check = async |reply: Reply, kind, words: &str| {
        let app = app(None, &[reply.header("date", &date)]).await;
        let failure = app.post(NOW).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.reason.contains(words), "{failure}");
    };
    let not_installed = "the App 12345 is not installed at team/apps";
    check(Reply::new(404), FailureKind::Forbidden, not_installed).await;
    check(
        Reply::new(401),
        FailureKind::Credentials,
        "check the App 12345 (key in /",
    )
    .await;
    check(Reply::new(500), FailureKind::Faulty, "500").await;
    let suspended = Reply::json(
        403,
        json!({"message": "This installation has been suspended"}),
    );
    check(suspended, FailureKind::Forbidden, "suspended").await;
    // Installed, but not for this repository.
    let app = app(Some(67), &[Reply::new(422).header("date", &date)]).await;
    let failure = app.post(NOW).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Forbidden);
    assert!(
        failure.reason.contains("may not use team/apps"),
        "{failure}"
    );
    // Nobody else gets the App's signature.
    let elsewhere = Forge::start(&[]).await;
    let moved = Reply::new(307).header("location", format!("{}/x", elsewhere.url));
    for installation in [None, Some(67)] {
        let app = self::app(installation, &[moved.clone().header("date", &date)]).await;
        let failure = app.post(NOW).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Redirected);
        assert_eq!(app.lines().len(), 1);
    }
    assert_eq!(elsewhere.calls(), []);
    // Half of a token is none.
    let half = Reply::json(201, json!({"token": "ghs_x"})).header("date", &date);
    let app = self::app(Some(67), &[half]).await;
    assert_eq!(app.post(NOW).await.unwrap_err().kind, FailureKind::Faulty);
    assert_eq!(app.lines(), [GRANT]);
}

#[tokio::test]
async fn keys_of_either_form_are_read_and_others_told() {
    let app = app(Some(67), &[granted("ghs_first", NOW), Reply::new(201)]).await;
    let file = app.dir.path().join("app.pem");
    let fail = async |content: &str| {
        std::fs::write(&file, content).unwrap();
        let failure = app.post(NOW).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Credentials);
        assert!(failure.reason.contains("app.pem"), "{failure}");
        assert!(!failure.reason.contains("c2VjcmV0"), "{failure}");
        failure.reason
    };
    assert!(fail(" \n").await.contains("empty"));
    assert!(fail("c2VjcmV0").await.contains("PEM"));
    let broken = "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n";
    assert!(fail(broken).await.contains("cannot be used"));
    assert_eq!(app.lines(), [""; 0]);
    std::fs::remove_file(&file).unwrap();
    make_key(&file, "PKCS8");
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY-----")
    );
    assert_eq!(app.post(NOW).await, Ok(()));
    assert_eq!(app.lines(), [GRANT, STATUS]);
}

#[tokio::test]
async fn an_app_knows_its_own_comments() {
    let mark = "<!-- evenkeel prod/shop/plan -->\n\n";
    let by = |id: u64| json!({"id": id, "slug": "x", "client_id": format!("Iv1.{id}")});
    let comments = json!([
        {"id": 1, "body": format!("{mark}x"), "user": {"login": "eve"}, "performed_via_github_app": null},
        {"id": 2, "body": format!("{mark}x"), "user": {"login": "y[bot]"}, "performed_via_github_app": by(99)},
        {"id": 3, "body": format!("{mark}x"), "user": {"login": "x[bot]"}, "performed_via_github_app": by(12345)}]);
    let replies = [granted("ghs_first", NOW), Reply::json(200, comments)];
    let app = app(Some(67), &replies).await;
    let comment = PullComment {
        marker: "prod/shop/plan".to_owned(),
        body: "new".to_owned(),
    };
    let now = Timestamp(NOW * 1000);
    let done = app.client.upsert_comment(&app.spec, 7, &comment, now).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        app.lines(),
        [
            GRANT,
            "GET /api/v3/repos/team/apps/issues/7/comments?per_page=100&page=1",
            "PATCH /api/v3/repos/team/apps/issues/comments/3",
        ]
    );
}
