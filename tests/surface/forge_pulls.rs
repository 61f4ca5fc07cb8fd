//! Pull requests and comments: each vendor's requests and answers in their documented shapes.

use evenkeel::forge::{Client, FailureKind};
use evenkeel::model::{
    CommitId, ForgeKind, ForgeSpec, PullComment, PullRequest, PullState, Timestamp,
};
use serde_json::{Value, json};

use crate::recorder::{Call, Forge, Reply};

const HEAD: &str = "0123456789abcdef0123456789abcdef01234567";
const TRIAL: &str = "89abcdef0123456789abcdef0123456789abcdef";
const NOW: Timestamp = Timestamp(1_790_000_000_000);

struct Asking {
    forge: Forge,
    client: Client,
    spec: ForgeSpec,
    _dir: tempfile::TempDir,
}

async fn asking(kind: ForgeKind, replies: &[Reply]) -> Asking {
    let forge = Forge::start(replies).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let base = match kind {
        ForgeKind::GitHub => "/api/v3",
        _ => "",
    };
    let spec = ForgeSpec {
        kind,
        api_url: format!("{}{base}", forge.url),
        repository: "team/apps".to_owned(),
        token_file: Some(file.to_str().unwrap().to_owned()),
        username: None,
        app: None,
    };
    Asking {
        forge,
        client: Client::default(),
        spec,
        _dir: dir,
    }
}

impl Asking {
    /// `GET /path?query`, as it stood on the wire, with the body where there was one.
    fn lines(&self) -> Vec<String> {
        let line = |call: &Call| match call.body {
            Value::Null => format!("{} {}", call.method, call.path),
            _ => format!("{} {} {}", call.method, call.path, call.body),
        };
        self.forge.calls().iter().map(line).collect()
    }

    async fn comment(&self, body: &str) -> Result<(), evenkeel::forge::Failure> {
        let comment = PullComment {
            marker: "prod/shop/plan".to_owned(),
            body: body.to_owned(),
        };
        self.client
            .upsert_comment(&self.spec, 7, &comment, NOW)
            .await
    }
}

fn wanted(merge: Option<&str>, from_fork: bool) -> PullRequest {
    PullRequest {
        number: 7,
        state: PullState::Open,
        title: "Web 1.2".to_owned(),
        html_url: "https://forge.example/7".to_owned(),
        base: "main".to_owned(),
        head_ref: "web-1.2".to_owned(),
        head: CommitId(HEAD.to_owned()),
        merge: merge.map(|hash| CommitId(hash.to_owned())),
        from_fork,
    }
}

fn hub(fork: bool) -> Value {
    json!({
        "number": 7, "state": "open", "merged": false, "merged_at": null, "title": "Web 1.2",
        "html_url": "https://forge.example/7", "mergeable": null, "merge_commit_sha": TRIAL,
        "base": {"ref": "main", "sha": TRIAL, "repo": {"id": 1, "full_name": "team/apps"}},
        "head": {"ref": "web-1.2", "sha": HEAD, "repo": {"id": 1 + u64::from(fork)}},
    })
}

fn lab(fork: bool) -> Value {
    json!({
        "id": 4711, "iid": 7, "state": "opened", "title": "Web 1.2",
        "web_url": "https://forge.example/7", "target_branch": "main", "source_branch": "web-1.2",
        "sha": HEAD, "merge_commit_sha": null, "source_project_id": 1 + u64::from(fork),
        "target_project_id": 1,
    })
}

fn cloud(fork: bool) -> Value {
    let from = if fork { "ann/apps" } else { "team/apps" };
    json!({
        "type": "pullrequest", "id": 7, "state": "OPEN", "title": "Web 1.2",
        "links": {"html": {"href": "https://forge.example/7"}},
        "source": {"branch": {"name": "web-1.2"}, "commit": {"hash": HEAD[..12]},
            "repository": {"full_name": from}},
        "destination": {"branch": {"name": "main"}, "commit": {"hash": TRIAL[..12]},
            "repository": {"full_name": "team/apps"}},
    })
}

