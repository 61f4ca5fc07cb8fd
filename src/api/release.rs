//! An app's history: releases, and the commits of a source.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::release::ReleaseState;
use crate::model::{
    App, CommitId, Problem, Release, ReleaseId, SpecDigest, Timestamp, WorkloadDigest,
};

use super::app::Rejected;
use super::app_status::rejected;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseView {
    pub id: ReleaseId,
    /// Counts the app's releases from 1.
    pub number: u64,
    pub commit: CommitId,
    pub digest: SpecDigest,
    pub workload_digest: WorkloadDigest,
    pub state: ReleaseStateWord,
    /// Since when it is in that state; `null` for a new one.
    pub state_since: Option<Timestamp>,
    pub created_at: Timestamp,
    /// As declared; `null` for a process.
    pub image: Option<String>,
    /// `repository@sha256:…`, once a registry told it.
    pub pinned_image: Option<String>,
    /// It is the app's target.
    pub current: bool,
    /// Why its digest is quarantined.
    pub rejected: Option<Rejected>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReleaseStateWord {
    New,
    Stable,
    Rejected,
}

/// The view of `release`, which is one of `app`'s.
pub fn release_view(app: &App, release: &Release) -> ReleaseView {
    let (state, state_since) = match release.state {
        ReleaseState::New => (ReleaseStateWord::New, None),
        ReleaseState::Stable { at } => (ReleaseStateWord::Stable, Some(at)),
        ReleaseState::Rejected { at } => (ReleaseStateWord::Rejected, Some(at)),
    };
    ReleaseView {
        id: release.id,
        number: release.number,
        commit: release.commit.clone(),
        digest: release.spec_digest.clone(),
        workload_digest: release.workload_digest.clone(),
        state,
        state_since,
        created_at: release.created_at,
        image: release.spec.workload.image().map(str::to_owned),
        pinned_image: release.pinned_image.clone(),
        current: app.target == Some(release.id),
        rejected: app.quarantine.get(&release.spec_digest).map(rejected),
    }
}

/// All that are kept, newest first.
pub fn releases(app: &App) -> Vec<ReleaseView> {
    let mut list: Vec<_> = app.releases.values().collect();
    list.sort_by_key(|r| std::cmp::Reverse(r.number));
    list.into_iter().map(|r| release_view(app, r)).collect()
}

/// A commit of a source that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitView {
    pub id: CommitId,
    pub author: String,
    /// First line of its message.
    pub subject: String,
    /// When it was made, by its committer's clock.
    pub committed_at: Timestamp,
    pub seen_at: Timestamp,
    /// Whether its tree had no problems; `null`: not read.
    pub valid: Option<bool>,
    /// All of them, even where `problems` was cut.
    pub problem_count: u32,
    pub problems: Vec<Problem>,
}
