//! Apps: documents, lists, verbs, why.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{Server, app};

const WEB: &str = "/api/v1/projects/shop/apps/web";

#[tokio::test]
async fn a_declared_app_has_a_document_and_a_reason() {
    let server = Server::start().await;
    let repository = server
        .follow("shop", &[("apps/web.yaml", &app("web"))])
        .await;
    let status = server.get(WEB).await.check(StatusCode::OK).body;
    assert_eq!(status["project"], "shop");
    assert_eq!(status["path"], "apps/web.yaml");
    assert_eq!(status["git"]["commit"], repository.head());
    assert_eq!(status["rejected"], Value::Null);
    assert_eq!(status["replicas"]["ready"], 0);

    // There is no node: the answer says so.
    server
        .until("the planner has looked", |s| {
            let key = "shop/web".parse().unwrap();
            s.handle.app_report(&key).is_some()
        })
        .await;
    let why = server
        .get(&format!("{WEB}/why"))
        .await
        .check(StatusCode::OK);
    assert!(!why.body["reasons"].as_array().unwrap().is_empty());
    assert!(why.text.contains("node"), "{}", why.text);

    server.register("n1").await;
    server
        .until("an instance is placed", |s| {
            let key = "shop/web".parse().unwrap();
            s.handle
                .read(|s| !s.apps[&key].instances.is_empty())
                .unwrap()
        })
        .await;
    let instances = server.get(&format!("{WEB}/instances")).await.body;
    assert_eq!(instances["items"][0]["node"], "n1");
    assert_eq!(instances["items"][0]["commit"], repository.head());
    let releases = server.get(&format!("{WEB}/releases")).await.body;
    assert_eq!(releases["items"][0]["state"], "new");
    assert_eq!(releases["items"][0]["current"], true);
    let rollouts = server.get(&format!("{WEB}/rollouts")).await.body;
    assert_eq!(rollouts["items"][0]["kind"], "forward");
    let nodes = server.get("/api/v1/nodes").await.body;
    assert_eq!(nodes["items"][0]["instances"], 1);
    server.stop().await;
}

#[tokio::test]
async fn verbs_change_the_app_or_say_why_not() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let verb = |verb: &str, body: Value| {
        let path = format!("{WEB}/{verb}");
        let server = &server;
        async move { server.post(&path, body).await }
    };
    let suspended = verb("suspend", json!({"reason": "freeze"}))
        .await
        .check(StatusCode::OK);
    assert_eq!(suspended.body["suspended"]["reason"], "freeze");
    assert_eq!(suspended.body["suspended"]["by"], "admin");
    let again = verb("suspend", json!({})).await;
    again.problem(409, "conflict");
    assert!(
        again.body["detail"].as_str().unwrap().contains("admin"),
        "{}",
        again.text
    );
    let resumed = verb("resume", json!({})).await.check(StatusCode::OK);
    assert_eq!(resumed.body["suspended"], Value::Null);
    verb("resume", json!({})).await.problem(409, "conflict");
    verb("release", json!({})).await.problem(409, "conflict");
    verb("rollback", json!({})).await.problem(409, "conflict");
    verb("resume", json!({"reason": "x"}))
        .await
        .problem(422, "invalid");
    verb("suspend", json!({"reason": "x".repeat(2000)}))
        .await
        .problem(422, "invalid");
    verb("explode", json!({})).await.problem(404, "not-found");
    let gone = server
        .post("/api/v1/projects/shop/apps/wep/suspend", json!({}))
        .await;
    gone.problem(404, "not-found");
    let near = server.get("/api/v1/projects/shop/apps/wep").await;
    assert_eq!(near.body["hint"], "evenkeel status shop/web");

    // Each left its trace, with who and why.
    let events = server
        .get("/api/v1/events?app=shop/web&kind=app.suspended")
        .await
        .body;
    assert_eq!(events["items"][0]["actor"], "user:admin");
    assert!(
        events["items"][0]["message"]
            .as_str()
            .unwrap()
            .contains("freeze")
    );
    server.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages_and_can_be_narrowed() {
    let server = Server::start().await;
    let names = ["a", "b", "c", "d", "e"];
    server.follow_apps("shop", &names).await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/apps?limit=2".to_owned();
    loop {
        let page = server.get(&path).await.check(StatusCode::OK).body;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|a| a["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/apps?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, names);
    let one = server.get("/api/v1/apps?name=c").await.body;
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let none = server.get("/api/v1/apps?project=other").await.body;
    assert_eq!(none["items"], json!([]));
    let page = server.request(reqwest::Method::GET, "/");
    let page = crate::server::Answer::of(page).await;
    assert!(
        page.text.contains("shop/a") && page.text.contains("sync.ok"),
        "{}",
        page.text
    );
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("evenkeel_leader 1"), "{metrics}");
    assert!(metrics.contains("evenkeel_sources 1"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn what_a_verb_takes_is_bounded() {
    use evenkeel::api::exec::MAX_COMMAND_BYTES;
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let long = "x".repeat(MAX_COMMAND_BYTES);
    let wordy = "x".repeat(1001);
    for (verb, body, words) in [
        ("exec", json!({"command": []}), "name a program"),
        ("exec", json!({"command": ["ls", long]}), "bytes; at most"),
        ("exec", json!({"command": ["l\0s"]}), "NUL"),
        (
            "exec",
            json!({"command": ["ls"], "timeout": "61m"}),
            "at most 3600s",
        ),
        (
            "exec",
            json!({"command": ["ls"], "timeout": "0s"}),
            "more than 0s",
        ),
        (
            "exec",
            json!({"command": ["ls"], "timeout": "soon"}),
            "timeout: ",
        ),
        (
            "exec",
            json!({"command": ["ls"], "reason": wordy}),
            "1001 bytes",
        ),
        ("restart", json!({"reason": wordy}), "1001 bytes"),
        ("suspend", json!({"for": "0s"}), "would end at once"),
        ("suspend", json!({"for": "soon"}), "for: "),
        ("suspend", json!({"for": "9000h"}), "for: "),
        ("scale", json!({"replicas": 10_001}), "10000"),
        ("scale", json!({"replicas": -1}), "does not fit"),
    ] {
        let path = format!("/api/v1/projects/shop/apps/web/{verb}");
        let answer = server.post(&path, body.clone()).await;
        answer.problem(422, "invalid");
        let detail = answer.body["detail"].as_str().unwrap();
        let shown: String = detail.chars().take(200).collect();
        assert!(
            detail.contains(words) && detail.len() < 500,
            "{verb} {words}: {shown}"
        );
    }
    let web = server.get("/api/v1/projects/shop/apps/web").await.body;
    assert_eq!(
        (&web["suspended"], &web["scaled"]),
        (&Value::Null, &Value::Null)
    );
    server.stop().await;
}
