//! What differs between commits, in honest and in hostile trees.

use evenkeel::git::{Entry, Error, Read};
use evenkeel::model::CommitId;

use crate::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_listed_by_path() {
    let fixture = Fixture::new();
    fixture.repo.commit(
        "One",
        &[
            ("a/web.yaml", Some("1")),
            ("a/conf", Some("file")),
            ("b/db.yaml", Some("1")),
        ],
    );
    assert_eq!(
        fixture.changes().await,
        ["+a/conf", "+a/web.yaml", "+b/db.yaml"]
    );
    assert!(fixture.changes().await.is_empty());
    fixture.repo.commit(
        "A file becomes a folder, another one goes",
        &[
            ("a/conf", None),
            ("a/conf/x", Some("1")),
            ("b/db.yaml", None),
        ],
    );
    assert_eq!(
        fixture.changes().await,
        ["-a/conf", "+a/conf/x", "-b/db.yaml"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_sources_folder_counts() {
    let mut fixture = Fixture::new();
    fixture.spec.path = "deploy/prod".to_owned();
    fixture.repo.commit(
        "One",
        &[("deploy/prod/a.yaml", Some("1")), ("src/x", Some("1"))],
    );
    assert_eq!(fixture.changes().await, ["+deploy/prod/a.yaml"]);
    fixture.repo.commit("Elsewhere", &[("src/x", Some("2"))]);
    assert!(fixture.changes().await.is_empty());

    let head = fixture.fetch().await.unwrap().head;
    let read = |path| fixture.mirrors.read(&fixture.spec, &head, path, 10);
    assert_eq!(
        read("deploy/prod/a.yaml").await.unwrap(),
        Read::Found(b"1".to_vec())
    );
    assert_eq!(read("deploy/prod/b.yaml").await.unwrap(), Read::Missing);
    for outside in [
        "src/x",
        "deploy/prod/../../src/x",
        "/etc/passwd",
        "deploy/production",
    ] {
        let found = read(outside).await.unwrap();
        assert!(
            matches!(found, Read::NotAFile { .. }),
            "{outside}: {found:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_path_is_an_error_and_an_empty_tree_is_not() {
    let mut fixture = Fixture::new();
    fixture.repo.commit("One", &[("apps/a.yaml", Some("1"))]);
    let before = fixture.fetch().await.unwrap().head;
    fixture.repo.commit("All gone", &[("apps/a.yaml", None)]);
    assert_eq!(fixture.changes().await, ["-apps/a.yaml"]);

    fixture.spec.path = "apps".to_owned();
    let head = fixture.fetch().await.unwrap().head;
    let error = fixture
        .mirrors
        .changed(&fixture.spec, Some(&before), &head)
        .await
        .unwrap_err();
    let Error::PathMissing { path, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(path, "apps");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_submodules_are_reported_and_never_followed() {
    let fixture = Fixture::new();
    let repo = &fixture.repo;
    let (target, file) = (repo.blob("/etc"), repo.blob("1"));
    let somewhere = git2::Oid::from_str("1234567890123456789012345678901234567890").unwrap();
    let tree = repo.raw_tree(&[
        ("100644", b"a.yaml", file),
        ("120000", b"link", target),
        ("160000", b"module", somewhere),
    ]);
    repo.commit_tree("main", "Links", tree, None);
    assert_eq!(
        fixture.changes().await,
        ["+a.yaml", "!link a symbolic link", "!module a submodule"]
    );
    let head = fixture.fetch().await.unwrap().head;
    for path in ["link", "link/passwd", "module", "module/x"] {
        let found = fixture.mirrors.read(&fixture.spec, &head, path, 10).await;
        assert!(
            matches!(found, Ok(Read::NotAFile { .. })),
            "{path}: {found:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_source_folder_counts_as_lost() {
    let mut fixture = Fixture::new();
    let target = fixture.repo.blob("/etc");
    let tree = fixture.repo.raw_tree(&[("120000", b"apps", target)]);
    fixture.repo.commit_tree("main", "Link", tree, None);
    fixture.spec.path = "apps".to_owned();
    let head = fixture.fetch().await.unwrap().head;
    let error = fixture.mirrors.changed(&fixture.spec, None, &head).await;
    assert!(matches!(error, Err(Error::PathMissing { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_git_refuses_condemn_the_commit() {
    for name in [&b".git"[..], b".GIT", b"..", b".", b"a/b"] {
        let fixture = Fixture::new();
        let good = fixture.repo.commit("Good", &[("a.yaml", Some("1"))]);
        fixture.fetch().await.unwrap();
        let file = fixture.repo.blob("x");
        let tree = fixture.repo.raw_tree(&[("100644", name, file)]);
        fixture.repo.commit_tree("main", "Bad", tree, None);
        let head = fixture.fetch().await.unwrap().head;
        let good = CommitId(good);
        let error = fixture
            .mirrors
            .changed(&fixture.spec, Some(&good), &head)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Hostile { .. }),
            "{name:?}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_twice_condemns_the_commit() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.repo.blob("1"), fixture.repo.blob("2"));
    let tree = fixture
        .repo
        .raw_tree(&[("100644", b"a.yaml", one), ("100644", b"a.yaml", two)]);
    fixture.repo.commit_tree("main", "Twice", tree, None);
    let head = fixture.fetch().await.unwrap().head;
    let error = fixture.mirrors.changed(&fixture.spec, None, &head).await;
    assert!(matches!(error, Err(Error::Hostile { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_no_text_are_left_alone() {
    let fixture = Fixture::new();
    let file = fixture.repo.blob("1");
    let tree = fixture.repo.raw_tree(&[
        ("100644", b"a.yaml", file),
        ("100644", b"b\x1b[31m.yaml", file),
        ("100644", b"c\xff.yaml", file),
    ]);
    fixture
        .repo
        .commit_tree("main", "Odd\x1b[31m\tnames", tree, None);
    let changes = fixture.changes().await;
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert_eq!(changes[0], "+a.yaml");
    assert!(
        changes[1..].iter().all(|c| c.ends_with("not plain text")),
        "{changes:?}"
    );
    let subject = fixture.fetch().await.unwrap().info.subject;
    assert!(!subject.contains(char::is_control), "{subject:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_nesting_is_refused() {
    let fixture = Fixture::new();
    let mut tree = fixture.repo.raw_tree(&[]);
    for _ in 0..500 {
        tree = fixture.repo.raw_tree(&[("40000", b"d", tree)]);
    }
    fixture.repo.commit_tree("main", "Deep", tree, None);
    let head = fixture.fetch().await.unwrap().head;
    let error = fixture.mirrors.changed(&fixture.spec, None, &head).await;
    assert!(matches!(error, Err(Error::Hostile { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_multiplies_is_refused() {
    // Nine levels of ten times the same folder: 10^9 paths in ten small objects.
    let fixture = Fixture::new();
    let file = fixture.repo.blob("x");
    let names: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
    let mut tree = fixture.repo.raw_tree(&[("100644", b"f", file)]);
    for _ in 0..9 {
        let entries: Vec<(&str, &[u8], git2::Oid)> = names
            .iter()
            .map(|n| ("40000", n.as_bytes(), tree))
            .collect();
        tree = fixture.repo.raw_tree(&entries);
    }
    fixture.repo.commit_tree("main", "Bomb", tree, None);
    let head = fixture.fetch().await.unwrap().head;
    let error = fixture.mirrors.changed(&fixture.spec, None, &head).await;
    assert!(matches!(error, Err(Error::Hostile { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_measured_before_they_are_loaded() {
    let fixture = Fixture::new();
    let large = "x".repeat(100_000);
    fixture.repo.commit("Large", &[("large", Some(&large))]);
    let head = fixture.fetch().await.unwrap().head;
    let changes = fixture
        .mirrors
        .changed(&fixture.spec, None, &head)
        .await
        .unwrap();
    let Entry::File {
        blob,
        size,
        executable,
    } = &changes[0].entry
    else {
        panic!("{changes:?}");
    };
    assert_eq!((*size, *executable), (100_000, false));
    let read = fixture
        .mirrors
        .read_blob(&fixture.spec, &head, blob, 99_999)
        .await;
    assert_eq!(read.unwrap(), Read::TooLarge { size: 100_000 });
    let read = fixture
        .mirrors
        .read_blob(&fixture.spec, &head, blob, 100_000)
        .await;
    assert_eq!(read.unwrap(), Read::Found(large.into_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_among_ten_thousand_files() {
    let fixture = Fixture::new();
    let paths: Vec<String> = (0..10_000)
        .map(|n| format!("apps/{}/{n}.yaml", n / 100))
        .collect();
    let files: Vec<(&str, Option<&str>)> = paths.iter().map(|p| (p.as_str(), Some("1"))).collect();
    fixture.repo.commit("Many", &files);
    assert_eq!(fixture.changes().await.len(), 10_000);
    fixture
        .repo
        .commit("One", &[("apps/42/4242.yaml", Some("2"))]);
    assert_eq!(fixture.changes().await, ["+apps/42/4242.yaml"]);
}
