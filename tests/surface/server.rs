//! A server of a test's own, and words for what tests say to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use evenkeel::controller::{self, Handle, Options, Role};
use evenkeel::git::Mirrors;
use evenkeel::http::{AppState, Limits, Tokens, serve_with};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::pg;

pub const ADMIN: &str = "the-admins-token";
pub const AGENTS: &str = "the-agents-token";

/// Longest wait for anything; a machine under load is slow, not wrong.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Server {
    pub url: String,
    pub handle: Handle,
    pub http: reqwest::Client,
    pub dir: tempfile::TempDir,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Server {
    /// One that leads a cluster of its own.
    pub async fn start() -> Server {
        Server::start_with(Limits::default()).await
    }

    pub async fn start_with(limits: Limits) -> Server {
        let server = Server::join(&pg::url().await, limits).await;
        server
            .until("it leads", |s| s.handle.status().is_ready())
            .await;
        server
    }

    /// One that leads, and one on the same database that follows it.
    pub async fn pair() -> (Server, Server) {
        let database = pg::url().await;
        let leader = Server::join(&database, Limits::default()).await;
        leader
            .until("one leads", |s| s.handle.status().is_ready())
            .await;
        let follower = Server::join(&database, Limits::default()).await;
        follower
            .until("the other follows", |s| s.handle.status().is_ready())
            .await;
        assert_eq!(follower.handle.status().role, Role::Follower);
        (leader, follower)
    }

    /// A controller on a database that others may use, too.
    pub async fn join(database: &str, limits: Limits) -> Server {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = evenkeel::store::Store::connect(database, pg::options())
            .await
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mirrors = Mirrors::open(dir.path().join("mirrors")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let options = Options::new("test", url.clone(), url.clone());
        let handle = controller::start(store.clone(), mirrors, options, stop.clone());
        let state = AppState::new(handle.clone(), Some(store), Tokens::new(ADMIN, AGENTS));
        let serving = tokio::spawn(serve_with(listener, state, stop.clone(), limits));
        Server {
            url,
            handle,
            http: reqwest::Client::new(),
            dir,
            stop,
            serving: Some(serving),
        }
    }

    /// A request with the admin's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(ADMIN)
            .timeout(DEADLINE)
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(&body)).await
    }

    /// Registers a node that never does anything.
    pub async fn register(&self, node: &str) {
        let report = report(node);
        let answer = self
            .http
            .post(format!("{}/api/v1/agent/reports", self.url))
            .bearer_auth(AGENTS)
            .json(&report);
        Answer::of(answer).await.check(StatusCode::NO_CONTENT);
    }

    /// Registers a node that never does anything and goes on telling so.
    pub async fn keep(&self, node: &str) {
        self.register(node).await;
        let (http, stop) = (self.http.clone(), self.stop.clone());
        let url = format!("{}/api/v1/agent/reports", self.url);
        let mut report = report(node);
        let telling = async move {
            for sequence in 2.. {
                tokio::time::sleep(Duration::from_secs(1)).await;
                report["sequence"] = json!(sequence);
                let _ = http
                    .post(&url)
                    .bearer_auth(AGENTS)
                    .json(&report)
                    .send()
                    .await;
            }
        };
        tokio::spawn(async move { stop.run_until_cancelled(telling).await });
    }

    pub async fn until(&self, what: &str, done: impl Fn(&Server) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !done(self) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "gave up waiting: {what}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the document at `path` says `wanted` at `pointer`.
    pub async fn until_says(&self, path: &str, pointer: &str, wanted: &str) -> Value {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let body = self.get(path).await.body;
            if body.pointer(pointer).is_some_and(|v| v == wanted) {
                return body;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "gave up waiting for {wanted} at {pointer} of {path}: {body:#}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Adds a source that follows a new repository with these files, and waits until it is applied.
    pub async fn follow(&self, name: &str, files: &[(&str, &str)]) -> Repository {
        let repository = Repository::new(&self.dir.path().join(format!("repo-{name}")));
        repository.commit(files);
        let body = json!({"name": name, "url": repository.path, "project": "shop"});
        self.post("/api/v1/sources", body)
            .await
            .check(StatusCode::CREATED);
        let head = repository.head();
        self.until_says(&format!("/api/v1/sources/{name}"), "/lastApplied", &head)
            .await;
        repository
    }

    /// The same with an app in each file.
    pub async fn follow_apps(&self, name: &str, apps: &[&str]) -> Repository {
        let files: Vec<(String, String)> =
            apps.iter().map(|n| (format!("{n}.yaml"), app(n))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (&**n, &**t)).collect();
        self.follow(name, &files).await
    }

    /// Gives the source `shop` a webhook secret that stands in `file`, and an interval at which it
    /// is hardly ever polled. The answer.
    pub async fn guard(&self, repository: &Repository, file: &Path) -> Answer {
        let source = json!({
            "name": "shop", "url": repository.path, "project": "shop", "interval": "1h",
            "webhookSecretFile": file,
        });
        let put = self
            .request(Method::PUT, "/api/v1/sources/shop")
            .json(&source);
        Answer::of(put).await.check(StatusCode::OK)
    }

    /// Stops it and waits for its end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let serving = self.serving.take().unwrap();
        tokio::time::timeout(DEADLINE, serving)
            .await
            .unwrap()
            .unwrap();
        tokio::time::timeout(DEADLINE, self.handle.stopped())
            .await
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    /// `null` where the text is not JSON.
    pub body: Value,
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer {
            status,
            headers,
            text,
            body,
        }
    }

    #[track_caller]
    pub fn check(self, status: StatusCode) -> Answer {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// That it is a problem document of this kind.
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["type"], format!("urn:evenkeel:problem:{slug}"));
        assert_eq!(self.body["status"], status);
        for name in ["title", "detail"] {
            let text = self.body[name].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no {name}: {}", self.text);
        }
    }
}

/// A repository made with the git program.
pub struct Repository {
    pub path: PathBuf,
}

impl Repository {
    pub fn new(path: &Path) -> Repository {
        std::fs::create_dir_all(path).unwrap();
        let repository = Repository {
            path: path.to_owned(),
        };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    pub fn commit(&self, files: &[(&str, &str)]) {
        for (name, content) in files {
            let file = self.path.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "A change"]);
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@localhost"])
            .args(args)
            .current_dir(&self.path)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// An app of one process.
pub fn app(name: &str) -> String {
    format!(
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata:\n  name: {name}\nspec:\n  process:\n    command: [sleep, \"1000\"]\n"
    )
}

/// The first report of a node that runs processes.
pub fn report(node: &str) -> Value {
    json!({
        "node": node,
        "session": "00000000-0000-4000-8000-000000000001",
        "sequence": 1,
        "facts": {
            "address": "127.0.0.1",
            "capacity": {"cpuMillis": 4000, "memoryBytes": 8u64 << 30},
            "attributes": {"runtime.process": "true", "os": "linux"},
            "agentVersion": "test",
        },
        "applied": null, "full": true, "instances": [], "images": {}, "notes": [],
    })
}
