//! Operators at their terminals: what one of them does is meant for what they have seen, and
//! who comes second is told who was faster, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cli::{Run, run};
use crate::server::{ADMIN, Server, app};

/// Between an operator's program and the server: after the first document of the subject has
/// been answered, and before that is heard, somebody else acts.
struct Between {
    server: String,
    subject: &'static str,
    faster: (String, &'static str, Value),
    acted: AtomicBool,
}

impl Between {
    async fn start(
        server: &Server,
        subject: &'static str,
        by: &str,
        verb: &'static str,
        body: Value,
    ) -> String {
        let between = Arc::new(Between {
            server: server.url.clone(),
            subject,
            faster: (by.to_owned(), verb, body),
            acted: AtomicBool::new(false),
        });
        let router = Router::new().fallback(pass).with_state(between);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

async fn pass(State(between): State<Arc<Between>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let reads = head.method == reqwest::Method::GET && head.uri.path() == between.subject;
    let url = format!("{}{}", between.server, head.uri.path_and_query().unwrap());
    let http = reqwest::Client::new();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let asked = http
        .request(head.method, url)
        .headers(head.headers)
        .body(body);
    let answer = asked.send().await.unwrap();
    if reads && !between.acted.swap(true, Ordering::SeqCst) {
        let (by, verb, body) = &between.faster;
        let url = format!("{}{}/{verb}", between.server, between.subject);
        let done = http
            .post(url)
            .bearer_auth(by)
            .json(body)
            .send()
            .await
            .unwrap();
        assert_eq!(done.status(), StatusCode::OK);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    let kind = answer.headers()["content-type"].clone();
    response.headers_mut().insert("content-type", kind);
    *response.body_mut() = Body::from(answer.bytes().await.unwrap());
    response
}

async fn token(server: &Server, name: &str) -> String {
    let args = ["token", "create", name, "--role", "operator", "-o", "json"];
    let made = run(Some(&server.url), ADMIN, &args).await.check(0);
    made.json()["token"].as_str().unwrap().to_owned()
}

/// That it was refused since `who` did `what` before, and says where to look.
#[track_caller]
fn came_second(run: Run, who: &str, what: &str, look: &str) {
    let run = run.check(1);
    let told = &run.err;
    let time = regex::Regex::new(r" at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z: ").unwrap();
    assert!(told.starts_with("error: nothing was changed"), "{told}");
    assert!(told.contains(who) && told.contains(what), "{told}");
    assert!(time.is_match(told), "{told}");
    assert!(told.contains(&format!("\n  try: {look}")), "{told}");
    assert_eq!(run.out, "");
}

const WEB: &str = "/api/v1/projects/shop/apps/web";

#[tokio::test]
async fn verbs_that_look_first_do_not_act_on_what_changed_meanwhile() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let (ann, ben) = (token(&server, "ann").await, token(&server, "ben").await);
    for (number, args) in [
        ["scale", "web", "9"].as_slice(),
        &["scale", "web", "--reset"],
        &["restart", "web"],
        &["rollback", "web"],
        &["release", "web"],
        &["rollout", "resume", "web"],
        &["rollout", "abort", "web"],
    ]
    .iter()
    .enumerate()
    {
        let verb = if number % 2 == 0 { "suspend" } else { "resume" };
        let url = Between::start(&server, WEB, &ben, verb, json!({})).await;
        let late = run(Some(&url), &ann, args).await;
        let what = if number % 2 == 0 {
            "ben suspended shop/web"
        } else {
            "ben resumed shop/web"
        };
        came_second(late, "ben", what, "evenkeel status shop/web");
    }
    let now = server.get(WEB).await.body;
    assert_eq!(now["scaled"], Value::Null);
    // Without anybody between it is done.
    run(Some(&server.url), &ann, &["scale", "web", "9"])
        .await
        .check(0);
    server.stop().await;
}

#[tokio::test]
async fn an_operator_may_say_what_they_have_seen() {
    let server = Server::start().await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let (ann, ben) = (token(&server, "ann").await, token(&server, "ben").await);
    let by = async |token: &str, args: &[&str]| run(Some(&server.url), token, args).await;
    let version = async |args: &[&str]| {
        let shown = by(&ann, &[args, &["-o", "json"]].concat()).await.check(0);
        shown.json()["version"].as_u64().unwrap().to_string()
    };

    // What people are shown holds the version, too.
    let seen = version(&["status", "web"]).await;
    let shown = by(&ann, &["status", "web"]).await.check(0).out;
    assert!(shown.contains(&format!("  version   {seen}\n")), "{shown}");
    by(&ben, &["suspend", "web", "--as-of", &seen])
        .await
        .check(0);
    for args in [
        ["suspend", "web"].as_slice(),
        &["resume", "web"],
        &["scale", "web", "3"],
        &["restart", "web"],
        &["rollback", "web"],
        &["release", "web"],
        &["rollout", "pause", "web"],
        &["rollout", "resume", "web"],
        &["rollout", "abort", "web"],
    ] {
        let late = by(&ann, &[args, &["--as-of", &seen]].concat()).await;
        came_second(
            late,
            "ben",
            "ben suspended shop/web",
            "evenkeel status shop/web",
        );
    }
    let seen = version(&["status", "web"]).await;
    by(&ann, &["resume", "web", "--as-of", &seen])
        .await
        .check(0);

    // Sources are the admins'.
    let admin = async |args: &[&str]| by(ADMIN, args).await;
    let seen = version(&["source", "show", "shop"]).await;
    let shown = admin(&["source", "show", "shop"]).await.check(0).out;
    assert!(shown.contains(&format!("  version   {seen}\n")), "{shown}");
    let path = repository.path.to_str().unwrap();
    let put = [
        "source",
        "add",
        "shop",
        path,
        "-p",
        "shop",
        "--replace",
        "--as-of",
    ];
    admin(&[&put[..], &[&seen]].concat()).await.check(0);
    let look = "evenkeel source show shop";
    came_second(
        admin(&[&put[..], &[&seen]].concat()).await,
        "admin",
        "shop",
        look,
    );
    for verb in ["remove", "approve"] {
        let late = admin(&["source", verb, "shop", "--as-of", &seen]).await;
        came_second(late, "admin", "shop", look);
    }
    let seen = version(&["source", "show", "shop"]).await;
    let remove = ["source", "remove", "shop", "--prune", "--as-of", &seen];
    admin(&remove).await.check(0);

    server.register("n1").await;
    let nodes = by(&ann, &["nodes", "-o", "json"]).await.check(0).json();
    let seen = nodes[0]["version"].to_string();
    by(&ben, &["cordon", "n1", "--as-of", &seen]).await.check(0);
    for verb in ["cordon", "uncordon", "drain"] {
        let late = by(&ann, &[verb, "n1", "--as-of", &seen]).await;
        came_second(late, "ben", "ben cordon", "evenkeel nodes");
    }
    server.stop().await;
}

/// Who may only look may also wait; the next poll tells what a sync would have.
#[tokio::test]
async fn a_viewer_may_wait_and_no_more() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let args = ["token", "create", "eve", "-o", "json"];
    let made = run(Some(&server.url), ADMIN, &args).await.check(0);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let by = async |args: &[&str]| run(Some(&server.url), &token, args).await;
    let waited = by(&["status", "web", "--wait", "--timeout", "2s"])
        .await
        .check(4);
    assert!(
        waited.err.contains("evenkeel why shop/web") || waited.err.contains("evenkeel why web"),
        "{}",
        waited.err
    );
    for args in [
        ["scale", "web", "3"].as_slice(),
        &["restart", "web"],
        &["rollback", "web"],
        &["release", "web"],
        &["suspend", "web"],
        &["resume", "web"],
        &["rollout", "pause", "web"],
        &["rollout", "resume", "web"],
        &["rollout", "abort", "web"],
        &["exec", "web", "--", "ls"],
        &["cordon", "n1"],
        &["uncordon", "n1"],
        &["drain", "n1"],
        &["source", "sync", "shop"],
        &["source", "sync", "shop", "--wait"],
        &["source", "approve", "shop"],
        &["source", "remove", "shop"],
        &["source", "add", "other", "/srv/other"],
        &["token", "list"],
        &["token", "create", "more"],
        &["token", "revoke", "eve"],
    ] {
        let told = by(args).await.check(3).err;
        assert!(
            told.contains("role") && told.contains("try: "),
            "{args:?}: {told}"
        );
        assert!(told.contains("evenkeel token create"), "{args:?}: {told}");
    }
    server.stop().await;
}

/// Behind whichever controller a terminal is, its commands follow each other, and waits end with
/// what is, not with what was.
#[tokio::test]
async fn a_terminal_may_speak_to_a_controller_that_does_not_lead() {
    let (leader, follower) = Server::pair().await;
    let repository = leader.follow("shop", &[("web.yaml", &none("web"))]).await;
    let cli = async |args: &[&str]| run(Some(&follower.url), ADMIN, args).await;
    cli(&["status", "web", "--wait"]).await.check(0);
    for _ in 0..3 {
        cli(&["suspend", "web"]).await.check(0);
        cli(&["scale", "web", "2"]).await.check(0);
        cli(&["scale", "web", "--reset"]).await.check(0);
        cli(&["resume", "web"]).await.check(0);
    }
    // Nothing can serve here: what is ready now is from before.
    let wait = ["--wait", "--timeout", "2s"];
    cli(&[&["scale", "web", "2"], &wait[..]].concat())
        .await
        .check(4);
    cli(&["scale", "web", "--reset", "--wait"]).await.check(0);

    for number in 0..3 {
        let next = none("web").replace("1000", &format!("20{number}"));
        repository.commit(&[("web.yaml", &next)]);
        let done = cli(&["source", "sync", "shop", "--wait"]).await.check(0);
        let head = repository.head();
        assert!(done.err.contains(&head[..8]), "{}", done.err);
        let shown = cli(&["status", "web", "--wait", "-o", "json"])
            .await
            .check(0);
        assert_eq!(shown.json()["git"]["commit"], head);
    }
    leader.register("n1").await;
    let drained = cli(&["drain", "n1", "--wait", "--timeout", "10s"]).await;
    assert!(drained.check(0).err.contains("node n1 is empty"));
    follower.stop().await;
    leader.stop().await;
}

/// An app of no instances: all of it is well without a node.
fn none(name: &str) -> String {
    app(name) + "  replicas: 0\n"
}

/// Somebody looks at three deletions; a commit makes it four before they say yes.
#[tokio::test]
async fn deletions_are_let_through_as_they_were_seen() {
    let server = Server::start().await;
    let repository = server.follow_apps("shop", &["a", "b", "c", "d", "e"]).await;
    let cli = async |args: &[&str]| run(Some(&server.url), ADMIN, args).await;
    let take = async |gone: &[&str]| {
        for name in gone {
            repository.git(&["rm", "-q", name]);
        }
        repository.git(&["commit", "-q", "-m", "fewer"]);
        cli(&["source", "sync", "shop"]).await.check(0);
        let head = repository.head();
        server
            .until_says("/api/v1/sources/shop", "/lastApplied", &head)
            .await;
        cli(&["source", "show", "shop"]).await.check(0).out
    };
    let line = regex::Regex::new(r"evenkeel (source approve shop --as-of \d+)\n").unwrap();
    let told = take(&["a.yaml", "b.yaml", "c.yaml"]).await;
    let typed = line.captures(&told).unwrap()[1].to_owned();
    let again = take(&["d.yaml"]).await;
    let words: Vec<&str> = typed.split(' ').collect();
    came_second(
        cli(&words).await,
        "source shop",
        "applied: 1 spec file",
        "evenkeel source show shop",
    );
    let held = server.get("/api/v1/sources/shop").await.body;
    assert_eq!(held["held"]["deletions"].as_array().unwrap().len(), 4);
    let typed = line.captures(&again).unwrap()[1].to_owned();
    let words: Vec<&str> = typed.split(' ').collect();
    cli(&words).await.check(0);
    server.stop().await;
}
