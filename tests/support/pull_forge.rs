//! A forge of Gitea's kind that keeps pull requests and comments, and records statuses.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Whose token it is.
const US: &str = "evenkeel-bot";

#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub commit: String,
    pub context: String,
    pub state: String,
    pub description: String,
}

#[derive(Default)]
struct Kept {
    pulls: BTreeMap<u64, Value>,
    comments: Vec<(u64, Value)>,
    /// Writes of comments, edits included.
    written: usize,
    statuses: Vec<Status>,
    asked: usize,
    down: bool,
    /// So many writes more are answered 500.
    refused: usize,
}

#[derive(Clone)]
pub struct PullForge {
    pub url: String,
    kept: Arc<Mutex<Kept>>,
}

impl PullForge {
    pub async fn start() -> PullForge {
        PullForge::refusing(0).await
    }

    /// Refuses the first writes.
    pub async fn refusing(refused: usize) -> PullForge {
        let kept = Arc::new(Mutex::new(Kept {
            refused,
            ..Kept::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, router).await });
        PullForge { url, kept }
    }

    /// Opens it, or gives it another head.
    pub fn open(&self, number: u64, head: &str, from_fork: bool) {
        let fork = if from_fork { 2 } else { 1 };
        let pull = json!({
            "number": number, "state": "open", "merged": false,
            "title": format!("Change {number}"),
            "html_url": format!("{}/team/apps/pulls/{number}", self.url),
            "base": {"ref": "main", "sha": "0".repeat(40), "repo": {"id": 1}},
            "head": {"ref": "fix", "sha": head, "repo": {"id": fork}},
        });
        self.kept.lock().unwrap().pulls.insert(number, pull);
    }

    pub fn close(&self, number: u64, merged: bool) {
        let mut kept = self.kept.lock().unwrap();
        let pull = kept.pulls.get_mut(&number).unwrap();
        pull["state"] = json!("closed");
        pull["merged"] = json!(merged);
    }

    /// Answers 503 to everything while it is down.
    pub fn down(&self, down: bool) {
        self.kept.lock().unwrap().down = down;
    }

    /// The comment of ours on a pull request.
    pub fn comment(&self, number: u64) -> Option<String> {
        let kept = self.kept.lock().unwrap();
        let mut ours = kept.comments.iter().filter(|(n, _)| *n == number);
        let body = ours
            .next()
            .map(|(_, c)| c["body"].as_str().unwrap().to_owned());
        assert!(ours.next().is_none(), "more than one comment on {number}");
        body
    }

    pub fn comments_written(&self) -> usize {
        self.kept.lock().unwrap().written
    }

    /// How often it was asked for the open ones.
    pub fn asked(&self) -> usize {
        self.kept.lock().unwrap().asked
    }

    /// Statuses of plans on this commit, oldest first.
    pub fn plans(&self, commit: &str) -> Vec<Status> {
        let kept = self.kept.lock().unwrap();
        let of = |s: &&Status| s.commit == commit && s.context.ends_with("/plan");
        kept.statuses.iter().filter(of).cloned().collect()
    }

    /// State of what was last said of this commit itself; `None`: nothing yet.
    pub fn verdict(&self, commit: &str) -> Option<String> {
        let kept = self.kept.lock().unwrap();
        let of = |s: &&Status| s.commit == commit && !s.context.ends_with("/plan");
        kept.statuses.iter().rfind(of).map(|s| s.state.clone())
    }

    /// State of the last plan on this commit; empty: none.
    pub fn state(&self, commit: &str) -> String {
        self.plans(commit)
            .last()
            .map_or(String::new(), |s| s.state.clone())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn answer(
    State(kept): State<Arc<Mutex<Kept>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let mut kept = kept.lock().unwrap();
    if kept.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if kept.refused > 0 && method != Method::GET {
        kept.refused -= 1;
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = uri.path().trim_start_matches("/api/v1/").to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    let number = |n: &str| n.parse::<u64>().unwrap();
    let (status, answer) = match (method.as_str(), parts.as_slice()) {
        ("GET", ["user"]) => (200, json!({"id": 7, "login": US})),
        ("GET", ["repos", "team", "apps", "pulls"]) => {
            kept.asked += 1;
            let open = kept.pulls.values().filter(|p| p["state"] == "open");
            (200, Value::Array(open.cloned().collect()))
        }
        ("GET", ["repos", "team", "apps", "pulls", n]) => match kept.pulls.get(&number(n)) {
            Some(pull) => (200, pull.clone()),
            None => (404, json!({})),
        },
        ("GET", ["repos", "team", "apps", "issues", n, "comments"]) => {
            let of = kept.comments.iter().filter(|(of, _)| *of == number(n));
            (200, Value::Array(of.map(|(_, c)| c.clone()).collect()))
        }
        ("POST", ["repos", "team", "apps", "issues", n, "comments"]) => {
            let id = kept.comments.len() + 1;
            let comment = json!({"id": id, "body": body["body"], "user": {"login": US}});
            kept.comments.push((number(n), comment.clone()));
            kept.written += 1;
            (201, comment)
        }
        ("PATCH", ["repos", "team", "apps", "issues", "comments", id]) => {
            let index = number(id) as usize - 1;
            kept.comments[index].1["body"] = body["body"].clone();
            kept.written += 1;
            (200, kept.comments[index].1.clone())
        }
        ("POST", ["repos", "team", "apps", "statuses", commit]) => {
            kept.statuses.push(Status {
                commit: (*commit).to_owned(),
                context: text(&body["context"]),
                state: text(&body["state"]),
                description: text(&body["description"]),
            });
            (201, json!({"id": kept.statuses.len()}))
        }
        other => panic!("nobody should ask for {other:?}"),
    };
    (StatusCode::from_u16(status).unwrap(), answer.to_string()).into_response()
}
