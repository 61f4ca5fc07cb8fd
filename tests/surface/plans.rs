//! What `/plan` and `evenkeel plan` say of a tree, against a live cluster.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cli::run;
use crate::server::{ADMIN, Answer, Server, app};

fn file(path: &str, text: &str) -> Value {
    json!({"path": path, "text": text})
}

fn found<'a>(plan: &'a Value, app: &str) -> &'a Value {
    let apps = plan["apps"].as_array().unwrap();
    let found = apps.iter().find(|a| a["app"] == app);
    found.unwrap_or_else(|| panic!("no {app} in {plan:#}"))
}

#[tokio::test]
async fn a_tree_is_planned_and_nothing_is_changed() {
    let server = Server::start().await;
    server.register("n1").await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let generation = server.handle.status().generation;

    let changed = app("web").replace("1000", "2000");
    let secret = "      env: {DB_PASSWORD: hunter2}\n".trim_start();
    let with_secret = format!("{}  {secret}", app("api"));
    let files = json!([file("web.yaml", &changed), file("api.yaml", &with_secret)]);
    let plan = server
        .post("/api/v1/plan", json!({"source": "shop", "files": files}))
        .await
        .check(StatusCode::OK);
    assert!(!plan.text.contains("hunter2"), "{}", plan.text);
    let plan = plan.body;
    assert_eq!(plan["verdict"], "changes");
    assert_eq!(plan["counts"]["replace"], 1, "{plan:#}");
    assert_eq!(plan["counts"]["create"], 1, "{plan:#}");
    let web = found(&plan, "shop/web");
    assert_eq!(web["fields"][0]["field"], "command");
    assert_eq!(found(&plan, "shop/api")["places"][0]["node"], "n1");

    let head = repository.head();
    let same = json!({"source": "shop", "commit": head});
    let same = server
        .post("/api/v1/plan", same)
        .await
        .check(StatusCode::OK);
    assert_eq!(same.body["verdict"], "unchanged");
    assert_eq!(same.body["commit"], head);
    let none = server.get("/api/v1/projects/shop/apps/api").await;
    none.problem(404, "not-found");
    let events = server.get("/api/v1/events?limit=200").await.text;
    assert!(!events.contains("shop/api"), "{events}");
    assert!(server.handle.status().generation >= generation);
    server.stop().await;
}

