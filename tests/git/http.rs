//! Over HTTP: credentials, redirects, outages, deadlines.

use std::time::{Duration, Instant};

use evenkeel::git::{Error, Refusal};

use crate::git_http::{GitServer, Mode};
use crate::{Fixture, LONG};

fn served() -> (Fixture, GitServer) {
    let mut fixture = Fixture::new();
    let server = GitServer::start(fixture.folder.path().join("repos"));
    fixture.spec.url = server.url("specs.git");
    fixture
        .repo
        .commit("First", &[("web.yaml", Some("a: 1\n"))]);
    (fixture, server)
}

fn with_token(fixture: &mut Fixture, text: &str) {
    fixture.spec.credentials.token_file = Some(fixture.secret_file("token", text));
    fixture.spec.credentials.username = Some("bot".to_owned());
}

#[tokio::test(flavor = "multi_thread")]
async fn first_fetch_next_commit_and_no_op() {
    let (fixture, server) = served();
    let first = fixture.fetch().await.unwrap();
    assert_eq!(first.previous, None);
    assert_eq!(first.info.author, "Ada Test");
    assert_eq!(first.info.subject, "First");
    assert_eq!(first.info.committed_at.0, 1_700_000_000_000);

    let next = fixture
        .repo
        .commit("Second", &[("web.yaml", Some("a: 2\n"))]);
    let second = fixture.fetch().await.unwrap();
    assert_eq!(second.head.0, next);
    assert_eq!(second.previous, Some(first.head));
    assert!(!second.rewritten);

    let before = server.seen().len();
    let third = fixture.fetch().await.unwrap();
    assert_eq!((third.head, third.rewritten), (second.head, false));
    assert_eq!(
        server.seen().len(),
        before + 1,
        "a no-op asks once, for the refs"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_wanted_branch_is_fetched() {
    let (fixture, _server) = served();
    let other = fixture
        .repo
        .commit_to("other", "Elsewhere", &[("x.yaml", Some("x"))]);
    fixture.fetch().await.unwrap();
    let other = evenkeel::model::CommitId(other);
    let read = fixture.mirrors.changed(&fixture.spec, None, &other).await;
    assert!(matches!(read, Err(Error::CommitMissing { .. })), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_token_opens_the_door() {
    let (mut fixture, server) = served();
    server.require("bot", "right-token");
    with_token(&mut fixture, "right-token\n");
    let fetched = fixture.fetch().await.unwrap();
    assert!(
        fetched.warnings.iter().any(|w| w.contains("clear text")),
        "{:?}",
        fetched.warnings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_token_is_refused_and_not_shown() {
    let (mut fixture, server) = served();
    server.require("bot", "right-token");
    let missing = fixture.fetch().await.unwrap_err();
    assert!(missing.to_string().contains("token file"), "{missing}");

    with_token(&mut fixture, "wrong-token\n");
    let wrong = fixture.fetch().await.unwrap_err();
    assert!(
        matches!(
            wrong,
            Error::Refused {
                why: Refusal::Credentials { .. },
                ..
            }
        ),
        "{wrong:?}"
    );
    for text in [wrong.to_string(), format!("{wrong:?}")] {
        assert!(
            !text.contains("wrong-token") && !text.contains("d3Jvbmct"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_everybody_can_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut fixture, _server) = served();
    with_token(&mut fixture, "t");
    let file = fixture.spec.credentials.token_file.clone().unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let fetched = fixture.fetch().await.unwrap();
    assert!(
        fetched.warnings.iter().any(|w| w.contains("chmod o=")),
        "{:?}",
        fetched.warnings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_is_missing_or_empty_is_named() {
    let (mut fixture, server) = served();
    with_token(&mut fixture, " \n");
    let error = fixture.fetch().await.unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
    fixture.spec.credentials.token_file = Some("/nowhere/token".to_owned());
    let error = fixture.fetch().await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/token"), "{error}");
    assert!(
        server.seen().is_empty(),
        "nothing was asked without the token"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_host_gets_no_credentials() {
    let (mut fixture, server) = served();
    let other = GitServer::start(fixture.folder.path().join("repos"));
    with_token(&mut fixture, "token");
    // Another port is another host here: something else listens there.
    for to in [
        format!("http://127.0.0.1:{}", other.port),
        format!("http://localhost:{}", other.port),
        format!("http://me:pass@127.0.0.1:{}", server.port),
    ] {
        server.set_mode(Mode::Redirect(to.clone()));
        let error = fixture.fetch().await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Refused {
                    why: Refusal::Redirect { .. },
                    ..
                }
            ),
            "{to}: {error:?}"
        );
    }
    assert!(other.seen().is_empty(), "{:?}", other.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_on_the_same_host_is_followed() {
    let (mut fixture, server) = served();
    server.require("bot", "token");
    with_token(&mut fixture, "token");
    fixture.spec.url = server.url("renamed/specs.git");
    server.set_mode(Mode::Moved("/renamed".to_owned(), String::new()));
    fixture.fetch().await.unwrap();

    server.set_mode(Mode::Redirect(
        server.url("").trim_end_matches('/').to_owned(),
    ));
    let error = fixture.fetch().await.unwrap_err().to_string();
    assert!(error.contains("circle"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_leaves_everything_as_it_was() {
    let (fixture, server) = served();
    let first = fixture.fetch().await.unwrap();
    for mode in [Mode::Outage, Mode::Status(503)] {
        server.set_mode(mode.clone());
        let error = fixture.fetch().await.unwrap_err();
        assert!(
            matches!(error, Error::Unreachable { .. }),
            "{mode:?}: {error:?}"
        );
    }
    server.set_mode(Mode::Status(404));
    let error = fixture.fetch().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                why: Refusal::NotFound,
                ..
            }
        ),
        "{error:?}"
    );
    server.set_mode(Mode::Serve);
    let again = fixture.fetch().await.unwrap();
    assert_eq!(again.previous, Some(first.head));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_unreachable() {
    let (mut fixture, server) = served();
    fixture.spec.url = server.url("specs.git");
    drop(server);
    let error = fixture.fetch().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_or_trickles_meets_the_deadline() {
    let (fixture, server) = served();
    for mode in [Mode::Stall, Mode::Trickle] {
        server.set_mode(mode.clone());
        let start = Instant::now();
        let allowed = Duration::from_millis(500);
        let error = fixture
            .mirrors
            .fetch(&fixture.spec, allowed)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Timeout { .. }),
            "{mode:?}: {error:?}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{mode:?}: {:?}",
            start.elapsed()
        );
    }
    server.set_mode(Mode::Serve);
    fixture.fetch().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_fetch_ends_at_once_and_frees_the_mirror() {
    let (fixture, server) = served();
    server.set_mode(Mode::Stall);
    let (mirrors, spec) = (fixture.mirrors.clone(), fixture.spec.clone());
    let fetch = tokio::spawn(async move { mirrors.fetch(&spec, LONG).await });
    tokio::task::block_in_place(|| server.wait_for(LONG, |_| true));
    fetch.abort();
    server.set_mode(Mode::Serve);
    let start = Instant::now();
    fixture.fetch().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_of_one_source_take_turns() {
    let (fixture, server) = served();
    let many = (0..4).map(|_| {
        let (mirrors, spec) = (fixture.mirrors.clone(), fixture.spec.clone());
        tokio::spawn(async move { mirrors.fetch(&spec, LONG).await.unwrap() })
    });
    for fetch in many.collect::<Vec<_>>() {
        fetch.await.unwrap();
    }
    let packs = server.seen().iter().filter(|s| s.method == "POST").count();
    assert_eq!(packs, 1, "the later ones found the head in the mirror");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_repository_is_said_so() {
    let (mut fixture, server) = served();
    fixture.spec.url = server.url("");
    let error = fixture.fetch().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_url_shares_nothing() {
    let (mut fixture, server) = served();
    let first = fixture.fetch().await.unwrap();
    fixture.spec.url = server.url("specs.git/");
    let read = fixture
        .mirrors
        .changed(&fixture.spec, None, &first.head)
        .await;
    assert!(matches!(read, Err(Error::CommitMissing { .. })), "{read:?}");
    assert_eq!(fixture.fetch().await.unwrap().previous, None);

    fixture
        .mirrors
        .tidy(std::slice::from_ref(&fixture.spec))
        .await
        .unwrap();
    let left = std::fs::read_dir(fixture.mirrors_folder()).unwrap();
    assert_eq!(left.count(), 1, "the unused mirror is gone");
}
