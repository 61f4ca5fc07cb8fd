//! The script that every run goes through, whatever dies in it: first deploy, new limits in
//! place, a rolling update, a pull request that comes and goes, a version that fails and is rolled back, an app that leaves Git,
//! a clean stop, a database older than the nodes, and rest.
//!
//! It only asks and waits: nothing in it knows of a crash.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::end::{self, End};
use super::subject::{Call, Role, tail};
use super::watch::Watch;
use crate::free_port::free_port;
use crate::git_http::TestRepo;
use crate::pull_forge::PullForge;
use crate::{engine, outliving, pg};

/// For what the script waits for. The machine may be busy with other runs.
const LONG: Duration = Duration::from_secs(90);
/// Number of the pull request.
pub const PULL: u64 = 7;
const HOOK_SECRET: &str = "s3cret-of-the-hook";
/// Nothing may happen for so long once all is done.
const REST: Duration = Duration::from_millis(600);

/// What the apps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Containers; the database is a server that lives on.
    Containers,
    /// Processes; the private Postgres dies with its program, and is made by it.
    Processes,
}

/// Who dies when somebody dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// `evenkeel up`: all of it.
    Together,
    /// Controller and agent apart: one of them.
    Apart,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    pub layout: Layout,
    /// `NAME:N` each, killed at in the order in which they come; none: the run that others
    /// are compared with.
    pub points: Vec<String>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The points of which something died.
    pub died: Vec<String>,
    pub end: End,
    /// Most hits of each point within one process.
    pub reached: BTreeMap<String, u32>,
    pub took: Duration,
}

pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

pub struct World {
    pub plan: Plan,
    pub dir: tempfile::TempDir,
    name: String,
    image: String,
    port: u16,
    database: Option<String>,
    repo: Mutex<TestRepo>,
    pub forge: PullForge,
    pub watch: Option<Watch>,
    http: reqwest::Client,
    roles: Vec<Role>,
    armed: Arc<Mutex<Vec<String>>>,
    died: Vec<String>,
    pub commits: Vec<String>,
    /// Head of the pull request.
    pub proposal: Option<String>,
}

/// `image` is one that the Engine has to pull.
pub async fn run(plan: Plan, image: &str) -> Result<Outcome, String> {
    let began = Instant::now();
    let mut world = World::new(plan, image).await;
    let result = match tokio::time::timeout(4 * LONG, world.live()).await {
        Ok(result) => result,
        Err(_) => Err("it takes for ever".to_owned()),
    };
    let log = tail(&world.log(), 60);
    let (died, reached) = (std::mem::take(&mut world.died), world.reached());
    world.roles.clear();
    if let Some(watch) = world.watch.take() {
        watch.clear().await;
    }
    if world.plan.kind == Kind::Processes {
        outliving::kill_below(world.dir.path());
    }
    let end = result.map_err(|why| format!("{why}\n{log}"))?;
    Ok(Outcome {
        died,
        end,
        reached,
        took: began.elapsed(),
    })
}

impl World {
    async fn new(plan: Plan, image: &str) -> World {
        let dir = tempfile::Builder::new().prefix("ekc").tempdir().unwrap();
        let port = free_port();
        let name = format!("crash{port}");
        let database = match plan.kind {
            Kind::Containers => Some(pg::url().await),
            Kind::Processes => None,
        };
        let watch = match plan.kind {
            Kind::Containers => Some(Watch::start(&engine::client(engine::SHARED), &name).await),
            Kind::Processes => None,
        };
        World {
            repo: Mutex::new(TestRepo::create(dir.path().join("repo.git"))),
            // The first message is refused once, so that a refusal is lived through.
            forge: PullForge::refusing(1).await,
            http: reqwest::Client::new(),
            roles: Vec::new(),
            armed: Arc::new(Mutex::new(plan.points.clone())),
            died: Vec::new(),
            commits: Vec::new(),
            proposal: None,
            image: image.to_owned(),
            plan,
            dir,
            name,
            port,
            database,
            watch,
        }
    }

