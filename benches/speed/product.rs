//! The product as it is used: `evenkeel up`, a repository that is pushed to, the API.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::git_http::TestRepo;
use crate::{containers, engine};

/// For anything that is waited for, on a machine that has other work.
const LONG: Duration = Duration::from_secs(120);

/// Between two looks at the status: what it adds to a figure.
const LOOK: Duration = Duration::from_millis(3);

pub struct Product {
    pub cluster: String,
    /// Of the Engine it works with.
    pub socket: String,
    dir: tempfile::TempDir,
    repo: Mutex<TestRepo>,
    port: u16,
    process: Child,
    http: reqwest::Client,
}

impl Product {
    /// Runs, and follows an empty local repository.
    pub async fn start(socket: String) -> Product {
        let dir = tempfile::Builder::new()
            .prefix("ekbench")
            .tempdir()
            .unwrap();
        let repo = TestRepo::create(dir.path().join("repo.git"));
        repo.commit("nothing yet", &[("README.md", Some("apps\n"))]);
        let url = repo.path.clone();
        let port = crate::free_port::free_port();
        let cluster = format!("bench{port}");
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let filter = std::env::var("EVENKEEL_LOG").unwrap_or_else(|_| "info".to_owned());
        let process = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .arg("up")
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--cluster", &cluster, "--node-name", "host"])
            .args(["--engine-socket", &socket])
            .env("EVENKEEL_LOG", filter)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let product = Product {
            cluster,
            socket,
            dir,
            repo: Mutex::new(repo),
            port,
            process,
            http: reqwest::Client::new(),
        };
        let end = Instant::now() + LONG;
        while product.ready().await.is_none() {
            assert!(Instant::now() < end, "not ready\n{}", product.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let source = json!({
            "name": "repo", "url": url, "project": "shop", "interval": "1h",
        });
        let answer = product
            .http
            .post(format!("http://127.0.0.1:{port}/api/v1/sources"))
            .bearer_auth(product.token())
            .json(&source)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        product
            .wait("sources/repo", |s| s["outcome"]["kind"] == "ok")
            .await;
        product
    }

    async fn ready(&self) -> Option<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.port);
        let answer = self.http.get(url).send().await.ok()?;
        answer.status().is_success().then_some(())
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn token(&self) -> String {
        let path = self.dir.path().join("data/admin-token");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// Commits, which a local repository's watcher sees. Returns the commit.
    pub fn push(&self, path: &str, text: &str) -> String {
        self.repo
            .lock()
            .unwrap()
            .commit("bench", &[(path, Some(text))])
    }

    /// Waits until the app runs that commit, all its replicas healthy, nothing left to do.
    pub async fn wait_healthy(&self, app: &str, commit: &str) -> Value {
        self.wait(&format!("projects/shop/apps/{app}"), |a| {
            a["sync"] == "synced"
                && a["health"] == "healthy"
                && a["running"]["commit"] == commit
                && a["rollout"].is_null()
                && a["replicas"]["ready"] == a["replicas"]["desired"]
        })
        .await
    }

    async fn wait(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let token = self.token();
        let end = Instant::now() + LONG;
        loop {
            let answer = self.http.get(&url).bearer_auth(&token).send().await;
            let last = match answer {
                Ok(answer) => answer.json::<Value>().await.ok(),
                Err(_) => None,
            };
            if let Some(value) = &last
                && holds(value)
            {
                return value.clone();
            }
            assert!(
                Instant::now() < end,
                "{path} stays {last:#?}\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends it and removes its containers.
    pub async fn end(mut self) {
        self.ask_to_end();
        let _ = self.process.wait();
        containers::remove_all(&engine::client(&self.socket), &self.cluster).await;
    }

    fn ask_to_end(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // After a panic; its Postgres ends with it.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
