//! What earlier answers of the Engine taught, so that it need not be asked again.
//!
//! Only ever saves calls: every entry can be lost, and a wrong one is found out
//! by the Engine's 404.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::spec::Limits;
use crate::model::{InstanceId, Timestamp};

/// Whether a container has all the files it is to start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    Complete,
    /// Created, perhaps by an agent that died before it had filled it.
    Unknown,
}

/// What is known of an instance's container.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) container: String,
    pub(super) files: Files,
    /// Limits last put in force by us.
    pub(super) limits: Option<Limits>,
    /// We asked its present process to end.
    pub(super) stopped: bool,
    /// Who ended the run that began then: the Engine (true) or the app.
    pub(super) blame: Option<(Option<Timestamp>, bool)>,
}

impl Known {
    pub(super) fn new(container: String, files: Files) -> Known {
        Known {
            container,
            files,
            limits: None,
            stopped: false,
            blame: None,
        }
    }
}

#[derive(Default)]
pub(super) struct Memory {
    known: Mutex<BTreeMap<InstanceId, Known>>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: InstanceId) -> Option<Known> {
        self.lock().get(&id).cloned()
    }

    /// Adds what a look told to what is known of the same container.
    pub(super) fn learn(&self, id: InstanceId, new: Known) -> Known {
        let mut known = self.lock();
        let entry = known.entry(id).or_insert_with(|| new.clone());
        if entry.container != new.container {
            *entry = new;
        } else if new.files == Files::Complete {
            entry.files = Files::Complete;
        }
        entry.clone()
    }

    fn change(&self, id: InstanceId, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.lock().get_mut(&id) {
            change(known);
        }
    }

    pub(super) fn files_complete(&self, id: InstanceId, container: &str) {
        self.change(id, |known| {
            if known.container == container {
                known.files = Files::Complete;
            }
        });
    }

    pub(super) fn limits(&self, id: InstanceId, limits: Limits) {
        self.change(id, |known| known.limits = Some(limits));
    }

    pub(super) fn asked_to_stop(&self, id: InstanceId) {
        self.change(id, |known| known.stopped = true);
    }

    pub(super) fn started(&self, id: InstanceId) {
        self.change(id, |known| known.stopped = false);
    }

    pub(super) fn blamed(&self, id: InstanceId, started: Option<Timestamp>, by_runtime: bool) {
        self.change(id, |known| known.blame = Some((started, by_runtime)));
    }

    /// That container is gone.
    pub(super) fn forget(&self, id: InstanceId, container: &str) {
        let mut known = self.lock();
        if known.get(&id).is_some_and(|k| k.container == container) {
            known.remove(&id);
        }
    }

    pub(super) fn forget_instance(&self, id: InstanceId) {
        self.lock().remove(&id);
    }

    pub(super) fn snapshot(&self) -> BTreeMap<InstanceId, String> {
        self.lock()
            .iter()
            .map(|(id, known)| (*id, known.container.clone()))
            .collect()
    }

    /// Of what was known before a full look, drops what the look did not show.
    /// What was created meanwhile stays.
    pub(super) fn forget_missing(
        &self,
        before: &BTreeMap<InstanceId, String>,
        shown: &[InstanceId],
    ) {
        for (id, container) in before {
            if !shown.contains(id) {
                self.forget(*id, container);
            }
        }
    }
}
