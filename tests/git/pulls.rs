//! Pull requests: brought here beside the followed branch, and merged with it on trial.

use std::collections::BTreeSet;

use evenkeel::git::{Error, FetchedPull, Merged, Read, WantedPull};
use evenkeel::model::CommitId;

use crate::git_http::GitServer;
use crate::{Fixture, LONG};

impl Fixture {
    /// Opens a pull request from the present head of `main`, or from `onto`.
    fn propose(&self, number: u64, onto: &str, files: &[(&str, Option<&str>)]) -> String {
        let branch = format!("fix{number}");
        self.repo.reset(&branch, onto);
        let head = self.repo.commit_to(&branch, "A proposal", files);
        let oid = git2::Oid::from_str(&head).unwrap();
        let name = format!("refs/pull/{number}/head");
        self.repo.repo().reference(&name, oid, true, "").unwrap();
        self.repo.delete_branch(&branch);
        head
    }

    fn wanted(&self, number: u64) -> WantedPull {
        WantedPull {
            number,
            head_ref: format!("refs/pull/{number}/head"),
            merge_ref: Some(format!("refs/pull/{number}/merge")),
            base: CommitId(self.repo.head("main").unwrap().to_string()),
        }
    }

    async fn pull(&self, number: u64) -> Result<Option<FetchedPull>, Error> {
        let wanted = self.wanted(number);
        self.mirrors.fetch_pull(&self.spec, &wanted, LONG).await
    }

    async fn merged(&self, number: u64) -> Merged {
        self.pull(number).await.unwrap().unwrap().merged
    }

    async fn text(&self, commit: &CommitId, path: &str) -> Option<String> {
        let read = self.mirrors.read(&self.spec, commit, path, 1 << 20).await;
        match read.unwrap() {
            Read::Found(bytes) => Some(String::from_utf8(bytes).unwrap()),
            Read::Missing | Read::TooLarge { .. } | Read::NotAFile { .. } => None,
        }
    }
}

fn tree(merged: Merged) -> CommitId {
    match merged {
        Merged::Tree(commit) => commit,
        Merged::Conflict(paths) => panic!("conflicts: {paths:?}"),
    }
}

