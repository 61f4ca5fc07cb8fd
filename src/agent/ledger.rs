//! The desired set on disk, written before anything acts on it.
//!
//! Refuses an older (epoch, generation), and the same pair with other content.
//! If the file is damaged, the copy of its predecessor still tells which sets
//! are too old, but nothing is done on its word: it may list what has been
//! replaced since. Then the agent holds still until a new set comes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failpoint::Op;
use crate::model::{DesiredSet, NodeName};

use super::admission::{Admission, Known, Refused, admit};
use super::files;

/// Why a set is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the ledger {path} cannot be written")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The ledger of one node. Blocking: use it off the async threads.
#[derive(Debug)]
pub struct Ledger {
    node: NodeName,
    path: PathBuf,
    previous: PathBuf,
    set: Option<Arc<DesiredSet>>,
    /// Why the set may not be acted upon.
    hold: Option<String>,
}

/// What became of a set that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk and in force.
    New,
    /// It was in force already.
    Known,
}

impl Ledger {
    /// Reads what an earlier process left in `folder`. Never fails: what cannot be read is held.
    pub fn open(folder: &Path, node: NodeName) -> Ledger {
        let path = folder.join("ledger");
        let previous = folder.join("ledger.previous");
        let (set, hold) = match read_set(&path) {
            Ok(set) => (set, None),
            Err(why) => {
                let older = read_set(&previous).unwrap_or_default();
                (older, Some(format!("{why}; waiting for a new desired set")))
            }
        };
        // A folder that came from another node says nothing of this one.
        let foreign = set.as_ref().is_some_and(|s| s.node != node);
        let (set, hold) = if foreign {
            let why = "the ledger is another node's; waiting for a new desired set";
            (None, Some(why.to_owned()))
        } else {
            (set.map(Arc::new), hold)
        };
        Ledger {
            node,
            path,
            previous,
            set,
            hold,
        }
    }

    /// The set in force, or under [`Ledger::hold`] the last one known.
    pub fn set(&self) -> Option<&Arc<DesiredSet>> {
        self.set.as_ref()
    }

    /// Why nothing may be touched.
    pub fn hold(&self) -> Option<&str> {
        self.hold.as_deref()
    }

    /// Takes a set in: checked, and on disk when this returns.
    pub fn accept(&mut self, set: Arc<DesiredSet>) -> Result<Accepted, Error> {
        let known = match self.hold {
            None => Known::InForce,
            Some(_) => Known::Held,
        };
        match admit(&self.node, self.set.as_deref(), known, &set)? {
            Admission::Known => return Ok(Accepted::Known),
            Admission::New => {}
        }
        let failed = |source| Error::Write {
            path: self.path.clone(),
            source,
        };
        let body = serde_json::to_vec(&*set).map_err(|e| failed(e.into()))?;
        if self.hold.is_none() {
            files::keep_copy(&self.path, &self.previous).map_err(failed)?;
        }
        files::write(Op::AgentLedgerWrite, &self.path, &body).map_err(failed)?;
        self.set = Some(set);
        self.hold = None;
        Ok(Accepted::New)
    }
}

fn read_set(path: &Path) -> Result<Option<DesiredSet>, String> {
    let body = files::read(path).map_err(|e| match std::error::Error::source(&e) {
        Some(cause) => format!("{e}: {cause}"),
        None => e.to_string(),
    })?;
    body.map(|body| {
        serde_json::from_slice(&body)
            .map_err(|e| format!("{} is not a desired set: {e}", path.display()))
    })
    .transpose()
}

#[cfg(test)]
mod tests;
