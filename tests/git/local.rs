//! Repositories on this host, and what happens to branches whatever the transport.

use std::process::Command;

use evenkeel::git::{Error, watch_local};
use tokio_stream::StreamExt as _;

use crate::git_http::GitServer;
use crate::{Fixture, LONG};

#[tokio::test(flavor = "multi_thread")]
async fn a_force_push_is_seen_both_ways() {
    let mut fixture = Fixture::new();
    let first = fixture.repo.commit("One", &[("a.yaml", Some("1"))]);
    let server = GitServer::start(fixture.folder.path().join("repos"));
    for url in [fixture.spec.url.clone(), server.url("specs.git")] {
        fixture.spec.url = url;
        fixture.repo.reset("main", &first);
        fixture.fetch().await.unwrap();
        let forced = fixture.repo.force_push("main", "Other", &[("b.yaml", "2")]);
        let fetched = fixture.fetch().await.unwrap();
        assert_eq!(fetched.head.0, forced);
        assert!(fetched.rewritten);
        let changes = fixture
            .mirrors
            .changed(&fixture.spec, fetched.previous.as_ref(), &fetched.head)
            .await
            .unwrap();
        assert_eq!(changes.len(), 2, "{changes:?}");
        // And back to what the mirror already holds.
        fixture.repo.reset("main", &first);
        let back = fixture.fetch().await.unwrap();
        assert!(back.rewritten);
        assert_eq!(back.head.0, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_branch_is_an_error_and_keeps_the_mirror() {
    let mut fixture = Fixture::new();
    let server = GitServer::start(fixture.folder.path().join("repos"));
    for url in [fixture.spec.url.clone(), server.url("specs.git")] {
        fixture.spec.url = url;
        fixture.repo.commit("One", &[("a.yaml", Some("1"))]);
        fixture
            .repo
            .commit_to("other", "Two", &[("a.yaml", Some("2"))]);
        let first = fixture.fetch().await.unwrap();
        fixture.repo.delete_branch("main");
        let error = fixture.fetch().await.unwrap_err();
        let Error::BranchMissing { branch, known, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(
            (branch.as_str(), known.as_slice()),
            ("main", &["other".to_owned()][..])
        );
        let kept = fixture
            .mirrors
            .changed(&fixture.spec, None, &first.head)
            .await;
        assert_eq!(kept.unwrap().len(), 1);
        fixture.repo.reset("main", &first.head.0);
        assert_eq!(fixture.fetch().await.unwrap().previous, Some(first.head));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_repository_has_no_branch() {
    let fixture = Fixture::new();
    let error = fixture.fetch().await.unwrap_err();
    assert!(matches!(error, Error::BranchMissing { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_repository_is_unreachable() {
    let mut fixture = Fixture::new();
    fixture.spec.url = "/nowhere/at/all".to_owned();
    let error = fixture.fetch().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    fixture.spec.url = fixture.folder.path().display().to_string();
    let error = fixture.fetch().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    fixture.spec.url = "ext::sh -c id".to_owned();
    let error = fixture.fetch().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_branch_is_copied_and_only_what_is_new() {
    let fixture = Fixture::new();
    fixture.repo.commit("One", &[("a.yaml", Some("1"))]);
    let other = fixture
        .repo
        .commit_to("other", "Two", &[("b.yaml", Some("2"))]);
    fixture.fetch().await.unwrap();
    let other = evenkeel::model::CommitId(other);
    let read = fixture.mirrors.changed(&fixture.spec, None, &other).await;
    assert!(matches!(read, Err(Error::CommitMissing { .. })), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn branch_names_that_nest_can_follow_each_other() {
    let mut fixture = Fixture::new();
    fixture.repo.commit_to("a", "One", &[("a.yaml", Some("1"))]);
    fixture.spec.branch = "a".to_owned();
    fixture.fetch().await.unwrap();
    fixture.repo.delete_branch("a");
    fixture
        .repo
        .commit_to("a/b", "Two", &[("a.yaml", Some("2"))]);
    fixture.spec.branch = "a/b".to_owned();
    fixture.fetch().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_a_killed_process_do_not_block() {
    let fixture = Fixture::new();
    fixture.repo.commit("One", &[("a.yaml", Some("1"))]);
    fixture.fetch().await.unwrap();
    let mirror = fixture.mirror();
    let head = std::fs::read_dir(mirror.join("refs/heads"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    std::fs::write(head.path().with_extension("lock"), "").unwrap();
    std::fs::write(mirror.join("objects/pack/pack_git2_half"), "x").unwrap();

    let reopened = evenkeel::git::Mirrors::open(fixture.mirrors_folder()).unwrap();
    let next = fixture.repo.commit("Two", &[("a.yaml", Some("2"))]);
    assert_eq!(
        reopened.fetch(&fixture.spec, LONG).await.unwrap().head.0,
        next
    );
    assert!(!mirror.join("objects/pack/pack_git2_half").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_mirror_is_made_anew() {
    let fixture = Fixture::new();
    fixture.repo.commit("One", &[("a.yaml", Some("1"))]);
    fixture.fetch().await.unwrap();
    let mirror = fixture.mirror();
    std::fs::remove_file(mirror.join("HEAD")).unwrap();
    assert_eq!(fixture.fetch().await.unwrap().previous, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_fetches_leave_one_pack_and_all_that_is_needed() {
    let fixture = Fixture::new();
    let count = evenkeel::git::limits::PACKS + 5;
    for n in 0..count {
        let text = n.to_string();
        fixture
            .repo
            .commit(&text, &[(&format!("{n}.yaml"), Some(&text))]);
        fixture.fetch().await.unwrap();
    }
    let mirror = fixture.mirror();
    let packs = || {
        std::fs::read_dir(mirror.join("objects/pack"))
            .unwrap()
            .filter(|e| {
                e.as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|e| e == "pack")
            })
            .count()
    };
    assert_eq!(packs(), count);
    let head = fixture.fetch().await.unwrap().head;
    // Opened before the packs go, read after.
    let reader = fixture.mirrors.reader(&fixture.spec, &head).unwrap();
    fixture
        .mirrors
        .tidy(std::slice::from_ref(&fixture.spec))
        .await
        .unwrap();
    assert_eq!(packs(), 1);
    assert_eq!(reader.changed(None).unwrap().len(), count);
    let all = fixture
        .mirrors
        .changed(&fixture.spec, None, &head)
        .await
        .unwrap();
    assert_eq!(all.len(), count);

    let next = fixture.repo.commit("Next", &[("x.yaml", Some("x"))]);
    let fetched = fixture.fetch().await.unwrap();
    assert_eq!((fetched.head.0, fetched.rewritten), (next, false));
    fixture.mirrors.tidy(&[]).await.unwrap();
    assert!(!mirror.exists());
}

/// Commits with the git program in a working tree, as a developer does.
fn commit_in(folder: &std::path::Path, message: &str) {
    let status = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@example.test"])
        .args(["commit", "--quiet", "--allow-empty", "-m", message])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", folder)
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_to_a_watched_repository_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    let bare = folder.path().join("bare.git");
    for (path, kind) in [(&tree, "--quiet"), (&bare, "--bare")] {
        let status = Command::new("git")
            .args(["init", "--quiet", kind, "--initial-branch=main"])
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success());
    }
    commit_in(&tree, "first");

    let mut watch = watch_local(&tree).unwrap();
    commit_in(&tree, "second");
    tokio::time::timeout(LONG, watch.next())
        .await
        .unwrap()
        .unwrap();

    let mut watch = watch_local(&bare).unwrap();
    let push = Command::new("git")
        .args(["push", "--quiet"])
        .arg(&bare)
        .arg("main:main")
        .current_dir(&tree)
        .status()
        .unwrap();
    assert!(push.success());
    tokio::time::timeout(LONG, watch.next())
        .await
        .unwrap()
        .unwrap();

    // Packed refs are a change of another file.
    let mut watch = watch_local(&tree).unwrap();
    let pack = Command::new("git")
        .args(["pack-refs", "--all"])
        .current_dir(&tree)
        .status();
    assert!(pack.unwrap().success());
    tokio::time::timeout(LONG, watch.next())
        .await
        .unwrap()
        .unwrap();

    assert!(matches!(
        watch_local(folder.path()),
        Err(Error::Local { .. })
    ));
}
