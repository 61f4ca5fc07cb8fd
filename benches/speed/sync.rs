//! A sync that changes nothing, in a repository of 10,000 apps, against a bare fetch.
//!
//! The whole sync of a running controller: from the trigger to the end of the
//! attempt, with a private Postgres behind it.

use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel::controller::{self, Handle, Options};
use evenkeel::git::Mirrors;
use evenkeel::model::{SourceName, SourceSpec, SyncOutcome};
use evenkeel::plan::operate::plan_add_source;
use tokio_util::sync::CancellationToken;

use crate::bare_fetch::BareFetch;
use crate::git_http::GitServer;
use crate::samples::Pairs;
use crate::table::Figure;
use crate::{pg, tree};

const APPS: usize = 10_000;
const BOUND: f64 = 1.5;
const PAIRS: usize = 60;
/// Taking in 10,000 apps, on a machine that has other work.
const LONG: Duration = Duration::from_secs(300);

pub async fn measure() -> Vec<Figure> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo.git");
    tree::repository(path.clone(), APPS);
    let server = GitServer::start(dir.path());
    let (local, http) = (path.display().to_string(), server.url("repo.git"));
    let mut figures = Vec::new();
    for (how, url) in [("local", local), ("http", http)] {
        let pairs = pairs(dir.path(), how, &url).await;
        figures.push(Figure::ratio(
            &format!("sync of {APPS} unchanged apps, {how} / bare fetch"),
            &pairs.ratios(),
            BOUND,
            pairs.times(),
        ));
    }
    figures
}

async fn pairs(dir: &Path, how: &str, url: &str) -> Pairs {
    let database = pg::database().await;
    let mirrors = Mirrors::open(dir.join(format!("mirrors-{how}"))).unwrap();
    let options = Options::new("bench", "bench", "http://127.0.0.1:1");
    let stop = CancellationToken::new();
    let handle = controller::start(database.store.clone(), mirrors, options, stop.clone());
    let source: SourceName = "repo".parse().unwrap();
    add_source(&handle, &source, url).await;
    settle(&handle, &source).await;

    let bare = dir.join(format!("bare-{how}.git"));
    let url = url.to_owned();
    let mut bare = tokio::task::spawn_blocking(move || {
        let mut bare = BareFetch::start(&url, &bare);
        bare.fetch();
        bare
    })
    .await
    .unwrap();
    let mut pairs = Pairs::default();
    for _ in 0..PAIRS {
        let product = sync(&handle, &source).await;
        let baseline = tokio::task::block_in_place(|| bare.fetch());
        pairs.add(product, baseline);
    }
    stop.cancel();
    handle.stopped().await;
    pairs
}

async fn add_source(handle: &Handle, name: &SourceName, url: &str) {
    let spec = SourceSpec {
        // Polls would come between.
        interval: Duration::from_secs(3600),
        ..SourceSpec::new(name.clone(), url, "shop".parse().unwrap())
    };
    let end = Instant::now() + LONG;
    loop {
        let added = handle
            .transact("bench", |snapshot, now, _| {
                plan_add_source(now, snapshot, spec.clone(), "bench")
            })
            .await;
        match added {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < end, "no leadership: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until all apps are taken in and nothing moves any more.
async fn settle(handle: &Handle, source: &SourceName) {
    let end = Instant::now() + LONG;
    let mut quiet = (None, Instant::now());
    loop {
        let apps = handle.read(|s| s.apps.len()).unwrap_or(0);
        let generation = handle.status().generation;
        if quiet.0 != Some(generation) {
            quiet = (Some(generation), Instant::now());
        }
        let outcome = handle.sync_status(source).map(|s| s.outcome);
        if apps == APPS
            && outcome == Some(SyncOutcome::Ok)
            && quiet.1.elapsed() > Duration::from_secs(2)
        {
            return;
        }
        assert!(
            Instant::now() < end,
            "{apps} of {APPS} apps, sync {outcome:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// From the trigger to the end of the attempt.
async fn sync(handle: &Handle, source: &SourceName) -> Duration {
    let attempts = || handle.sync_status(source).map_or(0, |s| s.attempts);
    let before = attempts();
    let begun = Instant::now();
    handle.trigger_sync(source).unwrap();
    while attempts() == before {
        assert!(begun.elapsed() < LONG, "the sync does not end");
        tokio::task::yield_now().await;
    }
    begun.elapsed()
}