fn center(fork: bool) -> Value {
    json!({
        "id": 7, "version": 3, "state": "OPEN", "open": true, "title": "Web 1.2",
        "links": {"self": [{"href": "https://forge.example/7"}]},
        "fromRef": {"id": "refs/heads/web-1.2", "displayId": "web-1.2", "latestCommit": HEAD,
            "repository": {"id": 1 + u64::from(fork), "slug": "apps"}},
        "toRef": {"id": "refs/heads/main", "displayId": "main", "latestCommit": TRIAL,
            "repository": {"id": 1, "slug": "apps"}},
    })
}

fn commits() -> Value {
    json!({"values": [{"type": "commit", "hash": HEAD}], "next": "https://elsewhere.example/"})
}

#[tokio::test]
async fn a_pull_request_is_read_from_each_vendor() {
    type Pull = fn(bool) -> Value;
    let cases: [(ForgeKind, Pull, Option<&str>, &[&str]); 5] = [
        (
            ForgeKind::GitHub,
            hub,
            Some(TRIAL),
            &["GET /api/v3/repos/team/apps/pulls/7"],
        ),
        (
            ForgeKind::Gitea,
            hub,
            None,
            &["GET /api/v1/repos/team/apps/pulls/7"],
        ),
        (
            ForgeKind::GitLab,
            lab,
            None,
            &["GET /api/v4/projects/team%2Fapps/merge_requests/7"],
        ),
        (
            ForgeKind::BitbucketCloud,
            cloud,
            None,
            &[
                "GET /2.0/repositories/team/apps/pullrequests/7",
                "GET /2.0/repositories/team/apps/pullrequests/7/commits?pagelen=1",
            ],
        ),
        (
            ForgeKind::BitbucketDataCenter,
            center,
            None,
            &["GET /rest/api/1.0/projects/team/repos/apps/pull-requests/7"],
        ),
    ];
    for (kind, pull, merge, lines) in cases {
        for fork in [false, true] {
            let replies = [Reply::json(200, pull(fork)), Reply::json(200, commits())];
            let asking = asking(kind, &replies).await;
            let read = asking.client.pull_request(&asking.spec, 7, NOW).await;
            assert_eq!(read, Ok(wanted(merge, fork)), "{kind:?}");
            assert_eq!(asking.lines(), lines);
        }
    }
}

#[tokio::test]
async fn what_became_of_a_pull_request_is_told() {
    let closed = |pull: Value, change: Value| {
        let mut pull = pull;
        for (key, value) in change.as_object().unwrap() {
            pull[key] = value.clone();
        }
        pull
    };
    let (merged, shut) = (PullState::Merged, PullState::Closed);
    let cases = [
        (
            ForgeKind::GitHub,
            hub(false),
            json!({"state": "closed"}),
            shut,
        ),
        (
            ForgeKind::GitHub,
            hub(false),
            json!({"state": "closed", "merged_at": "2026-01-01T00:00:00Z"}),
            merged,
        ),
        (
            ForgeKind::Gitea,
            hub(false),
            json!({"state": "closed", "merged": true}),
            merged,
        ),
        (
            ForgeKind::GitLab,
            lab(false),
            json!({"state": "merged"}),
            merged,
        ),
        (
            ForgeKind::GitLab,
            lab(false),
            json!({"state": "closed"}),
            shut,
        ),
        (
            ForgeKind::BitbucketCloud,
            cloud(false),
            json!({"state": "MERGED"}),
            merged,
        ),
        (
            ForgeKind::BitbucketCloud,
            cloud(false),
            json!({"state": "SUPERSEDED"}),
            shut,
        ),
        (
            ForgeKind::BitbucketDataCenter,
            center(false),
            json!({"state": "DECLINED"}),
            shut,
        ),
    ];
    for (kind, pull, change, state) in cases {
        let replies = [
            Reply::json(200, closed(pull, change)),
            Reply::json(200, commits()),
        ];
        let asking = asking(kind, &replies).await;
        let read = asking.client.pull_request(&asking.spec, 7, NOW).await;
        let read = read.unwrap();
        assert_eq!((read.state, read.merge), (state, None), "{kind:?}");
    }
    // A fork that was deleted, and a trial merge of something that cannot be merged.
    let gone = closed(
        hub(false),
        json!({"head": {"ref": "x", "sha": HEAD, "repo": null}}),
    );
    let stale = closed(hub(false), json!({"mergeable": false}));
    for (pull, fork) in [(gone, true), (stale, false)] {
        let asking = asking(ForgeKind::GitHub, &[Reply::json(200, pull)]).await;
        let read = asking.client.pull_request(&asking.spec, 7, NOW).await;
        let read = read.unwrap();
        assert_eq!(read.from_fork, fork);
        assert_eq!(read.merge.is_some(), fork);
    }
}

