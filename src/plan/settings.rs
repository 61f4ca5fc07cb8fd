//! The planner's knobs, cluster-wide.

use std::time::Duration;

/// Holds what would do harm on a large scale until a person agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brake {
    /// More than this share (percent) …
    pub percent: u32,
    /// … and at least this many.
    pub at_least: usize,
}

impl Brake {
    pub fn holds(self, affected: usize, of: usize) -> bool {
        affected >= self.at_least && affected * 100 > of * self.percent as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// On deletions by one sync, of the source's apps.
    pub deletions: Brake,
    /// On nodes that are silent at once: then we suspect ourselves and move nothing.
    pub silent_nodes: Brake,
    /// Silence after which nothing is assumed of a node's instances: five missed heartbeats.
    pub suspect_after: Duration,
    /// Silence after which a node counts as lost in lists; apps move by their own `onNodeLoss.after`.
    pub lost_after: Duration,
    /// Releases kept per app, besides those in use and those a rollback may need.
    pub keep_releases: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            deletions: Brake {
                percent: 50,
                at_least: 3,
            },
            silent_nodes: Brake {
                percent: 50,
                at_least: 2,
            },
            suspect_after: Duration::from_secs(15),
            lost_after: Duration::from_secs(60),
            keep_releases: 10,
        }
    }
}
