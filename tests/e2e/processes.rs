//! The same promises for plain processes, with no Engine in sight.

use crate::cluster::{Cluster, Setup};

fn spec(version: &str, fails: bool) -> String {
    let script = if fails {
        "echo no database here; exit 5"
    } else {
        "mkdir -p $TMPDIR/www; echo $VERSION > $TMPDIR/www/index.html; exec busybox httpd -f -p $PORT_HTTP -h $TMPDIR/www"
    };
    format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: web, project: shop}}
spec:
  process: {{command: ["/bin/sh", "-c", '{script}']}}
  env: {{VERSION: "{version}"}}
  replicas: 2
  ports: [{{name: http, port: 8080}}]
  resources: {{limits: {{memory: 64Mi, cpu: 500m}}}}
  health:
    readiness: {{http: {{port: http, path: /index.html}}, interval: 300ms}}
  rollout: {{minHealthyTime: 300ms, startAttempts: 2}}
  restart: {{backoff: 200ms}}
  stopGracePeriod: 1s
"#
    )
}

async fn answer(app: &serde_json::Value, slot: usize) -> String {
    let address = app["instances"][slot]["ports"]["http"].as_str().unwrap();
    let url = format!("http://{address}/index.html");
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_roll_out_roll_back_and_outlive_their_controller() {
    let setup = Setup {
        runtime: Some("process"),
        ..Setup::default()
    };
    let mut c = Cluster::start_with(setup, &[("web.yaml", &spec("one", false))]).await;
    let head = c.repo.head("main").unwrap().to_string();
    let app = c.wait_healthy("web", &head).await;
    assert_eq!(answer(&app, 0).await, "one");

    let second = c.commit(&[("web.yaml", Some(&spec("two", false)))]).await;
    let app = c.wait_healthy("web", &second).await;
    assert_eq!(answer(&app, 1).await, "two");

    let bad = c.commit(&[("web.yaml", Some(&spec("three", true)))]).await;
    let app = c.wait_rolled_back("web", &bad).await;
    assert_eq!(app["running"]["commit"], second.as_str());
    assert_eq!(app["rejected"]["evidence"]["lastExit"]["code"], 5);
    assert!(
        app["rejected"]["evidence"]["logTail"]
            .to_string()
            .contains("no database here")
    );

    // Killed with -9: they serve on, and are the same ones afterwards.
    let ids = |app: &serde_json::Value| {
        app["instances"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["containerId"].clone())
            .collect::<Vec<_>>()
    };
    let before = ids(&app);
    c.kill();
    assert_eq!(answer(&app, 0).await, "two");
    c.up().await;
    let app = c.wait_rolled_back("web", &bad).await;
    assert_eq!(ids(&app), before);

    // Removed from Git: nothing of them is left.
    c.commit(&[
        ("web.yaml", None),
        (
            "other.yaml",
            Some(&spec("one", false).replace("name: web", "name: other")),
        ),
    ])
    .await;
    c.wait("apps", "web is gone", |apps| {
        !apps.to_string().contains("\"web\"")
    })
    .await;
    assert!(
        reqwest::get(format!(
            "http://{}/",
            app["instances"][0]["ports"]["http"].as_str().unwrap()
        ))
        .await
        .is_err()
    );
    let last = c
        .commit(&[
            ("other.yaml", None),
            (
                "web.yaml",
                Some(&spec("one", false).replace("replicas: 2", "replicas: 0")),
            ),
        ])
        .await;
    c.wait_healthy("web", &last).await;
}
