//! What wakes the look at a source's pull requests.

use tokio::sync::Notify;

use crate::model::{Event, EventKind, SourceName};

#[derive(Default)]
pub(super) struct Signals {
    asked: Notify,
    cluster: Notify,
}

impl Signals {
    /// Somebody told that a pull request, or the branch, is another.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    pub fn change_cluster(&self) {
        self.cluster.notify_one();
    }

    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    pub async fn cluster_changed(&self) {
        self.cluster.notified().await;
    }
}

/// Whom an event wakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wakes {
    Nobody,
    /// The sources themselves are others.
    Sources,
    /// Its branch has another head.
    Branch(SourceName),
    /// Plans may be others.
    Cluster,
}

pub(super) fn wakes(event: &Event) -> Wakes {
    use EventKind as K;
    match event.kind {
        K::SourceAdded | K::SourceChanged | K::SourceRemoved => Wakes::Sources,
        K::SyncOk => event.source.clone().map_or(Wakes::Nobody, Wakes::Branch),
        K::AppRemoved
        | K::AppSuspended
        | K::AppResumed
        | K::SyncReleased
        | K::RolloutSucceeded
        | K::RolloutRolledBack
        | K::RolloutFailed
        | K::ReleaseQuarantined
        | K::ReleaseReleased
        | K::NodeRegistered
        | K::NodeLost
        | K::NodeReturned
        | K::NodeScheduling => Wakes::Cluster,
        // Steps on the way, of which an end is told too, and what changes no plan.
        _ => Wakes::Nobody,
    }
}
