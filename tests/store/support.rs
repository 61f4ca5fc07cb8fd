//! A store that leads, and what it means for two snapshots to be the same.

use std::time::Duration;

use evenkeel::model::*;
use evenkeel::store::{Commit, Committed, Error, Store};

use super::pg;

pub const TTL: Duration = Duration::from_secs(60);

/// A database, the leadership of it, and the image that must agree with it.
pub struct Leader {
    pub store: Store,
    pub url: String,
    pub epoch: Epoch,
    pub image: Snapshot,
}

pub async fn leader() -> Leader {
    let database = pg::database().await;
    lead(database.store, database.url).await
}

pub async fn lead(store: Store, url: String) -> Leader {
    let lease = store.acquire_lease("me", "127.0.0.1:7600", TTL).await;
    let image = store.load().await.unwrap();
    Leader {
        epoch: lease.unwrap().unwrap().epoch,
        store,
        url,
        image,
    }
}

impl Leader {
    /// Commits and, as the controller does, applies the same in memory.
    pub async fn commit(&mut self, changes: &[Change], events: &[Event]) -> Committed {
        let committed = self.try_commit(changes, events).await.unwrap();
        self.image.apply_all(changes).unwrap();
        self.image.generation = committed.generation;
        committed
    }

    pub async fn try_commit(
        &self,
        changes: &[Change],
        events: &[Event],
    ) -> Result<Committed, Error> {
        self.store
            .commit(Commit {
                epoch: self.epoch,
                base: self.image.generation,
                cause: "a test",
                changes,
                events,
                outbox: &[],
            })
            .await
    }

    pub async fn check(&self) {
        check_same(&self.image, &self.store.load().await.unwrap());
    }
}

/// Equal but for empty entries that an index may keep.
pub fn check_same(image: &Snapshot, loaded: &Snapshot) {
    assert_eq!(image.generation, loaded.generation);
    assert_eq!(image.sources, loaded.sources);
    assert_eq!(image.nodes, loaded.nodes);
    assert_eq!(
        image.apps.keys().collect::<Vec<_>>(),
        loaded.apps.keys().collect::<Vec<_>>()
    );
    for (key, app) in &image.apps {
        assert_eq!(*app, loaded.apps[key], "app {key}");
        let keys = |s: &Snapshot| s.apps_of(&app.source).cloned().collect::<Vec<_>>();
        assert_eq!(keys(image), keys(loaded), "apps of {}", app.source);
    }
    for n in 0..5 {
        let node = super::builders::node_name(n);
        let usage = |s: &Snapshot| s.usage(&node).cloned().unwrap_or_default();
        assert_eq!(usage(image), usage(loaded), "usage of {node}");
        let preparing = |s: &Snapshot| s.preparing_on(&node).cloned().collect::<Vec<_>>();
        assert_eq!(preparing(image), preparing(loaded), "preparing on {node}");
    }
}
