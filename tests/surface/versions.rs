//! Versions of what is read: tags, waits, and changes by two operators at once.

use evenkeel::client::{self, Client};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{ADMIN, Answer, DEADLINE, Server, app, report};

const WEB: &str = "/api/v1/projects/shop/apps/web";

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

fn version(document: &Value) -> u64 {
    document["version"].as_u64().unwrap()
}

impl Server {
    async fn asking(&self, path: &str, name: &'static str, value: &str) -> Answer {
        let request = self.request(Method::GET, path).header(name, value);
        Answer::of(request).await
    }

    /// A verb by another operator, as of what they have seen.
    fn act(
        &self,
        token: &str,
        path: &str,
        body: Value,
        seen: &str,
    ) -> impl Future<Output = Answer> + use<> {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.bearer_auth(token).header("if-match", seen);
        Answer::of(request.json(&body).timeout(DEADLINE))
    }

    async fn token(&self, name: &str) -> String {
        let body = json!({"name": name, "role": "operator"});
        let made = self.post("/api/v1/tokens", body).await;
        let made = made.check(StatusCode::CREATED).body;
        made["token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    server
        .until("the planner has looked", |s| {
            s.handle.app_report(&"shop/web".parse().unwrap()).is_some()
        })
        .await;
    for path in [WEB, "/api/v1/apps", "/api/v1/tokens", "/openapi.json"] {
        let first = server.get(path).await.check(StatusCode::OK);
        let known = tag(&first);
        for list in [known.clone(), format!("\"x\", W/{known}")] {
            let again = server.asking(path, "if-none-match", &list).await;
            assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{path}");
            assert_eq!((again.text.as_str(), tag(&again)), ("", known.clone()));
        }
        let other = server.asking(path, "if-none-match", "\"other\"").await;
        assert_eq!(other.check(StatusCode::OK).body, first.body, "{path}");
    }
    let before = server.get(WEB).await;
    assert!(tag(&before).starts_with(&format!("\"{}-", version(&before.body))));
    let verb = format!("{WEB}/suspend");
    server.post(&verb, json!({})).await.check(StatusCode::OK);
    let after = server.asking(WEB, "if-none-match", &tag(&before)).await;
    let after = after.check(StatusCode::OK);
    assert!(version(&after.body) > version(&before.body));
    assert_ne!(tag(&after), tag(&before));
    server.stop().await;
}

#[tokio::test]
async fn a_version_can_be_waited_for() {
    let server = Server::start().await;
    let path = format!("{WEB}?wait=1&timeout=60s");
    let web = app("web");
    let files = [("web.yaml", web.as_str())];
    let (early, _) = tokio::join!(server.get(&path), server.follow("shop", &files));
    // Asked for before there was such an app.
    let seen = version(&early.check(StatusCode::OK).body);

    let client = Client::new(&server.url, Some(ADMIN.to_owned())).unwrap();
    let key = "shop/web".parse().unwrap();
    let source: Value = server.get("/api/v1/sources/shop").await.body;
    server.register("n1").await;
    let placed = async {
        let mut status = client.app_at(&key, seen, DEADLINE).await.unwrap();
        while status.instances.is_empty() {
            status = client
                .app_at(&key, status.version + 1, DEADLINE)
                .await
                .unwrap();
        }
        status
    };
    let placed = tokio::time::timeout(DEADLINE, placed).await.unwrap();
    assert!(placed.version > seen);
    let node = server.get("/api/v1/nodes/n1?wait=1").await.body;
    assert!(version(&node) >= 1 && version(&source) >= 1);

    // The time is bounded, and what is known is told at its end.
    let far = server
        .get(&format!("{WEB}?wait=999999999&timeout=200ms"))
        .await;
    assert!(version(&far.check(StatusCode::OK).body) < 999_999_999);
    let none = "/api/v1/projects/shop/apps/none?wait=1&timeout=100ms";
    server.get(none).await.problem(404, "not-found");
    for odd in ["?wait=soon", "?wait=1&timeout=2h", "?timeout=3s"] {
        let refused = server.get(&format!("{WEB}{odd}")).await;
        refused.problem(400, "bad-request");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wait_ends_with_its_token_and_with_what_is_waited_for() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let token = server.token("jane").await;
    let waiting = |what: &str| {
        let url = format!("{}{what}?wait=999999999&timeout=60s", server.url);
        let request = server.http.get(url).bearer_auth(&token).timeout(DEADLINE);
        tokio::spawn(Answer::of(request))
    };
    let gone = waiting("/api/v1/sources/shop");
    let request = server.request(Method::DELETE, "/api/v1/sources/shop?prune=true");
    Answer::of(request).await.check(StatusCode::ACCEPTED);
    let gone = tokio::time::timeout(DEADLINE / 2, gone).await.unwrap();
    gone.unwrap().problem(404, "not-found");

    server.register("n1").await;
    let refused = waiting("/api/v1/nodes/n1");
    let revoke = server.request(Method::DELETE, "/api/v1/tokens/jane");
    Answer::of(revoke).await.check(StatusCode::NO_CONTENT);
    let refused = tokio::time::timeout(DEADLINE / 2, refused).await.unwrap();
    refused.unwrap().problem(401, "unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn the_second_of_two_operators_is_told_who_was_faster() {
    let server = Server::start().await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let (jane, joe) = (server.token("jane").await, server.token("joe").await);
    let seen = tag(&server.get(WEB).await);
    let scale = format!("{WEB}/scale");
    let first = server.act(&jane, &scale, json!({"replicas": 3}), &seen);
    let first = first.await.check(StatusCode::OK).body;

    let late = server
        .act(&joe, &scale, json!({"replicas": 5}), &seen)
        .await;
    late.problem(412, "overtaken");
    let act = &late.body["lastAct"];
    assert_eq!(act["by"], "jane");
    assert!(act["at"].as_str().unwrap().starts_with("20"), "{act}");
    let what = act["what"].as_str().unwrap();
    assert!(what.contains("jane scaled shop/web to 3"), "{what}");
    let detail = late.body["detail"].as_str().unwrap();
    assert!(detail.contains(what) && detail.contains(act["at"].as_str().unwrap()));
    assert_eq!(server.get(WEB).await.body["scaled"]["replicas"], 3);

    // What nodes report is nobody's act: it moves the version, and takes nothing from jane.
    let as_of = format!("\"{}\"", version(&first));
    server.register("n1").await;
    let client = Client::new(&server.url, Some(ADMIN.to_owned())).unwrap();
    let key = "shop/web".parse().unwrap();
    let next = version(&first) + 1;
    let moved = client.app_at(&key, next, DEADLINE).await.unwrap();
    assert!(moved.version > version(&first), "instances were placed");
    let second = server.act(&jane, &scale, json!({"replicas": 5}), &as_of);
    second.await.check(StatusCode::OK);

    // A commit counts as somebody, too.
    let before = server.get(WEB).await;
    let changed = app("web").replace("1000", "2000");
    repository.commit(&[("web.yaml", &changed)]);
    server
        .post("/api/v1/sources/shop/sync", json!({}))
        .await
        .check(StatusCode::ACCEPTED);
    server
        .until_says(WEB, "/git/commit", &repository.head())
        .await;
    let suspend = format!("{WEB}/suspend");
    let late = server.act(&joe, &suspend, json!({}), &tag(&before)).await;
    late.problem(412, "overtaken");
    assert_eq!(late.body["lastAct"]["by"], "source shop");
    for verb in ["suspend", "resume"] {
        let any = if verb == "suspend" {
            "*".to_owned()
        } else {
            tag(&server.get(WEB).await)
        };
        let done = server.act(&joe, &format!("{WEB}/{verb}"), json!({}), &any);
        done.await.check(StatusCode::OK);
    }
    let odd = server.act(&joe, &suspend, json!({}), "yesterday").await;
    odd.problem(400, "bad-request");

    // Without a version the state decides, and the refusal still tells who was there before.
    let resume = server.post(&format!("{WEB}/resume"), json!({})).await;
    resume.problem(409, "conflict");
    assert_eq!(resume.body["lastAct"]["by"], "joe");
    let detail = resume.body["detail"].as_str().unwrap();
    assert!(detail.contains("joe resumed shop/web"), "{detail}");
    server.stop().await;
}

#[tokio::test]
async fn of_many_at_the_same_moment_one_wins() {
    let server = Server::start().await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let seen = tag(&server.get(WEB).await);
    let path = format!("{WEB}/scale");
    let acts = (2..10).map(|n| server.act(ADMIN, &path, json!({"replicas": n}), &seen));
    let answers = futures_util::future::join_all(acts).await;
    let won: Vec<&Answer> = answers.iter().filter(|a| a.status.is_success()).collect();
    assert_eq!(won.len(), 1);
    let wanted = won[0].body["scaled"]["replicas"].as_u64();
    assert!(answers.iter().filter(|a| a.status == 412).count() == 7);
    let now = server.get(WEB).await.body;
    assert_eq!(now["scaled"]["replicas"].as_u64(), wanted);
    server.stop().await;
}

#[tokio::test]
async fn settings_of_sources_and_nodes_are_not_lost_to_each_other() {
    let server = Server::start().await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let source = "/api/v1/sources/shop";
    let seen = server.get(source).await;
    let put = |interval: &str| {
        let body = json!({"name": "shop", "url": repository.path, "project": "shop",
            "interval": interval});
        let request = server.request(Method::PUT, source);
        Answer::of(request.header("if-match", tag(&seen)).json(&body))
    };
    put("5m").await.check(StatusCode::OK);
    let late = put("9m").await;
    late.problem(412, "overtaken");
    assert_eq!(late.body["lastAct"]["by"], "admin");
    assert_eq!(server.get(source).await.body["interval"], "5m");
    let remove = server.request(Method::DELETE, &format!("{source}?prune=true"));
    let remove = Answer::of(remove.header("if-match", tag(&seen))).await;
    remove.problem(412, "overtaken");

    server.register("n1").await;
    let node = server.get("/api/v1/nodes/n1").await;
    let verb = |verb: &str| format!("/api/v1/nodes/n1/{verb}");
    let drain = server.act(ADMIN, &verb("drain"), json!({}), &tag(&node));
    let drained = drain.await.check(StatusCode::OK).body;
    assert!(version(&drained) > version(&node.body));
    let open = server.act(ADMIN, &verb("uncordon"), json!({}), &tag(&node));
    open.await.problem(412, "overtaken");
    // Its reports go on and are nobody's act.
    let mut same = report("n1");
    same["sequence"] = json!(2);
    let reports = format!("{}/api/v1/agent/reports", server.url);
    let said = server.http.post(reports).bearer_auth(crate::server::AGENTS);
    Answer::of(said.json(&same))
        .await
        .check(StatusCode::NO_CONTENT);
    let client = Client::new(&server.url, Some(ADMIN.to_owned())).unwrap();
    let name = "n1".parse().unwrap();
    let opened = client.as_of(version(&drained));
    opened.schedule(&name, "uncordon", None).await.unwrap();
    let again = opened.schedule(&name, "cordon", None).await.unwrap_err();
    assert!(matches!(again, client::Error::Problem(p) if p.status == 412));
    server.stop().await;
}

#[tokio::test]
async fn a_follower_has_versions_that_the_leader_understands() {
    let (leader, follower) = Server::pair().await;
    leader.follow("shop", &[("web.yaml", &app("web"))]).await;
    let known = version(&leader.get(WEB).await.body);
    let path = format!("{WEB}?wait={known}&timeout=60s");
    let seen = follower.get(&path).await.check(StatusCode::OK);
    let next = format!("{WEB}?wait={}&timeout=60s", version(&seen.body) + 1);
    let suspend = format!("{WEB}/suspend");
    let (woken, done) = tokio::join!(
        follower.get(&next),
        follower.act(ADMIN, &suspend, json!({}), &tag(&seen))
    );
    done.check(StatusCode::OK);
    assert_eq!(woken.body["suspended"]["by"], "admin", "{}", woken.text);
    let late = follower.act(ADMIN, &format!("{WEB}/resume"), json!({}), &tag(&seen));
    late.await.problem(412, "overtaken");
    follower.stop().await;
    leader.stop().await;
}
