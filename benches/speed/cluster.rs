//! A real controller with its listener and a Postgres of its own that loses nothing in a
//! crash, in this process; simulated agents in another; a repository on this machine.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use evenkeel::controller::{self, Handle, Options};
use evenkeel::git::Mirrors;
use evenkeel::http::{AppState, Tokens, serve};
use evenkeel::model::{SourceName, SourceSpec};
use evenkeel::plan::operate::plan_add_source;
use evenkeel::store::private_postgres::{Options as PgOptions, PrivatePostgres};
use evenkeel::store::{ConnectOptions, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cpu;
use crate::fleet::{Fleet, until};
use crate::git_http::TestRepo;

/// For anything that is waited for, on a machine that has other work.
pub const LONG: Duration = Duration::from_secs(300);

/// The agents'.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const ADMIN: &str = "fedcba9876543210fedcba9876543210";

pub struct Cluster {
    pub handle: Handle,
    pub url: String,
    pub store: Store,
    mirrors: Mirrors,
    repo: Mutex<TestRepo>,
    pub fleet: Fleet,
    stop: CancellationToken,
    postgres: PrivatePostgres,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// All nodes have joined; nothing is declared. Instances start at once.
    pub async fn start(nodes: usize) -> Cluster {
        Cluster::starting_in(Duration::ZERO, nodes).await
    }

    /// The same, where an instance takes so long to start.
    pub async fn starting_in(starting: Duration, nodes: usize) -> Cluster {
        let dir = tempfile::Builder::new()
            .prefix("ekscale")
            .tempdir()
            .unwrap();
        let postgres = PrivatePostgres::start(PgOptions::new(postgres_dir(&dir)))
            .await
            .unwrap();
        let store = Store::connect(postgres.url(), ConnectOptions::default())
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let mirrors = Mirrors::open(dir.path().join("mirrors")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let options = Options::new("bench", "bench", url.clone());
        let handle = controller::start(store.clone(), mirrors.clone(), options, stop.clone());
        let state = AppState::new(
            handle.clone(),
            Some(store.clone()),
            Tokens::new(ADMIN, TOKEN),
        );
        tokio::spawn(serve(listener, state, stop.clone()));
        let leads = || handle.status().role == controller::Role::Leader;
        until("leadership", LONG, leads).await;
        let repo = TestRepo::create(dir.path().join("repo.git"));
        let fleet = Fleet::start(&url, TOKEN, nodes, starting);
        until("the nodes", LONG, || fleet.joined() == nodes).await;
        Cluster {
            handle,
            url,
            store,
            mirrors,
            repo: Mutex::new(repo),
            fleet,
            stop,
            postgres,
            _dir: dir,
        }
    }

    /// Returns the commit. Many files take seconds, in which the controller needs its threads.
    pub fn commit(&self, files: &[(&str, Option<&str>)]) -> String {
        tokio::task::block_in_place(|| self.repo.lock().unwrap().commit("apps", files))
    }

    pub fn source() -> SourceName {
        "repo".parse().unwrap()
    }

    /// Copies the repository to where the controller will look for it, which is not timed
    /// with what the controller makes of it.
    pub async fn fetch(&self) -> Duration {
        let begun = Instant::now();
        self.mirrors.fetch(&self.spec(), LONG).await.unwrap();
        begun.elapsed()
    }

    /// The controller begins to follow the repository.
    pub async fn follow(&self) {
        let spec = self.spec();
        self.handle
            .transact("bench", |snapshot, now, _| {
                plan_add_source(now, snapshot, spec, "bench")
            })
            .await
            .unwrap();
    }

    fn spec(&self) -> SourceSpec {
        SourceSpec {
            interval: Duration::from_secs(3600),
            ..SourceSpec::new(
                Cluster::source(),
                self.repo.lock().unwrap().path.display().to_string(),
                "shop".parse().unwrap(),
            )
        }
    }

    /// Processor time so far: this process, its Postgres, the agents.
    pub fn cpu(&self) -> [Duration; 3] {
        let server = self.postgres.server_pid().unwrap_or(0);
        [
            cpu::of_this_process(),
            cpu::of_family(server.unsigned_abs()),
            cpu::of_process(self.fleet.pid()),
        ]
    }

    pub async fn end(self) {
        drop(self.fleet);
        self.stop.cancel();
        self.handle.stopped().await;
        let _ = self.postgres.stop().await;
    }
}

/// Its parents must be enterable by the server's user.
fn postgres_dir(dir: &tempfile::TempDir) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    dir.path().join("postgres")
}
