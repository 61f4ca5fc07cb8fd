//! What following a source costs, against git2 alone.

use std::time::{Duration, Instant};

use crate::Fixture;
use crate::git_http::GitServer;

/// The median of a few runs.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn bare_fetch(mirror: &git2::Repository, url: &str) -> Duration {
    let start = Instant::now();
    let mut remote = mirror.remote_anonymous(url).unwrap();
    remote
        .fetch(&["+refs/heads/main:refs/heads/main"], None, None)
        .unwrap();
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_brings_nothing_costs_about_what_git2_needs() {
    let mut fixture = Fixture::new();
    let paths: Vec<String> = (0..10_000)
        .map(|n| format!("apps/{}/{n}.yaml", n / 100))
        .collect();
    let files: Vec<(&str, Option<&str>)> = paths.iter().map(|p| (p.as_str(), Some("1"))).collect();
    fixture.repo.commit("Many", &files);
    let server = GitServer::start(fixture.folder.path().join("repos"));
    for url in [fixture.spec.url.clone(), server.url("specs.git")] {
        fixture.spec.url = url.clone();
        let other = tempfile::tempdir().unwrap();
        let mirror = git2::Repository::init_bare(other.path()).unwrap();
        bare_fetch(&mirror, &url);
        fixture.fetch().await.unwrap();

        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..21 {
            bare.push(bare_fetch(&mirror, &url));
            let start = Instant::now();
            fixture.fetch().await.unwrap();
            ours.push(start.elapsed());
        }
        let (ours, bare) = (median(ours), median(bare));
        println!("{url}: ours {ours:?}, git2 alone {bare:?}");
        // `make bench` measures; this only notices when it grows with the repository.
        let allowed = bare * 2 + Duration::from_millis(20);
        assert!(ours < allowed, "{url}: ours {ours:?}, git2 alone {bare:?}");
    }
}