#[tokio::test]
async fn open_pull_requests_into_a_branch_are_listed() {
    let elsewhere = |mut pull: Value, keys: &[&str], value: &str| {
        let mut at = &mut pull;
        for key in keys {
            at = &mut at[*key];
        }
        *at = Value::from(value);
        pull
    };
    let cases = [
        (
            ForgeKind::GitHub,
            vec![json!([hub(false)])],
            vec![
                "GET /api/v3/repos/team/apps/pulls?state=open&base=main&sort=updated&direction=desc&per_page=50&page=1",
            ],
        ),
        (
            // It has no filter for branches.
            ForgeKind::Gitea,
            vec![json!([
                hub(false),
                elsewhere(hub(false), &["base", "ref"], "old")
            ])],
            vec!["GET /api/v1/repos/team/apps/pulls?state=open&sort=recentupdate&limit=50&page=1"],
        ),
        (
            ForgeKind::GitLab,
            vec![json!([lab(false)])],
            vec![
                "GET /api/v4/projects/team%2Fapps/merge_requests?state=opened&target_branch=main&order_by=updated_at&sort=desc&per_page=50&page=1",
            ],
        ),
        (
            ForgeKind::BitbucketCloud,
            vec![json!({"values": [cloud(false)]}), commits()],
            vec![
                "GET /2.0/repositories/team/apps/pullrequests?q=state+%3D+%22OPEN%22+AND+destination.branch.name+%3D+%22main%22&sort=-updated_on&pagelen=50&page=1",
                "GET /2.0/repositories/team/apps/pullrequests/7/commits?pagelen=1",
            ],
        ),
        (
            ForgeKind::BitbucketDataCenter,
            vec![json!({"values": [center(false)], "isLastPage": true, "start": 0})],
            vec![
                "GET /rest/api/1.0/projects/team/repos/apps/pull-requests?state=OPEN&direction=INCOMING&at=refs%2Fheads%2Fmain&order=NEWEST&limit=50&start=0",
            ],
        ),
    ];
    for (kind, answers, lines) in cases {
        let replies: Vec<Reply> = answers.into_iter().map(|a| Reply::json(200, a)).collect();
        let asking = asking(kind, &replies).await;
        let listed = asking.client.open_pull_requests(&asking.spec, "main", NOW);
        let listed = listed.await.unwrap();
        let merge = (kind == ForgeKind::GitHub).then_some(TRIAL);
        assert_eq!(listed.pulls, [wanted(merge, false)], "{kind:?}");
        assert!(listed.complete);
        assert_eq!(asking.lines(), lines);
    }
    // Many pages: as many as are bounded, and told to be cut.
    let full = Value::from(vec![hub(false); 50]);
    let replies = vec![Reply::json(200, full); 10];
    let asking = asking(ForgeKind::GitHub, &replies).await;
    let listed = asking.client.open_pull_requests(&asking.spec, "main", NOW);
    let listed = listed.await.unwrap();
    assert_eq!((listed.pulls.len(), listed.complete), (200, false));
    assert_eq!(asking.forge.calls().len(), 4);
}

