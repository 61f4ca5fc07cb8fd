//! Counts and ends that must outlive the agent, in one small file.
//!
//! Losing it costs counts, never an action, so it is written at most once per
//! [`PAUSE`] and at the end; a damaged one is an empty one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failpoint::Op;
use crate::model::InstanceId;

use super::files;
use super::step::Kept;

/// Shortest time between two writes.
pub const PAUSE: Duration = Duration::from_secs(1);

type All = BTreeMap<InstanceId, Kept>;

/// The file. Blocking: use it off the async threads.
#[derive(Debug, Clone)]
pub struct MemoryFile {
    path: PathBuf,
}

impl MemoryFile {
    pub fn new(folder: &Path) -> MemoryFile {
        MemoryFile {
            path: folder.join("memory"),
        }
    }

    /// What an earlier process knew, and what was wrong with the file if anything was.
    pub fn load(&self) -> (All, Option<String>) {
        let parsed = match files::read(&self.path) {
            Ok(None) => return (All::new(), None),
            Ok(Some(body)) => serde_json::from_slice(&body).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        match parsed {
            Ok(all) => (all, None),
            Err(why) => (All::new(), Some(why)),
        }
    }

    pub fn save(&self, all: &All) -> std::io::Result<()> {
        files::write(Op::AgentMemoryWrite, &self.path, &serde_json::to_vec(all)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = MemoryFile::new(dir.path());
        assert_eq!(file.load(), (All::new(), None));
        let kept = Kept {
            exits: 3,
            ..Kept::default()
        };
        let all = All::from([(crate::agent::testing::id(1), kept)]);
        file.save(&all).unwrap();
        assert_eq!(file.load(), (all, None));
        std::fs::write(dir.path().join("memory"), "evenkeel-1 0\n").unwrap();
        let (all, why) = file.load();
        assert!(all.is_empty() && why.is_some());
    }
}
