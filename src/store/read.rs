//! What the API lists and the leader does not keep in memory.

use super::{Epoch, Error, Event, Store};
use crate::model::{AppKey, CommitId, EventKind, Problem, Release, Rollout, SourceName, Timestamp};

/// Most rows that one list call returns.
pub const MAX_PAGE: u32 = 1000;

/// Filters are combined with "and". With `after_id` the oldest events above it
/// come first (following); without, the newest first (paging back with `before_id`).
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    pub after_id: Option<i64>,
    pub before_id: Option<i64>,
    pub app: Option<AppKey>,
    pub source: Option<SourceName>,
    pub kind: Option<EventKind>,
    /// At most [`MAX_PAGE`]; 0 means that.
    pub limit: u32,
}

/// A revision of a source that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRecord {
    pub source: SourceName,
    pub commit: CommitId,
    pub author: String,
    /// First line of its message.
    pub subject: String,
    /// When it was made, by its committer's clock.
    pub committed_at: Timestamp,
    pub seen_at: Timestamp,
    /// Whether its tree had no problems; `None`: not read.
    pub valid: Option<bool>,
    /// All of them, even where `problems` was cut.
    pub problem_count: u32,
    pub problems: Vec<Problem>,
}

impl Store {
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, Error> {
        let _ = query;
        Err(Error::corrupt("events", "not built yet"))
    }

    /// Newest seen first.
    pub async fn commits(
        &self,
        source: &SourceName,
        limit: u32,
    ) -> Result<Vec<CommitRecord>, Error> {
        let _ = (source, limit);
        Err(Error::corrupt("commits", "not built yet"))
    }

    /// Adds them, or updates what is known of them.
    pub async fn record_commits(
        &self,
        epoch: Epoch,
        commits: &[CommitRecord],
    ) -> Result<(), Error> {
        let _ = (epoch, commits);
        Err(Error::corrupt("record commits", "not built yet"))
    }

    /// Newest first.
    pub async fn releases(&self, app: &AppKey) -> Result<Vec<Release>, Error> {
        let _ = app;
        Err(Error::corrupt("releases", "not built yet"))
    }

    /// Newest first; the app's last or active one is the first.
    pub async fn rollouts(&self, app: &AppKey, limit: u32) -> Result<Vec<Rollout>, Error> {
        let _ = (app, limit);
        Err(Error::corrupt("rollouts", "not built yet"))
    }
}