#[tokio::test]
async fn bad_trees_are_told_kindly() {
    let server = Server::start().await;
    server.register("n1").await;
    server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let plan = async |body: Value| server.post("/api/v1/plan", body).await;

    let wrong = app("web").replace("process:", "proces:");
    let body = json!({"source": "shop", "files": [file("web.yaml", &wrong)]});
    let invalid = plan(body).await.check(StatusCode::OK).body;
    assert_eq!(invalid["verdict"], "blocked");
    let problem = &invalid["problems"][0];
    assert_eq!(
        (&problem["file"], &problem["line"]),
        (&json!("web.yaml"), &json!(6))
    );
    assert_eq!(found(&invalid, "shop/web")["action"], "invalid");

    let big = app("big") + "  resources: {requests: {memory: 100Gi}}\n";
    let body =
        json!({"source": "shop", "files": [file("web.yaml", &app("web")), file("big.yaml", &big)]});
    let never = plan(body).await.check(StatusCode::OK).body;
    assert_eq!(never["verdict"], "blocked", "{never:#}");
    let reason = found(&never, "shop/big")["fit"]["reason"].as_str().unwrap();
    assert!(reason.contains("not enough memory"), "{reason}");

    // A source that is not there yet; its app belongs to the one that is.
    let body =
        json!({"source": "other", "project": "shop", "files": [file("a.yaml", &app("web"))]});
    let other = plan(body).await.check(StatusCode::OK).body;
    assert_eq!(found(&other, "shop/web")["action"], "foreign");

    let missing = json!({"source": "shop", "commit": "0123456789012345678901234567890123456789"});
    plan(missing).await.problem(404, "not-found");
    plan(json!({"source": "shop", "commit": "HEAD"}))
        .await
        .problem(422, "invalid");
    plan(json!({"source": "shop"}))
        .await
        .problem(422, "invalid");
    plan(json!({"source": "shop", "files": [], "commit": "0"}))
        .await
        .problem(422, "invalid");
    plan(json!({"source": "none", "commit": "0123456789012345678901234567890123456789"}))
        .await
        .problem(404, "not-found");
    for path in ["../web.yaml", "/etc/passwd", "a//b.yaml", ""] {
        let body = json!({"source": "shop", "files": [file(path, "x")]});
        plan(body).await.problem(422, "invalid");
    }
    let twice = json!([file("a.yaml", "x"), file("a.yaml", "y")]);
    plan(json!({"source": "shop", "files": twice}))
        .await
        .problem(422, "invalid");
    let odd = json!([{"path": "a.yaml", "base64": "?"}]);
    plan(json!({"source": "shop", "files": odd}))
        .await
        .problem(422, "invalid");
    let both = json!([{"path": "a.yaml", "text": "", "more": 1}]);
    plan(json!({"source": "shop", "files": both}))
        .await
        .problem(422, "invalid");
    let huge = json!({"source": "shop", "files": [file("a.yaml", &"x".repeat(17 << 20))]});
    let huge = plan(huge).await;
    huge.problem(413, "too-large");
    assert!(huge.text.contains(&(16 << 20).to_string()), "{}", huge.text);
    let no_token = server.http.post(format!("{}/api/v1/plan", server.url));
    Answer::of(no_token.json(&json!({})))
        .await
        .problem(401, "unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn the_command_plans_a_folder() {
    let server = Server::start().await;
    server.register("n1").await;
    let repository = server.follow("shop", &[("web.yaml", &app("web"))]).await;
    let dir = repository.path.to_str().unwrap().to_owned();
    let plan = async |more: &[&str]| {
        let args: Vec<&str> = ["plan", &dir]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        run(Some(&server.url), ADMIN, &args).await
    };
    let write = |name: &str, text: &str| std::fs::write(repository.path.join(name), text).unwrap();

    let same = plan(&["--detailed-exitcode"]).await.check(0);
    assert_eq!(same.out, "No changes: no app would change.\n");

    write("web.yaml", &app("web").replace("1000", "2000"));
    write("api.yaml", &app("api"));
    let table = plan(&[]).await.check(0);
    for line in [
        "+ shop/api is created, 1 replica (api.yaml)",
        "~ shop/web is replaced, 1 replica (web.yaml)",
        "    new instances slot 0 on n1",
        "Plan: 1 created, 1 replaced. Downtime: none.",
    ] {
        assert!(
            table.out.lines().any(|l| l == line),
            "no \"{line}\" in {}",
            table.out
        );
    }
    assert!(!table.out.contains('\x1b'), "{}", table.out);
    plan(&["--detailed-exitcode"]).await.check(5);
    let json = plan(&["-o", "json"]).await.check(0).json();
    assert_eq!(json["counts"]["create"], 1);
    let yaml = plan(&["-o", "yaml", "--source", "shop"]).await.check(0);
    assert!(yaml.out.contains("verdict: changes"), "{}", yaml.out);

    write(
        "big.yaml",
        &(app("big") + "  resources: {requests: {memory: 100Gi}}\n"),
    );
    let never = plan(&[]).await.check(1);
    assert!(
        never.out.contains("Blocked: shop/big does not fit"),
        "{}",
        never.out
    );
    assert!(never.out.contains("not enough memory"), "{}", never.out);

    write("big.yaml", &app("big").replace("process:", "proces:"));
    let invalid = plan(&["--detailed-exitcode"]).await.check(1);
    assert!(invalid.err.contains("big.yaml:6:3"), "{}", invalid.err);
    assert!(invalid.err.contains("proces"), "{}", invalid.err);
    let json = plan(&["-o", "json"]).await.check(1).json();
    assert_eq!(json["problems"][0]["file"], "big.yaml");

    let away = Some("http://127.0.0.1:1");
    let problems = run(away, ADMIN, &["plan", &dir]).await.check(1);
    assert!(problems.err.contains("big.yaml:6:3"), "{}", problems.err);
    write("big.yaml", &app("big"));
    run(away, ADMIN, &["plan", &dir]).await.check(3);
    run(Some(&server.url), ADMIN, &["plan", "/nowhere"])
        .await
        .check(2);

    server.follow("second", &[("x.yaml", &app("x"))]).await;
    let which = plan(&[]).await.check(2);
    assert!(which.err.contains("second, shop"), "{}", which.err);
    let fresh = plan(&["--source", "third", "-p", "lab"]).await.check(0);
    assert!(fresh.out.contains("no source third yet"), "{}", fresh.out);
    assert!(fresh.out.contains("+ lab/web is created"), "{}", fresh.out);
    server.stop().await;
}
