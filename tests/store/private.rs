//! The private server: kept between runs, restarted, and never two on one folder.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel::model::*;
use evenkeel::store::Store;
use evenkeel::store::private_postgres::{Durability, Error, Options, PrivatePostgres};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::builders::*;
use super::pg;
use super::support::*;

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    // The server's user must be able to pass.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn open(server: &PrivatePostgres) -> Store {
    let store = Store::connect(server.url(), pg::options()).await.unwrap();
    store.migrate().await.unwrap();
    store
}

fn alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    !stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .trim()
        .starts_with('Z')
}

#[tokio::test]
async fn data_survives_a_stop_and_a_start() {
    let dir = folder();
    let server = pg::start_in(dir.path()).await;
    let pid = server.server_pid().unwrap();
    let mut leader = lead(open(&server).await, server.url().to_owned()).await;
    leader
        .commit(&[Change::PutSource(Box::new(source(0)))], &[])
        .await;
    leader.store.close().await;
    server.stop().await.unwrap();
    assert!(!alive(pid));
    let server = pg::start_in(dir.path()).await;
    let loaded = open(&server).await.load().await.unwrap();
    check_same(&leader.image, &loaded);
}

#[tokio::test]
async fn a_killed_server_is_started_again_and_the_store_recovers() {
    let dir = folder();
    let server = pg::start_in(dir.path()).await;
    let mut leader = lead(open(&server).await, server.url().to_owned()).await;
    leader
        .commit(&[Change::PutSource(Box::new(source(0)))], &[])
        .await;
    for _ in 0..2 {
        let pid = server.server_pid().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        until("another server answers", async || {
            server.server_pid().is_some_and(|p| p != pid) && leader.store.load().await.is_ok()
        })
        .await;
        leader.check().await;
        leader.commit(&[declare(0, 0, 1)], &[]).await;
    }
}

#[tokio::test]
async fn a_second_evenkeel_is_kept_off_the_folder() {
    let dir = folder();
    let _server = pg::start_in(dir.path()).await;
    let error = PrivatePostgres::start(Options::new(dir.path())).await;
    assert!(matches!(error, Err(Error::Busy { .. })), "{error:?}");
}

#[tokio::test]
async fn a_deep_folder_has_its_socket_elsewhere() {
    let dir = folder();
    let deep = dir
        .path()
        .join("x".repeat(60))
        .join("y y")
        .join("z".repeat(40));
    let server = pg::start_in(&deep).await;
    open(&server).await.load().await.unwrap();
    let (_, host) = server.url().split_once("host=").unwrap();
    let sockets = PathBuf::from(host.split('&').next().unwrap());
    server.stop().await.unwrap();
    let _ = std::fs::remove_dir_all(sockets);
}

#[tokio::test]
async fn a_folder_that_the_servers_user_cannot_reach_is_named() {
    if !nix::unistd::geteuid().is_root() {
        // Without root the server runs as ourselves: nothing to check.
        return;
    }
    let closed = folder();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(closed.path(), private).unwrap();
    let error = PrivatePostgres::start(Options::new(closed.path().join("pg")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotEnterable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&closed.path().display().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn data_of_another_version_is_left_alone() {
    let dir = folder();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/PG_VERSION"), "9\n").unwrap();
    let error = PrivatePostgres::start(Options::new(dir.path()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::VersionMismatch { data: 9, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_start_quotes_its_log() {
    let dir = folder();
    pg::start_in(dir.path()).await.stop().await.unwrap();
    let conf = dir.path().join("data/postgresql.conf");
    std::fs::write(conf, "no_such_setting = 1\n").unwrap();
    let error = PrivatePostgres::start(Options::new(dir.path()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

const HELPER_DIR: &str = "EVENKEEL_TEST_PRIVATE_POSTGRES";

/// Not a test: the process that the next one kills.
#[tokio::test]
#[ignore = "helper of the next"]
async fn helper_that_is_killed() {
    let Some(dir) = std::env::var_os(HELPER_DIR) else {
        return;
    };
    let server = pg::start_in(Path::new(&dir)).await;
    let mut leader = lead(open(&server).await, String::new()).await;
    leader
        .commit(&[Change::PutSource(Box::new(source(0)))], &[])
        .await;
    println!("\nserver {}", server.server_pid().unwrap());
    std::future::pending::<()>().await;
}

/// Starts the helper; gives its process and its server's pid.
fn helper(dir: &Path) -> (std::process::Child, i32) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "private::helper_that_is_killed",
        ])
        .env(HELPER_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("server ")?.parse().ok())
        .unwrap();
    (child, pid)
}

#[tokio::test]
async fn the_server_ends_with_a_killed_owner_and_its_data_is_kept() {
    let dir = folder();
    let (mut child, pid) = helper(dir.path());
    child.kill().unwrap();
    child.wait().unwrap();
    until("the orphan ends", async || !alive(pid)).await;
    let server = pg::start_in(dir.path()).await;
    let loaded = open(&server).await.load().await.unwrap();
    assert_eq!(loaded.sources.len(), 1);
}

/// Where the kernel's word to the server is lost: the leftover is shut down, not joined by a second.
#[tokio::test]
async fn a_leftover_server_is_shut_down_first() {
    let dir = folder();
    let (mut child, pid) = helper(dir.path());
    // A stopped process does not hear of its parent's death before it is continued.
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(alive(pid));
    // The last folder that a start sees to before it looks for leftovers.
    let log = dir.path().join("log");
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o755)).unwrap();
    let starting = pg::start_in(dir.path());
    let continuing = async {
        until("a second one starts", async || {
            let mode = std::fs::metadata(&log).unwrap().permissions().mode();
            mode & 0o777 == 0o700
        })
        .await;
        kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
    };
    let (server, ()) = tokio::join!(starting, continuing);
    assert!(!alive(pid));
    let loaded = open(&server).await.load().await.unwrap();
    assert_eq!(loaded.sources.len(), 1);
    assert_eq!(Durability::Full, Options::new("x").durability);
}
