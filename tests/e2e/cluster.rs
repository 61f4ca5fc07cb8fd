//! One running Evenkeel: its process, data folder, repository and API.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::free_port::free_port;
use crate::git_http::{GitServer, TestRepo};
use crate::{engine, outliving};

/// A generous bound: the machine may be busy with other tests.
pub const LONG: Duration = Duration::from_secs(90);

pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub name: String,
    pub repo: TestRepo,
    pub git: GitServer,
    pub socket: String,
    port: u16,
    process: Option<Child>,
    agent: Option<Child>,
    /// `Some`: controller and agent are processes of their own.
    database: Option<String>,
    runtime: Option<&'static str>,
    env: Vec<(&'static str, String)>,
    pub http: reqwest::Client,
}

pub struct Setup {
    pub socket: String,
    pub interval: &'static str,
    pub database: Option<String>,
    /// `--runtime`; the Engine and processes where there is none.
    pub runtime: Option<&'static str>,
    /// Further variables of its processes' environment.
    pub env: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            socket: engine::SHARED.to_owned(),
            interval: "1s",
            database: None,
            runtime: None,
            env: Vec::new(),
        }
    }
}

impl Cluster {
    /// Started, with a source `repo` that holds `files` and was synced once.
    pub async fn start(files: &[(&str, &str)]) -> Cluster {
        Cluster::start_with(Setup::default(), files).await
    }

    pub async fn start_with(setup: Setup, files: &[(&str, &str)]) -> Cluster {
        let _ = rustls::crypto::ring::default_provider().install_default();
        engine::ensure_image(&setup.socket).await;
        let dir = tempfile::Builder::new().prefix("ek").tempdir().unwrap();
        let root = dir.path().join("git");
        std::fs::create_dir(&root).unwrap();
        let repo = TestRepo::create(root.join("repo.git"));
        let all: Vec<(&str, Option<&str>)> = files.iter().map(|(p, t)| (*p, Some(*t))).collect();
        repo.commit("first", &all);
        let git = GitServer::start(&root);
        let name = format!("e2e{}", free_port());
        let mut cluster = Cluster {
            name,
            repo,
            git,
            socket: setup.socket,
            port: free_port(),
            process: None,
            agent: None,
            database: setup.database,
            runtime: setup.runtime,
            env: setup.env,
            http: reqwest::Client::new(),
            dir,
        };
        cluster.up().await;
        if cluster.database.is_some() {
            cluster.start_agent();
        }
        let url = cluster.git.url("repo.git");
        let body = serde_json::json!({
            "name": "repo", "url": url, "branch": "main", "project": "shop",
            "interval": setup.interval,
        });
        cluster.post("sources", &body).await;
        cluster
    }

