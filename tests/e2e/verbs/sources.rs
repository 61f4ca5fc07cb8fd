//! Sources: followed, held by the brake, let through, removed.

use serde_json::json;

use super::Book;
use super::steer::spec;
use crate::cluster::Cluster;
use crate::git_http::TestRepo;

/// A source of four apps, of which a commit takes three: the brake holds until somebody says so.
pub(super) async fn sources(book: &Book<'_>, c: &Cluster) {
    let repo = TestRepo::create(c.dir.path().join("git/more.git"));
    let app = |n: usize| spec("one", 1).replace("name: web", &format!("name: more-{n}"));
    let apps: Vec<String> = (0..4).map(app).collect();
    let names: Vec<String> = (0..4).map(|n| format!("more-{n}.yaml")).collect();
    let with = |kept: usize| -> Vec<(&str, Option<&str>)> {
        let file = |n: usize| (names[n].as_str(), (n < kept).then(|| apps[n].as_str()));
        (0..4).map(file).collect()
    };
    repo.commit("four", &with(4));
    let url = c.git.url("more.git");
    let add = [
        "source",
        "add",
        "more",
        &url,
        "-p",
        "shop",
        "--interval",
        "1s",
    ];
    assert!(book.text(&add).contains("more"));
    assert!(book.refused(&add, 1).contains("evenkeel"));
    for approve_as_text in [true, false] {
        c.wait("sources/more", "four apps", |s| {
            s["apps"] == 4 && s["held"].is_null()
        })
        .await;
        c.wait_app("more-3", "healthy", |a| a["health"] == "healthy")
            .await;
        repo.commit("one", &with(1));
        c.wait("sources/more", "held", |s| !s["held"].is_null())
            .await;
        assert!(
            book.text(&["source", "show", "more"])
                .contains("evenkeel source approve more")
        );
        assert_eq!(book.json(&["source", "show", "more"])["state"], "held");
        if approve_as_text {
            assert!(book.text(&["source", "approve", "more"]).contains("more"));
        } else {
            assert_eq!(book.json(&["source", "approve", "more"])["name"], "more");
        }
        c.wait("sources/more", "let through", |s| s["apps"] == 1)
            .await;
        if approve_as_text {
            repo.commit("four again", &with(4));
        }
    }
    assert!(
        book.refused(&["source", "approve", "more"], 1)
            .contains("held")
    );
    assert!(
        book.text(&["source", "sync", "more"])
            .contains("evenkeel source show more")
    );
    assert_eq!(book.json(&["source", "sync", "more"])["name"], "more");
    assert!(book.text(&["source", "list"]).contains("more.git"));
    assert_eq!(book.json(&["source", "list"]).as_array().unwrap().len(), 2);

    let removed = book.json(&["source", "remove", "more", "--prune"]);
    assert_eq!(removed, json!({"name": "more", "removed": true}));
    let spare = ["source", "add", "spare", &url, "--path", "nothing-here"];
    assert_eq!(book.json(&spare)["name"], "spare");
    assert_eq!(
        book.text(&["source", "remove", "spare"]),
        "removed source spare\n"
    );
    assert!(
        book.refused(&["source", "show", "spare"], 1)
            .contains("spare")
    );
}
