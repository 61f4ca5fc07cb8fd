//! Forgetting: what only history needs goes after a while, in small batches.
//!
//! Releases and quarantine are not its business: the planner forgets releases
//! through `Change::ForgetRelease`, so that image and database agree.

use std::time::Duration;

use super::{Epoch, Error, Store};

/// How much history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    pub events_max_age: Duration,
    pub events_max_count: u64,
    /// Ended rollouts per app; the last or active one is always kept.
    pub rollouts_per_app: u32,
    pub commits_per_source: u32,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            events_max_age: Duration::from_secs(30 * 24 * 3600),
            events_max_count: 200_000,
            rollouts_per_app: 50,
            commits_per_source: 200,
        }
    }
}

/// What one run removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub events: u64,
    pub rollouts: u64,
    pub commits: u64,
    /// A bound of this run was reached: call again soon.
    pub more: bool,
}

impl Store {
    /// One bounded run.
    pub async fn collect(&self, epoch: Epoch, retention: &Retention) -> Result<Collected, Error> {
        let _ = (epoch, retention);
        Err(Error::corrupt("collect", "not built yet"))
    }
}