    async fn live(&mut self) -> Result<End, String> {
        if let Some(database) = &self.database {
            // Old enough to go back to something older.
            end::set_epoch(database, 20).await;
        }
        self.start().await?;
        self.commit(&[
            ("web.yaml", Some(self.app("web", "one", ""))),
            ("conf.txt", Some("hello".to_owned())),
            ("side.yaml", Some(self.app("side", "one", ""))),
        ]);
        self.add_source().await?;
        self.push(0).await?;
        self.healthy("web", 0).await?;
        self.healthy("side", 0).await?;

        let limits = self.app("side", "one", "limits");
        self.commit(&[
            ("web.yaml", Some(self.app("web", "two", ""))),
            ("side.yaml", Some(limits)),
        ]);
        self.healthy("web", 1).await?;
        self.healthy("side", 1).await?;
        self.propose().await?;

        self.commit(&[("web.yaml", Some(self.app("web", "three", "fails")))]);
        self.rolled_back("web", 2).await?;

        self.commit(&[("side.yaml", None)]);
        self.wait("apps", "one app is left", |list| {
            let names = list["items"].as_array().map(Vec::len);
            names == Some(1) && list["items"][0]["name"] == "web"
        })
        .await?;
        self.told().await?;
        self.make_robot().await?;
        self.push(3).await?;

        self.stop().await?;
        if let Some(database) = &self.database {
            end::set_epoch(database, 5).await;
        }
        self.start().await?;
        self.rolled_back("web", 2).await?;
        self.forget_robot().await?;
        self.rest().await?;
        let end = end::read(self).await?;
        self.stop().await?;
        Ok(end)
    }

    /// Starts all roles. They need not come up: a crash may be the first thing they do.
    async fn start(&mut self) -> Result<(), String> {
        let data = self.dir.path().join("data");
        let listen = format!("127.0.0.1:{}", self.port);
        let call = |args: Vec<String>| Call {
            args,
            cluster: self.name.clone(),
            armed: Arc::clone(&self.armed),
            record: self.record(),
            log: self.log(),
        };
        let text = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let folder = |name: &str| {
            text(&[
                "--data-dir",
                &format!("{}/{name}", self.dir.path().display()),
            ])
        };
        let mut node = text(&["--node-name", "host", "--engine-socket", engine::SHARED]);
        if self.plan.kind == Kind::Processes {
            node.extend(text(&["--runtime", "process"]));
        }
        let database = |url: &String| text(&["--database-url", url]);
        let roles = match self.plan.layout {
            Layout::Together => {
                let mut up = [text(&["up", "--listen", &listen]), folder("data"), node].concat();
                up.extend(self.database.iter().flat_map(database));
                vec![call(up)]
            }
            Layout::Apart => {
                let url = self.database.iter().flat_map(database).collect();
                let controller = [
                    text(&["controller", "--listen", &listen]),
                    folder("data"),
                    url,
                ]
                .concat();
                let token = data.join("agent-token").display().to_string();
                let to = text(&[
                    "agent",
                    "--controller-url",
                    &self.url(),
                    "--token-file",
                    &token,
                ]);
                vec![call(controller), call([to, folder("agent"), node].concat())]
            }
        };
        for (index, role) in roles.into_iter().enumerate() {
            // The agent reads a token that the controller makes.
            let end = Instant::now() + LONG;
            while index > 0 && !data.join("agent-token").exists() {
                self.alive()?;
                if Instant::now() > end {
                    return Err("there is no token for the agent".to_owned());
                }
                pause().await;
            }
            self.roles.push(Role::start(role));
        }
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), String> {
        for role in std::mem::take(&mut self.roles) {
            self.died.extend(role.stop().await?);
        }
        Ok(())
    }

    fn alive(&self) -> Result<(), String> {
        self.roles.iter().try_for_each(|role| role.died().map(drop))
    }

