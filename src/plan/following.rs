//! How far a source was followed: what of a new head is to be looked at, and what was written.

use std::collections::BTreeSet;

use crate::model::{AppKey, CommitId};
use crate::mutant::{Mutant, mutant};

/// Apps whose declaration may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Differing {
    All,
    Only(BTreeSet<AppKey>),
}

/// Memory of one task that follows a source; a new one looks at everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// What may differ from the snapshot: gathers what could not be written yet.
    differing: Differing,
    /// The head whose content is in the snapshot as far as it can be.
    taken: Option<CommitId>,
    /// The last attempt failed: the outcome has to be written anew.
    failed: bool,
}

impl Default for Following {
    fn default() -> Following {
        Following {
            differing: Differing::All,
            taken: None,
            failed: false,
        }
    }
}

impl Following {
    /// Whether there is nothing to do about this head. `refused`: apps of it are refused
    /// because another source declares them too; that one may have let go.
    pub fn is_taken(&self, head: &CommitId, refused: bool) -> bool {
        !self.failed && self.taken.as_ref() == Some(head) && !refused
    }

    /// Whether any head was taken over before.
    pub fn began(&self) -> bool {
        self.taken.is_some()
    }

    /// A tree was read that differs so from the one before it.
    pub fn saw(&mut self, new: Differing) {
        match (new, &mut self.differing) {
            (Differing::Only(new), Differing::Only(old)) => old.extend(new),
            (Differing::All, _) => self.differing = Differing::All,
            (Differing::Only(_), Differing::All) => {}
        }
    }

    /// The apps to compare with the snapshot; `None`: all, as after a failure, and for what
    /// another source let go.
    pub fn touched(&self, head: &CommitId) -> Option<&BTreeSet<AppKey>> {
        match &self.differing {
            Differing::Only(touched) if !self.failed && self.taken.as_ref() != Some(head) => {
                Some(touched)
            }
            Differing::Only(_) | Differing::All => None,
        }
    }

    /// Whether the head is another than the last that was taken over.
    pub fn is_new(&self, head: &CommitId) -> bool {
        self.taken.as_ref() != Some(head)
    }

    /// The head is in the snapshot.
    pub fn wrote(&mut self, head: &CommitId) {
        self.differing = Differing::Only(BTreeSet::new());
        self.failed = false;
        self.taken = Some(head.clone());
    }

    /// The head is known, and nothing of it was taken over: what it lost and what a later one
    /// brings back is not told by comparing the two.
    pub fn refused(&mut self, head: &CommitId) {
        self.wrote(head);
        if !mutant(Mutant::EmptyTreeForgotten) {
            self.differing = Differing::All;
        }
    }

    pub fn failed(&mut self) {
        self.failed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str) -> CommitId {
        CommitId(name.to_owned())
    }

    fn only(apps: &[&str]) -> Differing {
        Differing::Only(apps.iter().map(|a| a.parse().unwrap()).collect())
    }

    #[test]
    fn what_could_not_be_written_is_looked_at_again() {
        let mut following = Following::default();
        assert_eq!(following.touched(&head("1")), None, "all at first");
        assert!(following.is_new(&head("1")));
        following.wrote(&head("1"));
        assert!(!following.is_new(&head("1")));
        following.saw(only(&["a/b"]));
        following.saw(only(&["a/c"]));
        assert_eq!(following.touched(&head("2")).unwrap().len(), 2);
        following.failed();
        assert_eq!(following.touched(&head("2")), None, "all after a failure");
        assert!(!following.is_taken(&head("1"), false));
        following.wrote(&head("2"));
        assert!(following.is_taken(&head("2"), false) && !following.is_taken(&head("2"), true));
        following.refused(&head("empty"));
        following.saw(only(&["a/b"]));
        assert_eq!(
            following.touched(&head("3")),
            None,
            "all after an empty tree"
        );
        assert!(following.is_taken(&head("empty"), false));
        following.wrote(&head("3"));
        following.saw(Differing::All);
        following.saw(only(&["a/b"]));
        assert_eq!(following.touched(&head("4")), None);
    }
}