    /// Starts the process and waits until it is ready.
    pub async fn up(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut command = self.command();
        if let Some(database) = &self.database {
            command.args(["controller", "--database-url", database]);
        } else {
            command
                .args(["up", "--node-name", "host"])
                .args(["--engine-socket", &self.socket]);
            if let Some(runtime) = self.runtime {
                command.args(["--runtime", runtime]);
            }
        }
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        self.process = Some(command.spawn().unwrap());
        let end = Instant::now() + LONG;
        loop {
            let answer = self
                .http
                .get(format!("{}/readyz", self.url()))
                .timeout(Duration::from_secs(2))
                .send()
                .await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return;
            }
            let exited = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(
                exited.is_none() && Instant::now() < end,
                "not ready ({exited:?})\n{}",
                self.log()
            );
            pause().await;
        }
    }

    fn command(&self) -> Command {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command
            .env("EVENKEEL_CLUSTER", &self.name)
            .env("RUST_LOG", "info")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    /// Starts an agent of its own, which asks this cluster's API.
    pub fn start_agent(&mut self) {
        assert!(self.agent.is_none(), "it runs");
        let mut command = self.command();
        command
            .args([
                "agent",
                "--node-name",
                "host",
                "--controller-url",
                &self.url(),
            ])
            .args(["--engine-socket", &self.socket])
            .arg("--token-file")
            .arg(self.data_dir().join("agent-token"))
            .arg("--data-dir")
            .arg(self.dir.path().join("agent"));
        self.agent = Some(command.spawn().unwrap());
    }

    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM; it must end by itself.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let end = Instant::now() + Duration::from_secs(40);
        while process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "does not stop\n{}", self.log());
            pause().await;
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
    pub fn whole_log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
    /// Of the running process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }
    pub fn log(&self) -> String {
        let text = self.whole_log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn token(&self) -> String {
        let path = self.data_dir().join("admin-token");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    pub async fn try_get(&self, path: &str) -> Result<Value, String> {
        let answer = self
            .http
            .get(format!("{}/api/v1/{path}", self.url()))
            .bearer_auth(self.token())
            .timeout(Duration::from_secs(10))
            .send()
            .await
            .map_err(|e| e.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| e.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
    }

    pub async fn get(&self, path: &str) -> Value {
        self.try_get(path)
            .await
            .unwrap_or_else(|e| panic!("GET {path}: {e}\n{}", self.log()))
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self
            .http
            .post(format!("{}/api/v1/{path}", self.url()))
            .bearer_auth(self.token())
            .json(body)
            .timeout(Duration::from_secs(20))
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(
            status.is_success(),
            "POST {path}: {status}: {text}\n{}",
            self.log()
        );
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The app's status document.
    pub async fn app(&self, name: &str) -> Value {
        self.get(&format!("projects/shop/apps/{name}")).await
    }

    /// Waits until the app's document satisfies `holds`.
    pub async fn wait_app(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let path = format!("projects/shop/apps/{name}");
        self.wait(&path, what, holds).await
    }

    pub async fn wait(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        loop {
            let last = self.try_get(path).await;
            if let Ok(value) = &last
                && holds(value)
            {
                return value.clone();
            }
            if Instant::now() > end {
                let why = self.try_get(&format!("{path}/why")).await;
                let events = self.try_get("events?limit=40").await;
                panic!(
                    "never {what}: {last:#?}\nwhy: {why:?}\nevents: {events:#?}\n{}",
                    self.log()
                );
            }
            pause().await;
        }
    }

    /// Waits until the app runs `commit`, all healthy, with nothing left to do.
    pub async fn wait_healthy(&self, name: &str, commit: &str) -> Value {
        self.wait_app(name, &format!("healthy at {commit}"), |a| {
            a["sync"] == "synced"
                && a["health"] == "healthy"
                && a["running"]["commit"] == commit
                && a["rollout"].is_null()
                && a["replicas"]["ready"] == a["replicas"]["desired"]
                && a["replicas"]["total"] == a["replicas"]["desired"]
        })
        .await
    }

    /// Waits until `commit` is rejected and everything is back and at rest.
    pub async fn wait_rolled_back(&self, name: &str, commit: &str) -> Value {
        self.wait_app(name, &format!("rolled back from {commit}"), |a| {
            a["sync"] == "quarantined"
                && a["health"] == "healthy"
                && a["rejected"]["commit"] == commit
                && a["rollout"].is_null()
                && a["replicas"]["total"] == a["replicas"]["desired"]
        })
        .await
    }

    pub async fn source(&self) -> Value {
        self.get("sources/repo").await
    }

    /// Commits to `main` and asks for a sync at once.
    pub async fn commit(&self, files: &[(&str, Option<&str>)]) -> String {
        let id = self.repo.commit("change", files);
        self.sync().await;
        id
    }

    pub async fn sync(&self) {
        self.post("sources/repo/sync", &serde_json::json!({})).await;
    }

    /// Runs the command line against this cluster: exit code, standard output, standard error.
    pub fn cli(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.cli_command(args).output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// The same, yet to be run.
    pub fn cli_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command
            .args(args)
            .env("EVENKEEL_DATA_DIR", self.data_dir())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub fn docker(&self) -> bollard::Docker {
        engine::client(&self.socket)
    }

    /// Ids of this cluster's containers, running or not.
    pub async fn containers(&self) -> Vec<String> {
        let label = format!("dev.evenkeel.cluster={}", self.name);
        let filters = std::collections::HashMap::from([("label".to_owned(), vec![label])]);
        let options = bollard::query_parameters::ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let list = self.docker().list_containers(Some(options)).await.unwrap();
        list.into_iter().filter_map(|c| c.id).collect()
    }

    /// Removes a container behind Evenkeel's back.
    pub async fn remove_container(&self, id: &str) {
        let options = bollard::query_parameters::RemoveContainerOptionsBuilder::default()
            .force(true)
            .build();
        self.docker()
            .remove_container(id, Some(options))
            .await
            .unwrap();
    }

    /// Process ids of the cluster's private Postgres' postmaster.
    pub fn postmaster(&self) -> i32 {
        let path = self.data_dir().join("postgres");
        let pid = find(&path, "postmaster.pid").expect("a postmaster.pid");
        let text = std::fs::read_to_string(pid).unwrap();
        text.lines().next().unwrap().trim().parse().unwrap()
    }
}

fn find(dir: &std::path::Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if entry.file_name() == name {
            return Some(path);
        }
        if path.is_dir()
            && let Some(found) = find(&path, name)
        {
            return Some(found);
        }
    }
    None
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for mut process in self.agent.take().into_iter().chain(self.process.take()) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap_or(0));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let end = Instant::now() + Duration::from_secs(15);
            while Instant::now() < end && matches!(process.try_wait(), Ok(None)) {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        // What runs outlives the controller on purpose: take it along here.
        outliving::kill_below(self.dir.path());
        let (socket, name) = (self.socket.clone(), self.name.clone());
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(sweep(&socket, &name));
        })
        .join();
    }
}

async fn sweep(socket: &str, name: &str) {
    let docker = engine::client(socket);
    let label = format!("dev.evenkeel.cluster={name}");
    let filters = std::collections::HashMap::from([("label".to_owned(), vec![label])]);
    let options = bollard::query_parameters::ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    for container in docker
        .list_containers(Some(options))
        .await
        .unwrap_or_default()
    {
        let options = bollard::query_parameters::RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        let id = container.id.unwrap_or_default();
        let _ = docker.remove_container(&id, Some(options)).await;
    }
}

/// Between two looks at something awaited with a deadline.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(40)).await;
}
