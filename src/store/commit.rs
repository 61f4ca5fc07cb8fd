//! The one transaction that moves the cluster state.

use super::{Epoch, Error, Event, Generation, Store};
use crate::model::Change;

/// A decision, ready to be made true.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// The leadership under which it was decided.
    pub epoch: Epoch,
    /// The generation it was decided on.
    pub base: Generation,
    /// What caused it, in a few words: `sync web 1f3c9a2b`, `report node-1`.
    pub cause: &'a str,
    pub changes: &'a [Change],
    pub events: &'a [Event],
}

/// What a commit made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The state's new generation: `base` plus one.
    pub generation: Generation,
    /// The commit's events, in its order, with their ids.
    pub events: Vec<Event>,
}

impl Store {
    /// Writes all of it or nothing.
    ///
    /// Errors: `StaleEpoch`, `StaleGeneration`, `Unavailable`, `Constraint` and
    /// `Diverged` wrote nothing; after `OutcomeUnknown` only a [`Store::load`] tells.
    pub async fn commit(&self, commit: Commit<'_>) -> Result<Committed, Error> {
        let _ = commit;
        Err(Error::corrupt("commit", "not built yet"))
    }
}
