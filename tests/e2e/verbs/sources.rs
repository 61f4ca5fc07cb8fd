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
            let args = ["source", "approve", "more", "--wait", "--timeout", "2m"];
            assert_eq!(book.json(&args)["apps"], 1);
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
    let synced = book.json(&["source", "sync", "more", "--wait", "--timeout", "2m"]);
    assert_eq!(
        (&synced["state"], &synced["apps"]),
        (&json!("ok"), &json!(1))
    );
    assert!(book.text(&["source", "list"]).contains("more.git"));
    assert_eq!(book.json(&["source", "list"]).as_array().unwrap().len(), 2);

    let removed = book.json(&["source", "remove", "more", "--prune"]);
    assert_eq!(removed, json!({"name": "more", "removed": true}));
    settings(book);
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

/// Every setting that a source has arrives as it was typed.
fn settings(book: &Book<'_>) {
    let etc = |name: &str| format!("/etc/evenkeel/{name}");
    let (token, hook, app) = (etc("token"), etc("hook"), etc("app.pem"));
    let common = ["https://git.example/team/spare.git", "--interval", "1h"];
    let add = |more: &[&str]| {
        let added = book.json(&[&["source", "add", "spare"], &common[..], more].concat());
        assert_eq!(
            book.text(&["source", "remove", "spare"]),
            "removed source spare\n"
        );
        added
    };
    let added = add(&[
        "--branch",
        "live",
        "--path",
        "deploy",
        "--username",
        "robot",
        "--token-file",
        &token,
        "--webhook-secret-file",
        &hook,
        "--forge",
        "bitbucket",
        "--forge-repository",
        "team/spare",
        "--forge-token-file",
        &token,
        "--forge-username",
        "robot@example",
        "--no-pull-requests",
    ]);
    assert_eq!(
        (&added["branch"], &added["path"], &added["interval"]),
        (&json!("live"), &json!("deploy"), &json!("1h"))
    );
    assert_eq!(added["credentials"]["username"], "robot");
    assert_eq!(added["credentials"]["tokenFile"], token.as_str());
    assert_eq!(added["webhook"]["secretFile"], hook.as_str());
    let forge = &added["forge"];
    assert_eq!(
        (&forge["kind"], &forge["repository"]),
        (&json!("bitbucket"), &json!("team/spare"))
    );
    assert_eq!(
        (&forge["tokenFile"], &forge["username"]),
        (&json!(token), &json!("robot@example"))
    );
    assert_eq!(added["pullRequests"]["plan"], false);

    let added = add(&[
        "--forge",
        "github",
        "--forge-api",
        "https://github.example",
        "--forge-repository",
        "team/spare",
        "--forge-app-id",
        "12345",
        "--forge-app-key-file",
        &app,
        "--forge-app-installation",
        "67",
        "--pull-requests-from-forks",
        "--ssh-key-file",
        &token,
        "--known-hosts-file",
        &hook,
    ]);
    let expected = json!({"id": "12345", "privateKeyFile": app, "installationId": 67});
    assert_eq!(added["forge"]["app"], expected);
    assert!(
        added["forge"]["apiUrl"]
            .as_str()
            .unwrap()
            .starts_with("https://github.example")
    );
    assert_eq!(added["pullRequests"], json!({"plan": true, "forks": true}));
    assert_eq!(
        (
            &added["credentials"]["sshKeyFile"],
            &added["credentials"]["knownHostsFile"]
        ),
        (&json!(token), &json!(hook))
    );
}
