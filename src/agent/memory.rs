//! Counts and ends that must outlive the agent, in one small file.
//!
//! Losing counts costs little, so it is written at most once per [`PAUSE`] and at the end; a
//! damaged one is an empty one. Only what the next start waits for is written [`SOON`]: an agent
//! that is killed before starts a failing instance once more, too early. No start waits for the
//! disk, so on one that is slower than the shortest back-off this may still happen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failpoint::Op;
use crate::model::InstanceId;

use super::files;
use super::step::{Kept, Local};

/// Shortest time between two writes.
pub const PAUSE: Duration = Duration::from_secs(1);

/// The same where an instance has one setback more than is written: less than the shortest
/// wait before a start.
pub const SOON: Duration = Duration::from_millis(25);

type All = BTreeMap<InstanceId, Kept>;

/// How long after the last write the next one is due.
pub fn pause(saved: &All, local: &Local) -> Duration {
    let written = |id| saved.get(id).map_or(0, |kept| kept.attempts);
    let mut now = local.instances.iter();
    match now.any(|(id, memory)| memory.kept.attempts > written(id)) {
        true => SOON,
        false => PAUSE,
    }
}

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
    fn a_setback_is_written_before_the_start_that_waits_for_it() {
        let id = InstanceId(uuid::Uuid::from_u128(1));
        let mut local = Local::default();
        local.instances.entry(id).or_default().kept.exits = 1;
        assert_eq!(pause(&All::new(), &local), PAUSE);
        local.instances.entry(id).or_default().kept.attempts = 1;
        assert_eq!(pause(&All::new(), &local), SOON);
        assert_eq!(pause(&local.kept(), &local), PAUSE);
        assert!(SOON < crate::agent::step::backoff::MIN_DELAY);
    }

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