    fn commit(&mut self, files: &[(&str, Option<String>)]) {
        let files: Vec<(&str, Option<&str>)> = files
            .iter()
            .map(|(path, text)| (*path, text.as_deref()))
            .collect();
        let id = self.repo.lock().unwrap().commit("change", &files);
        self.commits.push(id);
    }

    /// A pull request that is planned, told of, and closed again. It forked before the last
    /// commit, so that it has to be merged on trial.
    async fn propose(&mut self) -> Result<(), String> {
        let text = self.app("third", "one", "");
        let files = [("third.yaml", Some(text.as_str()))];
        let (repo, parent) = (self.repo.get_mut().unwrap(), &self.commits[0]);
        let head = repo.propose(PULL, parent, &files);
        self.forge.open(PULL, &head, false);
        self.proposal = Some(head.clone());
        self.forge_has("a plan", |forge| {
            let comment = forge.comment(PULL).unwrap_or_default();
            forge.state(&head) == "success" && comment.contains("shop/third")
        })
        .await?;
        self.forge.close(PULL, false);
        self.forge_has("a last word", |forge| {
            let comment = forge.comment(PULL).unwrap_or_default();
            comment.contains("is closed")
        })
        .await
    }

    async fn forge_has(
        &self,
        what: &str,
        holds: impl Fn(&PullForge) -> bool,
    ) -> Result<(), String> {
        let end = Instant::now() + LONG;
        while !holds(&self.forge) {
            self.alive()?;
            if Instant::now() > end {
                let source = self.get("sources/repo").await;
                return Err(format!("the forge never has {what}: {source:?}"));
            }
            pause().await;
        }
        Ok(())
    }

    fn app(&self, name: &str, version: &str, knob: &str) -> String {
        let memory = if knob == "limits" { "96Mi" } else { "64Mi" };
        let fails = knob == "fails";
        let (task, health) = match self.plan.kind {
            Kind::Containers => (
                format!(
                    "image: {}\n  command: [\"/bin/sh\", \"-c\"]\n  args: ['{}exec httpd -f -p 8080 -h /www']\n  files: {{/www/index.html: conf.txt}}\n  ports: [{{name: http, port: 8080}}]",
                    self.image,
                    if fails { "exit 3; " } else { "" },
                ),
                "health: {readiness: {http: {port: http, path: /index.html}, interval: 200ms, timeout: 1s}}",
            ),
            Kind::Processes => {
                let diary = self.diary();
                let note = |what: &str| {
                    format!(
                        "echo {what} $EVENKEEL_APP $EVENKEEL_SLOT $VERSION $EVENKEEL_INSTANCE >> {}",
                        diary.display()
                    )
                };
                let rest = if fails {
                    "exit 3".to_owned()
                } else {
                    format!("trap \"{}; exit 0\" TERM; sleep 1000 & wait", note("stop"))
                };
                (
                    format!(
                        "process: {{command: [\"/bin/sh\", \"-c\", '{}; {rest}']}}",
                        note("start")
                    ),
                    "",
                )
            }
        };
        format!(
            "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {{name: {name}, project: shop}}\nspec:\n  {task}\n  env: {{VERSION: \"{version}\"}}\n  replicas: {replicas}\n  resources: {{limits: {{memory: {memory}, cpu: 500m}}}}\n  {health}\n  rollout: {{minHealthyTime: {healthy}, startAttempts: 2}}\n  restart: {{backoff: 200ms, factor: 100}}\n  stopGracePeriod: 2s\n",
            replicas = if name == "web" { 2 } else { 1 },
            // One start more than the verdict needs is a race with it: the next is far off.
            // What has no probe counts as ready until its exit is seen, however late that is.
            healthy = match self.plan.kind {
                Kind::Containers => "200ms",
                Kind::Processes => "3s",
            },
        )
    }

