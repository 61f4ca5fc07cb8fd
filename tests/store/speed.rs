//! How fast a first sync is written. Run with `--ignored --nocapture`, in release for figures.

use std::time::Instant;

use evenkeel::model::*;

use super::builders::*;
use super::support::*;

#[tokio::test]
#[ignore = "a measurement"]
async fn first_sync_of_ten_thousand_apps() {
    const APPS: usize = 10_000;
    let mut leader = leader().await;
    let mut changes = vec![Change::PutSource(Box::new(source(0)))];
    let mut events = Vec::new();
    for n in 0..APPS {
        let release = release(n, n + 1, 1);
        changes.push(declare(n, 0, n + 1));
        changes.push(Change::SetTarget {
            app: app(n),
            release: release.id,
        });
        let rollout = rollout(n, 20_000 + n, release.id, RolloutPhase::Preparing);
        changes.push(Change::PutRollout(Box::new(rollout)));
        changes.push(Change::AddInstance(Box::new(instance(n, &release, n % 3))));
        changes.push(Change::AddRelease(release));
        events.push(event(n, EventKind::AppDeclared));
    }
    let begun = Instant::now();
    leader.try_commit(&changes, &events).await.unwrap();
    let commit = begun.elapsed();
    let begun = Instant::now();
    leader.image = leader.store.load().await.unwrap();
    println!(
        "commit of {APPS} apps: {commit:?} ({:.0} apps/s); load: {:?}",
        APPS as f64 / commit.as_secs_f64(),
        begun.elapsed()
    );
    let small = [Change::SetHome {
        app: app(0),
        slot: 0,
        node: node_name(0),
    }];
    let begun = Instant::now();
    for _ in 0..100 {
        leader.commit(&small, &[]).await;
    }
    println!("small commit: {:?}", begun.elapsed() / 100);
}
