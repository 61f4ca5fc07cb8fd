//! What a leader does every ten minutes only: forgets old history, tidies the mirrors. Too
//! rare for the script, so a child of this very test does it, on a real Postgres and real
//! mirrors, and dies in it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use evenkeel::failpoint::{self, Op};
use evenkeel::git::Mirrors;
use evenkeel::model::{Actor, Event, EventKind, Generation, SourceSpec, Timestamp};
use evenkeel::store::{Commit, ConnectOptions, EventQuery, Retention, Store};

use crate::git_http::TestRepo;
use crate::pg;

pub const OPS: [Op; 4] = [
    Op::StoreCollect,
    Op::GitRepack,
    Op::GitDropPack,
    Op::GitRemoveMirror,
];

const FOLDER: &str = "HOUSEKEEPING_FOLDER";
const DATABASE: &str = "HOUSEKEEPING_DATABASE";

/// Enough for a mirror to be packed anew.
const FETCHES: usize = 55;
/// Packs of a mirror, each of two files, that are left alone.
const PACKS: usize = evenkeel::git::limits::PACKS;
const EVENTS_KEPT: u64 = 5;

fn spec(folder: &Path, name: &str) -> SourceSpec {
    SourceSpec::new(
        name.parse().unwrap(),
        folder.join("repo.git").display().to_string(),
        "shop".parse().unwrap(),
    )
}

async fn connect(url: &str) -> Store {
    Store::connect(url, ConnectOptions::default())
        .await
        .unwrap()
}

/// A database with much history, and two mirrors of which one is no longer followed.
async fn prepare(folder: &Path, database: &str) {
    let store = connect(database).await;
    let ttl = Duration::from_secs(60);
    let lease = store
        .acquire_lease("one", "here", ttl)
        .await
        .unwrap()
        .unwrap();
    let events: Vec<Event> = (0..20)
        .map(|n| {
            Event::new(
                Timestamp(n),
                Actor::Controller,
                EventKind::SyncOk,
                format!("event {n}"),
            )
        })
        .collect();
    let commit = Commit {
        epoch: lease.epoch,
        base: Generation(0),
        cause: "test",
        changes: &[],
        events: &events,
        outbox: &[],
    };
    store.commit(commit).await.unwrap();
    store.close().await;
    let mirrors = Mirrors::open(folder.join("mirrors")).unwrap();
    for n in 0..FETCHES {
        let text = format!("{n}");
        // The repository must not be held over a wait.
        TestRepo::create(folder.join("repo.git")).commit("next", &[("a.yaml", Some(&text))]);
        mirrors.fetch(&spec(folder, "kept"), LONG).await.unwrap();
    }
    mirrors.fetch(&spec(folder, "left"), LONG).await.unwrap();
}

const LONG: Duration = Duration::from_secs(60);

/// What is left, and whether it can be used.
async fn left(folder: &Path, database: &str) -> String {
    let store = connect(database).await;
    let events = store.events(&EventQuery::default()).await.unwrap().len();
    store.close().await;
    let mut mirrors: Vec<(String, &str)> = Vec::new();
    for entry in std::fs::read_dir(folder.join("mirrors")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pack = entry.path().join("objects/pack");
        let packs = std::fs::read_dir(pack).into_iter().flatten().count();
        // Some that are of no use any more may wait for the next time, but not pile up.
        let bound = match packs <= 2 * PACKS {
            true => "in bounds",
            false => "too many",
        };
        mirrors.push((name.split('-').next().unwrap().to_owned(), bound));
    }
    mirrors.sort();
    let opened = Mirrors::open(folder.join("mirrors")).unwrap();
    let spec = spec(folder, "kept");
    let head = opened.fetch(&spec, LONG).await.unwrap().head;
    let files = opened.changed(&spec, None, &head).await.unwrap();
    let read = opened.read(&spec, &head, "a.yaml", 100).await.unwrap();
    format!(
        "{events} events, {mirrors:?}, {} files, {read:?}",
        files.len()
    )
}

fn keep_house(folder: &Path, database: &str, armed: Option<&str>) -> std::process::ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "housekeeping::one_round", "--ignored"])
        .env(FOLDER, folder)
        .env(DATABASE, database)
        .env_remove("EVENKEEL_FAILPOINT");
    if let Some(point) = armed {
        command.env("EVENKEEL_FAILPOINT", point);
    }
    command.output().unwrap().status
}

/// The child: what `controller::retention` calls.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test below, in a process of its own"]
async fn one_round() {
    failpoint::arm_from_env().unwrap();
    let folder = std::env::var(FOLDER).unwrap();
    let store = connect(&std::env::var(DATABASE).unwrap()).await;
    let ttl = Duration::from_secs(60);
    let lease = store
        .acquire_lease("one", "here", ttl)
        .await
        .unwrap()
        .unwrap();
    let retention = Retention {
        events_max_age: Duration::from_secs(u32::MAX.into()),
        events_max_count: EVENTS_KEPT,
        ..Retention::default()
    };
    store.collect(lease.epoch, &retention).await.unwrap();
    let mirrors = Mirrors::open(Path::new(&folder).join("mirrors")).unwrap();
    mirrors
        .tidy(&[spec(Path::new(&folder), "kept")])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_keeping_house_changes_nothing() {
    let calm = round(None).await;
    let wanted = "5 events, [(\"kept\", \"in bounds\")], 1 files";
    assert!(calm.contains(wanted), "{calm}");
    for op in OPS {
        for side in ["pre", "post"] {
            // Dropping packs takes many steps: a file each.
            let hits: &[u32] = match op {
                Op::GitDropPack => &[1, 2, 101],
                _ => &[1],
            };
            for hit in hits {
                let point = format!("{}-{side}:{hit}", op.name());
                assert_eq!(round(Some(&point)).await, calm, "{point}");
            }
        }
    }
}

async fn round(point: Option<&str>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let database = pg::url().await;
    prepare(dir.path(), &database).await;
    if point.is_some() {
        let status = keep_house(dir.path(), &database, point);
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "{point:?} was never reached: {status}");
    }
    assert!(keep_house(dir.path(), &database, None).success());
    left(dir.path(), &database).await
}
