//! Every list comes in pages that join to the whole.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{Server, app};

/// All items, one at a time.
async fn one_by_one(server: &Server, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("{path}?limit=1{after}")).await;
        let page = page.check(StatusCode::OK).body;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 1, "{path}: {page}");
        all.extend(items.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
        assert!(all.len() < 50, "{path} does not end");
    }
}

/// What names an item.
fn name(item: &Value) -> String {
    let known = ["id", "name", "number"]
        .iter()
        .find(|k| !item[**k].is_null());
    item[*known.unwrap()].to_string()
}

#[tokio::test]
async fn pages_of_one_join_to_the_whole_list() {
    let server = Server::start().await;
    let two = app("web").replace("spec:\n", "spec:\n  replicas: 3\n");
    let repository = server
        .follow("shop", &[("web.yaml", &two), ("api.yaml", &app("api"))])
        .await;
    for node in ["n1", "n2", "n3"] {
        server.register(node).await;
    }
    for n in 0..2 {
        let next = two.replace("1000", &format!("200{n}"));
        repository.commit(&[("web.yaml", &next)]);
        server
            .post("/api/v1/sources/shop/sync", json!({}))
            .await
            .check(StatusCode::ACCEPTED);
        server
            .until_says("/api/v1/sources/shop", "/lastApplied", &repository.head())
            .await;
    }
    let more = json!({"name": "more", "url": repository.path, "path": "none"});
    server
        .post("/api/v1/sources", more)
        .await
        .check(StatusCode::CREATED);
    for token in ["a", "b", "c"] {
        let body = json!({"name": token, "role": "viewer"});
        server
            .post("/api/v1/tokens", body)
            .await
            .check(StatusCode::CREATED);
    }
    server
        .until("an instance is placed", |s| {
            let key = "shop/web".parse().unwrap();
            s.handle
                .read(|s| s.apps[&key].instances.len() > 1 && s.apps[&key].releases.len() > 1)
                .unwrap()
        })
        .await;
    let web = "/api/v1/projects/shop/apps/web";
    for (path, least) in [
        ("/api/v1/apps".to_owned(), 2),
        ("/api/v1/nodes".to_owned(), 3),
        ("/api/v1/sources".to_owned(), 2),
        ("/api/v1/tokens".to_owned(), 3),
        ("/api/v1/sources/shop/commits".to_owned(), 3),
        ("/api/v1/sources/shop/pulls".to_owned(), 0),
        (format!("{web}/releases"), 2),
        (format!("{web}/rollouts"), 1),
        (format!("{web}/instances"), 2),
    ] {
        let whole = server.get(&path).await.check(StatusCode::OK).body;
        assert_eq!(whole["next"], Value::Null, "{path}");
        let whole: Vec<String> = whole["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect();
        let pages: Vec<String> = one_by_one(&server, &path).await.iter().map(name).collect();
        assert_eq!(pages, whole, "{path}");
        assert!(whole.len() >= least, "{path}: {whole:?}");
        let distinct: BTreeSet<&String> = whole.iter().collect();
        assert_eq!(distinct.len(), whole.len(), "{path}");
        let odd = server.get(&format!("{path}?limit=-1")).await;
        odd.problem(400, "bad-request");
    }
    let odd = server.get(&format!("{web}/instances?after=x")).await;
    odd.problem(400, "bad-request");
    server.stop().await;
}