    async fn add_source(&self) -> Result<(), String> {
        let token = self.dir.path().join("forge-token");
        std::fs::write(&token, "t0ken").unwrap();
        let secret = self.dir.path().join("hook-secret");
        std::fs::write(&secret, HOOK_SECRET).unwrap();
        let body = serde_json::json!({
            "name": "repo", "url": self.dir.path().join("repo.git"), "branch": "main",
            "project": "shop", "interval": "1s", "webhookSecretFile": secret,
            "forge": {"kind": "gitea", "apiUrl": self.forge.url, "repository": "team/apps",
                "tokenFile": token},
        });
        let end = Instant::now() + LONG;
        loop {
            let url = format!("{}/api/v1/sources", self.url());
            let call = self.http.post(url).bearer_auth(self.token()).json(&body);
            let answer = match call.timeout(Duration::from_secs(10)).send().await {
                // Added by a call whose answer was lost.
                Ok(answer) if answer.status() == 409 || answer.status().is_success() => {
                    return Ok(());
                }
                Ok(answer) => format!(
                    "{}: {}",
                    answer.status(),
                    answer.text().await.unwrap_or_default()
                ),
                Err(error) => error.to_string(),
            };
            self.alive()?;
            if Instant::now() > end {
                return Err(format!("the source cannot be added: {answer}"));
            }
            pause().await;
        }
    }

    /// What a forge delivers of a commit; as often as it takes, like one that redelivers.
    async fn push(&self, commit: usize) -> Result<(), String> {
        let end = Instant::now() + LONG;
        let body = serde_json::json!({
            "object_kind": "push", "ref": "refs/heads/main", "after": self.commits[commit],
            "before": "0000000000000000000000000000000000000000",
            "project": {"path_with_namespace": "team/apps"},
        });
        loop {
            let url = format!("{}/api/v1/hooks/repo", self.url());
            let call = self.http.post(url).json(&body);
            let call = call
                .header("x-gitlab-event", "Push Hook")
                .header("x-gitlab-token", HOOK_SECRET);
            let last = match call.timeout(Duration::from_secs(10)).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            self.alive()?;
            if Instant::now() > end {
                return Err(format!("a push is not taken: {last}"));
            }
            pause().await;
        }
    }

    /// A named token, made and used. One whose answer was lost is of no use: it is made anew.
    async fn make_robot(&self) -> Result<(), String> {
        let end = Instant::now() + LONG;
        let body = serde_json::json!({"name": "robot", "role": "viewer"});
        loop {
            let url = format!("{}/api/v1/tokens", self.url());
            let call = self.http.post(url).bearer_auth(self.token()).json(&body);
            let last = match call.timeout(Duration::from_secs(10)).send().await {
                Ok(answer) if answer.status().is_success() => {
                    let made: Value = answer.json().await.unwrap_or_default();
                    let apps = format!("{}/api/v1/apps", self.url());
                    let token = made["token"].as_str().unwrap_or_default();
                    let used = self.http.get(apps).bearer_auth(token).send().await;
                    match used {
                        Ok(answer) if answer.status().is_success() => return Ok(()),
                        other => format!("{made}: {other:?}"),
                    }
                }
                Ok(answer) => format!("{}", answer.status()),
                Err(error) => error.to_string(),
            };
            if Instant::now() > end {
                return Err(format!("no token is made: {last}"));
            }
            self.forget_robot().await?;
        }
    }