#[tokio::test]
async fn a_comment_is_written_and_then_changed() {
    let (hubs, mark) = (
        "<!-- evenkeel prod/shop/plan -->\n\n",
        "[//]: # (evenkeel prod/shop/plan)\n\n",
    );
    let cases = [
        (
            ForgeKind::GitHub,
            json!({"login": "bot"}),
            json!([]),
            json!([{"id": 1, "body": format!("{hubs}x"), "user": {"login": "eve"}},
                {"id": 2, "body": "hello", "user": {"login": "bot"}},
                {"id": 3, "body": format!("{hubs}first"), "user": {"login": "bot"}}]),
            vec![
                "GET /api/v3/user".to_owned(),
                "GET /api/v3/repos/team/apps/issues/7/comments?per_page=100&page=1".to_owned(),
                format!("POST /api/v3/repos/team/apps/issues/7/comments {}", json!({"body": format!("{hubs}first")})),
                "GET /api/v3/repos/team/apps/issues/7/comments?per_page=100&page=1".to_owned(),
                format!("PATCH /api/v3/repos/team/apps/issues/comments/3 {}", json!({"body": format!("{hubs}second")})),
            ],
        ),
        (
            ForgeKind::Gitea,
            json!({"login": "bot"}),
            json!([]),
            json!([{"id": 3, "body": format!("{hubs}first").replace('\n', "\r\n"), "user": {"login": "bot"}}]),
            vec![
                "GET /api/v1/user".to_owned(),
                "GET /api/v1/repos/team/apps/issues/7/comments?limit=100&page=1".to_owned(),
                format!("POST /api/v1/repos/team/apps/issues/7/comments {}", json!({"body": format!("{hubs}first")})),
                "GET /api/v1/repos/team/apps/issues/7/comments?limit=100&page=1".to_owned(),
                format!("PATCH /api/v1/repos/team/apps/issues/comments/3 {}", json!({"body": format!("{hubs}second")})),
            ],
        ),
        (
            ForgeKind::GitLab,
            json!({"username": "bot"}),
            json!([]),
            json!([{"id": 3, "body": format!("{hubs}first"), "author": {"username": "bot"}}]),
            vec![
                "GET /api/v4/user".to_owned(),
                "GET /api/v4/projects/team%2Fapps/merge_requests/7/notes?sort=asc&order_by=created_at&per_page=100&page=1".to_owned(),
                format!("POST /api/v4/projects/team%2Fapps/merge_requests/7/notes {}", json!({"body": format!("{hubs}first")})),
                "GET /api/v4/projects/team%2Fapps/merge_requests/7/notes?sort=asc&order_by=created_at&per_page=100&page=1".to_owned(),
                format!("PUT /api/v4/projects/team%2Fapps/merge_requests/7/notes/3 {}", json!({"body": format!("{hubs}second")})),
            ],
        ),
        (
            ForgeKind::BitbucketCloud,
            json!({"uuid": "{b}", "username": "bot"}),
            json!({"values": []}),
            json!({"values": [
                {"id": 2, "deleted": true, "content": {"raw": format!("{mark}first")}, "user": {"uuid": "{b}"}},
                {"id": 3, "content": {"raw": format!("{mark}first")}, "user": {"uuid": "{b}"}}]}),
            vec![
                "GET /2.0/user".to_owned(),
                "GET /2.0/repositories/team/apps/pullrequests/7/comments?sort=created_on&pagelen=100&page=1".to_owned(),
                format!("POST /2.0/repositories/team/apps/pullrequests/7/comments {}", json!({"content": {"raw": format!("{mark}first")}})),
                "GET /2.0/repositories/team/apps/pullrequests/7/comments?sort=created_on&pagelen=100&page=1".to_owned(),
                format!("PUT /2.0/repositories/team/apps/pullrequests/7/comments/3 {}", json!({"content": {"raw": format!("{mark}second")}})),
            ],
        ),
        (
            ForgeKind::BitbucketDataCenter,
            Value::Null,
            json!({"values": [], "isLastPage": true}),
            json!({"values": [
                {"action": "COMMENTED", "commentAction": "ADDED", "comment":
                    {"id": 3, "version": 4, "text": format!("{mark}first"), "author": {"name": "bot"}}},
                {"action": "COMMENTED", "commentAction": "ADDED", "comment":
                    {"id": 1, "version": 0, "text": format!("{mark}x"), "author": {"name": "eve"}}},
                {"action": "OPENED"}], "isLastPage": true}),
            vec![
                "GET /rest/api/1.0/projects/team/repos/apps/pull-requests/7/activities?limit=100&start=0".to_owned(),
                format!("POST /rest/api/1.0/projects/team/repos/apps/pull-requests/7/comments {}", json!({"text": format!("{mark}first")})),
                "GET /rest/api/1.0/projects/team/repos/apps/pull-requests/7/activities?limit=100&start=0".to_owned(),
                format!("PUT /rest/api/1.0/projects/team/repos/apps/pull-requests/7/comments/3 {}", json!({"text": format!("{mark}second"), "version": 4})),
            ],
        ),
    ];
    for (kind, me, none, some, lines) in cases {
        let ok = |body: Value| Reply::json(200, body).header("x-ausername", "bot");
        let mut replies = vec![
            ok(none),
            Reply::json(201, json!({"id": 3})),
            ok(some.clone()),
            ok(json!({})),
        ];
        if !me.is_null() {
            replies.insert(0, ok(me));
        }
        replies.push(ok(some));
        let asking = asking(kind, &replies).await;
        assert_eq!(asking.comment("first").await, Ok(()));
        assert_eq!(
            asking.comment("second").await,
            Ok(()),
            "{:#?}",
            asking.lines()
        );
        assert_eq!(asking.lines(), lines);
        // What it says already is not said again.
        assert_eq!(asking.comment("first").await, Ok(()));
        let calls = asking.forge.calls();
        assert_eq!(calls.len(), lines.len() + 1);
        assert_eq!(calls.last().unwrap().method, "GET");
    }
}

