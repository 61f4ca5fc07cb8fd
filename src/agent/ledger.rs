//! The desired set on disk, written before anything acts on it.
//!
//! Refuses an older (epoch, generation), and the same pair with other content.
//! If the file is damaged, the copy of its predecessor still tells which sets
//! are too old, but nothing is done on its word: it may list what has been
//! replaced since. Then the agent holds still until a new set comes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{DesiredSet, Epoch, Generation, NodeName};

use super::files;

/// Why a set is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "refused an older desired set: epoch {} generation {}, but epoch {} generation {} is known",
        got.0.0, got.1.0, have.0.0, have.1.0
    )]
    Older {
        have: (Epoch, Generation),
        got: (Epoch, Generation),
    },
    #[error(
        "refused a second desired set with epoch {} generation {}: {difference}",
        at.0.0, at.1.0
    )]
    Conflict {
        at: (Epoch, Generation),
        difference: String,
    },
    #[error("refused a desired set for node {got}: this is {have}")]
    OtherNode { have: NodeName, got: NodeName },
    #[error("refused a desired set of cluster \"{got}\": this node belongs to \"{have}\"")]
    OtherCluster { have: String, got: String },
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
        if set.node != self.node {
            return Err(Error::OtherNode {
                have: self.node.clone(),
                got: set.node.clone(),
            });
        }
        if let Some(have) = &self.set {
            if have.cluster != set.cluster {
                return Err(Error::OtherCluster {
                    have: have.cluster.clone(),
                    got: set.cluster.clone(),
                });
            }
            let (old, new) = (key(have), key(&set));
            if new < old {
                return Err(Error::Older {
                    have: old,
                    got: new,
                });
            }
            if new == old && **have != *set {
                return Err(Error::Conflict {
                    at: new,
                    difference: difference(have, &set),
                });
            }
            if new == old && self.hold.is_none() {
                return Ok(Accepted::Known);
            }
        }
        let failed = |source| Error::Write {
            path: self.path.clone(),
            source,
        };
        let body = serde_json::to_vec(&*set).map_err(|e| failed(e.into()))?;
        if self.hold.is_none() {
            files::keep_copy(&self.path, &self.previous).map_err(failed)?;
        }
        files::write(&self.path, &body).map_err(failed)?;
        self.set = Some(set);
        self.hold = None;
        Ok(Accepted::New)
    }
}

fn key(set: &DesiredSet) -> (Epoch, Generation) {
    (set.epoch, set.generation)
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

/// The first thing in which two sets differ.
fn difference(have: &DesiredSet, got: &DesiredSet) -> String {
    for (id, instance) in &got.instances {
        match have.instances.get(id) {
            None => return format!("it adds instance {id} of {}", instance.app),
            Some(known) if known.goal != instance.goal => {
                return format!("it changes the goal of instance {id} of {}", instance.app);
            }
            Some(known) if known != instance => {
                return format!("it changes instance {id} of {}", instance.app);
            }
            Some(_) => {}
        }
    }
    if let Some((id, instance)) = have
        .instances
        .iter()
        .find(|(id, _)| !got.instances.contains_key(id))
    {
        return format!("it drops instance {id} of {}", instance.app);
    }
    "its images differ".to_owned()
}

#[cfg(test)]
mod tests;