    async fn forget_robot(&self) -> Result<(), String> {
        let end = Instant::now() + LONG;
        loop {
            let url = format!("{}/api/v1/tokens/robot", self.url());
            let call = self.http.delete(url).bearer_auth(self.token());
            let last = match call.timeout(Duration::from_secs(10)).send().await {
                Ok(answer) if answer.status().is_success() || answer.status() == 404 => {
                    return Ok(());
                }
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            self.alive()?;
            if Instant::now() > end {
                return Err(format!("the token is not revoked: {last}"));
            }
            pause().await;
        }
    }

    async fn healthy(&self, app: &str, commit: usize) -> Result<(), String> {
        let commit = self.commits[commit].as_str();
        let path = format!("projects/shop/apps/{app}");
        self.wait(&path, &format!("{app} is healthy at {commit}"), |a| {
            a["sync"] == "synced"
                && a["health"] == "healthy"
                && a["git"]["commit"] == commit
                && a["running"]["digest"] == a["git"]["digest"]
                && at_rest(a)
        })
        .await
    }

    async fn rolled_back(&self, app: &str, commit: usize) -> Result<(), String> {
        let commit = self.commits[commit].as_str();
        let path = format!("projects/shop/apps/{app}");
        self.wait(&path, &format!("{app} is rolled back from {commit}"), |a| {
            a["sync"] == "quarantined"
                && a["health"] == "healthy"
                && a["rejected"]["commit"] == commit
                && at_rest(a)
        })
        .await
    }

    async fn wait(
        &self,
        path: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<(), String> {
        let end = Instant::now() + LONG;
        loop {
            let last = self.get(path).await;
            if last.as_ref().is_ok_and(&holds) {
                return Ok(());
            }
            self.alive()?;
            if Instant::now() > end {
                let why = self.get(&format!("{path}/why")).await;
                return Err(format!("never: {what}: {last:#?}\nwhy: {why:?}"));
            }
            pause().await;
        }
    }

    /// Until the forge has heard the last word on every commit.
    async fn told(&self) -> Result<(), String> {
        let end = Instant::now() + LONG;
        loop {
            let open = self.commits.iter().find(|commit| {
                let last = self.forge.verdict(commit).unwrap_or_default();
                last != "success" && last != "failure"
            });
            let Some(open) = open else { return Ok(()) };
            self.alive()?;
            if Instant::now() > end {
                return Err(format!(
                    "the forge was never told of {open}: {:?}",
                    self.forge.verdict(open)
                ));
            }
            pause().await;
        }
    }

    /// Until nothing is written any more.
    async fn rest(&self) -> Result<(), String> {
        let end = Instant::now() + LONG;
        let mut last = (String::new(), Instant::now());
        loop {
            // It may die even now.
            let newest = self.ask("events?limit=1000").await?.to_string();
            if newest != last.0 {
                last = (newest, Instant::now());
            } else if last.1.elapsed() > REST {
                return Ok(());
            }
            self.alive()?;
            if Instant::now() > end {
                return Err(format!("it never rests: {}", last.0));
            }
            pause().await;
        }
    }

    /// Like [`World::get`], until there is an answer.
    pub async fn ask(&self, path: &str) -> Result<Value, String> {
        let end = Instant::now() + LONG;
        loop {
            match self.get(path).await {
                Err(why) if Instant::now() > end => return Err(why),
                Err(_) => self.alive()?,
                Ok(value) => return Ok(value),
            }
            pause().await;
        }
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let url = format!("{}/api/v1/{path}", self.url());
        let call = self.http.get(url).bearer_auth(self.token());
        let answer = call.timeout(Duration::from_secs(10)).send().await;
        let answer = answer.map_err(|e| e.to_string())?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
    fn token(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("data/admin-token"));
        text.unwrap_or_default().trim().to_owned()
    }
    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
    fn record(&self) -> PathBuf {
        self.dir.path().join("reached")
    }
    pub fn diary(&self) -> PathBuf {
        self.dir.path().join("diary")
    }

    fn reached(&self) -> BTreeMap<String, u32> {
        let text = std::fs::read_to_string(self.record()).unwrap_or_default();
        let mut hits: BTreeMap<&str, u32> = BTreeMap::new();
        for line in text.lines() {
            *hits.entry(line).or_default() += 1;
        }
        let mut most = BTreeMap::new();
        for (line, count) in hits {
            let (_process, point) = line.split_once(' ').unwrap();
            if point.starts_with('!') {
                continue;
            }
            let known: &mut u32 = most.entry(point.to_owned()).or_default();
            *known = count.max(*known);
        }
        most
    }
}

fn at_rest(app: &Value) -> bool {
    app["rollout"].is_null()
        && app["replicas"]["ready"] == app["replicas"]["desired"]
        && app["replicas"]["total"] == app["replicas"]["desired"]
}