#[tokio::test]
async fn nobody_elses_comment_is_changed() {
    // The forge does not tell who we are; the oldest with our marker is not ours after all.
    let mark = "<!-- evenkeel prod/shop/plan -->\n\n";
    let theirs = json!([{"id": 1, "body": format!("{mark}x"), "user": {"login": "eve"}}]);
    let replies = [Reply::new(403), Reply::json(200, theirs), Reply::new(403)];
    let asking = asking(ForgeKind::Gitea, &replies).await;
    assert_eq!(asking.comment("first").await, Ok(()));
    let methods: Vec<String> = asking.forge.calls().into_iter().map(|c| c.method).collect();
    assert_eq!(methods, ["GET", "GET", "PATCH", "POST"]);
}

#[tokio::test]
async fn a_comment_is_cut_to_what_the_forge_takes() {
    let replies = [
        Reply::json(200, json!({"uuid": "{b}"})),
        Reply::json(200, json!({"values": []})),
    ];
    let asking = asking(ForgeKind::BitbucketCloud, &replies).await;
    assert_eq!(asking.comment(&"ü".repeat(40_000)).await, Ok(()));
    let calls = asking.forge.calls();
    let raw = calls[2].body["content"]["raw"].as_str().unwrap();
    assert_eq!(raw.chars().count(), 32_768);
    assert!(raw.ends_with("ü…"));
    let odd = PullComment {
        marker: "a --> b".to_owned(),
        body: String::new(),
    };
    let refused = asking
        .client
        .upsert_comment(&asking.spec, 7, &odd, NOW)
        .await;
    assert_eq!(refused.unwrap_err().kind, FailureKind::Refused);
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure() {
    let get = async |replies: &[Reply]| {
        let asking = asking(ForgeKind::GitHub, replies).await;
        let read = asking.client.pull_request(&asking.spec, 7, NOW).await;
        read.unwrap_err()
    };
    let html = Reply {
        body: "<html>".to_owned(),
        ..Reply::new(200)
    };
    assert_eq!(get(&[html]).await.kind, FailureKind::Faulty);
    let mut headless = hub(false);
    headless["head"]["sha"] = Value::from("../..");
    assert_eq!(
        get(&[Reply::json(200, headless)]).await.kind,
        FailureKind::Faulty
    );
    let none = get(&[Reply::new(404)]).await;
    assert_eq!(none.kind, FailureKind::NotFound);
    assert_eq!(get(&[Reply::new(401)]).await.kind, FailureKind::Credentials);
}
