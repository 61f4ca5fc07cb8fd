//! Repositories as large as real ones: a folder per team, a folder per app.

use std::path::PathBuf;

use crate::git_http::TestRepo;

/// Apps in one team's folder.
const TEAM: usize = 50;

pub fn path(app: usize) -> String {
    format!("teams/team-{:03}/app-{app:05}/app.yaml", app / TEAM)
}

pub fn name(app: usize) -> String {
    format!("app-{app:05}")
}

/// A spec of ordinary size; `version` is what a new commit changes.
pub fn spec(app: usize, version: usize) -> String {
    format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata:
  name: {name}
  project: shop
  labels: {{tier: front, team: team-{team:03}}}
spec:
  image: registry.local/web:1.4
  command: ["/bin/web"]
  args: ["--port", "8080"]
  env:
    VERSION: "{version}"
    LOG: info
    DATABASE_URL: postgres://db.local/{name}
  replicas: 1
  resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{cpu: "1", memory: 64Mi}}}}
  ports: [{{name: http, port: 8080}}]
  health:
    readiness: {{http: {{port: http, path: /healthz}}, interval: 2s, timeout: 1s}}
    liveness: {{tcp: {{port: http}}, interval: 10s}}
  rollout: {{maxSurge: 1, maxUnavailable: 0, minHealthyTime: 0s}}
"#,
        name = name(app),
        team = app / TEAM,
    )
}

/// A bare repository with that many apps in one commit.
pub fn repository(path_of_it: PathBuf, apps: usize) -> TestRepo {
    let repo = TestRepo::create(path_of_it);
    let files: Vec<(String, String)> = (0..apps).map(|app| (path(app), spec(app, 1))).collect();
    let files: Vec<(&str, Option<&str>)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    repo.commit("all apps", &files);
    repo
}