async fn both(check: impl AsyncFn(Fixture)) {
    check(Fixture::new()).await;
    let mut fixture = Fixture::new();
    let server = GitServer::start(fixture.folder.path().join("repos"));
    fixture.spec.url = server.url("specs.git");
    check(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_is_what_a_merge_would_give() {
    both(async |f| {
        let first = f.repo.commit(
            "First",
            &[
                ("a.yaml", Some("a1\n")),
                ("b.yaml", Some("b1\n")),
                ("c.yaml", Some("c1\n")),
            ],
        );
        f.fetch().await.unwrap();
        let head = f.propose(
            1,
            &first,
            &[("a.yaml", Some("a2\n")), ("new.yaml", Some("n\n"))],
        );
        // Nothing happened on the branch: the head is what a merge gives.
        assert_eq!(f.merged(1).await, Merged::Tree(CommitId(head.clone())));

        let main = f
            .repo
            .commit("Second", &[("b.yaml", Some("b2\n")), ("c.yaml", None)]);
        f.fetch().await.unwrap();
        let merge = tree(f.merged(1).await);
        assert_ne!(merge.0, head);
        for (path, wanted) in [
            ("a.yaml", Some("a2\n")),
            ("b.yaml", Some("b2\n")),
            ("c.yaml", None),
            ("new.yaml", Some("n\n")),
        ] {
            assert_eq!(f.text(&merge, path).await.as_deref(), wanted, "{path}");
        }
        assert_eq!(
            tree(f.merged(1).await),
            merge,
            "the same two give the same merge"
        );
        // The followed branch is where it was.
        assert_eq!(f.fetch().await.unwrap().previous, Some(CommitId(main)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_blended_and_contradictions_named() {
    let f = Fixture::new();
    let long = |top: &str, end: &str| format!("{top}\n1\n2\n3\n4\n5\n6\n7\n8\n{end}\n");
    let first = f.repo.commit(
        "First",
        &[("a.yaml", Some(&long("x", "x"))), ("b.yaml", Some("b\n"))],
    );
    f.propose(1, &first, &[("a.yaml", Some(&long("theirs", "x")))]);
    f.propose(
        2,
        &first,
        &[
            ("a.yaml", Some(&long("x", "theirs"))),
            ("b.yaml", Some("t\n")),
        ],
    );
    f.propose(3, &first, &[("b.yaml", None)]);
    f.propose(4, &first, &[("b.yaml/inside.yaml", Some("t\n"))]);
    f.repo.commit(
        "Second",
        &[
            ("a.yaml", Some(&long("x", "ours"))),
            ("b.yaml", Some("o\n")),
        ],
    );
    f.fetch().await.unwrap();
    let merge = tree(f.merged(1).await);
    assert_eq!(f.text(&merge, "a.yaml").await, Some(long("theirs", "ours")));
    let both = ["a.yaml".to_owned(), "b.yaml".to_owned()].to_vec();
    assert_eq!(f.merged(2).await, Merged::Conflict(both));
    assert_eq!(
        f.merged(3).await,
        Merged::Conflict(vec!["b.yaml".to_owned()])
    );
    assert!(matches!(f.merged(4).await, Merged::Conflict(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forges_own_trial_merge_counts_only_for_these_two_commits() {
    let mut f = Fixture::new();
    let server = GitServer::start(f.folder.path().join("repos"));
    f.spec.url = server.url("specs.git");
    let first = f.repo.commit("First", &[("a.yaml", Some("a1\n"))]);
    f.propose(1, &first, &[("b.yaml", Some("b\n"))]);
    let main = f.repo.commit("Second", &[("c.yaml", Some("c\n"))]);
    f.fetch().await.unwrap();
    // Made by the forge: told from ours by a file that neither side has.
    let repo = f.repo.repo();
    let find = |id: &str| repo.find_commit(git2::Oid::from_str(id).unwrap()).unwrap();
    let head = repo.refname_to_id("refs/pull/1/head").unwrap().to_string();
    let offer = |parents: [&str; 2]| {
        let tree = f
            .repo
            .raw_tree(&[("100644", b"forge.yaml", f.repo.blob("f\n"))]);
        let tree = repo.find_tree(tree).unwrap();
        let we = git2::Signature::now("Forge", "f@localhost").unwrap();
        let parents = parents.map(find);
        let oid = repo
            .commit(None, &we, &we, "Merge", &tree, &[&parents[0], &parents[1]])
            .unwrap();
        repo.reference("refs/pull/1/merge", oid, true, "").unwrap();
        CommitId(oid.to_string())
    };
    let good = offer([&main, &head]);
    assert_eq!(tree(f.merged(1).await), good);
    let stale = offer([&first, &head]);
    let merge = tree(f.merged(1).await);
    assert_ne!(merge, stale);
    assert_eq!(f.text(&merge, "c.yaml").await.as_deref(), Some("c\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_forgotten_and_a_missing_one_is_no_error() {
    let f = Fixture::new();
    let first = f.repo.commit("First", &[("a.yaml", Some("a1\n"))]);
    let unfetched = f.pull(1).await;
    assert!(
        matches!(unfetched, Err(Error::CommitMissing { .. })),
        "{unfetched:?}"
    );
    f.fetch().await.unwrap();
    assert_eq!(f.pull(1).await.unwrap(), None);
    for number in [1, 2] {
        f.propose(number, &first, &[("a.yaml", Some(&format!("p{number}\n")))]);
        f.pull(number).await.unwrap().unwrap();
    }
    let mirror = f.mirror();
    let kept = || {
        let repository = git2::Repository::open_bare(&mirror).unwrap();
        let names = repository.references_glob("refs/evenkeel/pulls/*").unwrap();
        let mut names: Vec<String> = names
            .map(|r| r.unwrap().name().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(kept().len(), 4, "{:?}", kept());
    f.mirrors
        .forget_pulls(&f.spec, BTreeSet::from([2]))
        .await
        .unwrap();
    assert_eq!(
        kept(),
        ["refs/evenkeel/pulls/2/head", "refs/evenkeel/pulls/2/merge"]
    );
}

/// Trees that unfold to billions of files: the walk has bounds, also outside of the folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_explodes_is_refused_or_left_alone() {
    let mut f = Fixture::new();
    let base = f.repo.commit("First", &[("deploy/a.yaml", Some("a1\n"))]);
    let mut bomb = f.repo.raw_tree(&[("100644", b"x.yaml", f.repo.blob("x"))]);
    for _ in 0..12 {
        let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
        let entries: Vec<(&str, &[u8], git2::Oid)> = names
            .iter()
            .map(|name| ("40000", name.as_bytes(), bomb))
            .collect();
        bomb = f.repo.raw_tree(&entries);
    }
    let repo = f.repo.repo();
    let parent = git2::Oid::from_str(&base).unwrap();
    let folder = repo.find_commit(parent).unwrap().tree().unwrap();
    let deploy = folder.get_name("deploy").unwrap().id();
    let open = |number: u64, entries: &[(&str, &[u8], git2::Oid)]| {
        let root = f.repo.raw_tree(entries);
        f.repo.commit_tree("bomb", "Boom", root, Some(parent));
        let oid = f.repo.head("bomb").unwrap();
        repo.reference(&format!("refs/pull/{number}/head"), oid, true, "")
            .unwrap();
        f.repo.delete_branch("bomb");
    };
    open(1, &[("40000", b"bomb", bomb), ("40000", b"deploy", deploy)]);
    open(2, &[("40000", b"deploy", bomb)]);
    f.repo.commit("Second", &[("deploy/b.yaml", Some("b\n"))]);
    f.fetch().await.unwrap();
    // Below the root it counts; beside the source's folder nobody looks.
    let whole = f.pull(1).await;
    assert!(matches!(whole, Err(Error::Hostile { .. })), "{whole:?}");
    f.spec.path = "deploy".to_owned();
    f.fetch().await.unwrap();
    let merge = tree(f.merged(1).await);
    assert_eq!(
        f.text(&merge, "deploy/b.yaml").await.as_deref(),
        Some("b\n")
    );
    let inside = f.pull(2).await;
    assert!(matches!(inside, Err(Error::Hostile { .. })), "{inside:?}");
}
