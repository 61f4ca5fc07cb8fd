//! What commits would do before they are merged.
//!
//! [`look`] runs `plan::preview` over a tree that somebody sends or that a mirror holds.
//!
//! Invariants: the cluster's image is held only while the trees are compared; what follows
//! runs on a copy, off the async threads, a few at a time. Nothing here writes to the cluster.

mod look;

pub(super) use look::Looks;
pub use look::Unreadable;
