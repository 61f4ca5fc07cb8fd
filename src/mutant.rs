//! Rules broken on purpose, one at a time, to prove that the simulation notices.
//!
//! Owns the list of them and the switch. In every build but those of tests and of the
//! simulator [`mutant`] is constantly false and costs nothing. The switch is the thread's own:
//! runs beside each other do not see each other's.

/// A rule of the product that can be broken. The last ones are bugs that the simulator found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// One instance more than `replicas + maxSurge` is created.
    SurgeOffByOne,
    /// One serving instance fewer than promised is left.
    FloorOffByOne,
    /// All old ones stop before a new one serves.
    StopBeforeStart,
    /// Ready counts as healthy.
    MinHealthySkipped,
    /// A rejected digest is rolled out again.
    QuarantineForgotten,
    /// A rollback goes to any release, proven or not.
    RollbackToUnproven,
    /// A failing rollback is rolled back.
    RollbackRolledBack,
    /// Old instances stop while images are under way.
    ImagesNotAwaited,
    /// A silent node's instances count as gone.
    UnknownIsAbsent,
    /// A node that was silent for a moment is given up.
    RescheduleOnSuspect,
    /// Most nodes silent at once are believed to be lost.
    SilenceBrakeOff,
    /// Any number of deletions is carried out.
    DeletionBrakeOff,
    /// A file that cannot be read declares nothing.
    UnreadableIsDeletion,
    /// Fixed ports of a node are given out twice.
    PortsOverCommitted,
    /// A volume may be written by two.
    VolumesShared,
    /// Memory and processor of a node are given out twice.
    ResourcesOverCommitted,
    /// A deadline that passed while nobody led condemns.
    UnwatchedDeadlines,
    /// Reports are taken in whatever order they come.
    LateReportsTaken,
    /// A leader goes on after its lease ran out.
    LeaseOutlived,
    /// An agent obeys an older leadership.
    AgentTakesOlderEpoch,
    /// An agent obeys an older state.
    AgentTakesOlderGeneration,
    /// An agent acts on a ledger that it could not read.
    AgentIgnoresHold,
    /// An agent takes a runtime's silence for absence.
    AgentTrustsSilence,
    /// The store takes commits of an ended leadership.
    StoreTakesOlderEpoch,
    /// The store takes commits that were decided on another state.
    StoreTakesStaleBase,
    /// A rejected version is started again while two versions become one.
    RejectedRevived,
    /// After an empty tree only what differs from it is looked at.
    EmptyTreeForgotten,
    /// What a node's reboot did to an instance condemns its release.
    RebootCondemns,
    /// Deadlines of instances run on while nobody hears their node.
    SilenceCounts,
    /// What runs is rejected once it cannot be whole, when its spec is committed again.
    RunningRefused,
    /// A report that comes while its node's silence is written down is forgotten.
    HeardTooLate,
    /// A node that is silent for a moment is not waited for with its image.
    SilentNodesImageNotAwaited,
    /// The time in which a rollback is paused counts against it when it goes on.
    PausedTimeCounts,
}

impl Mutant {
    pub const ALL: [Mutant; 33] = [
        Mutant::SurgeOffByOne,
        Mutant::FloorOffByOne,
        Mutant::StopBeforeStart,
        Mutant::MinHealthySkipped,
        Mutant::QuarantineForgotten,
        Mutant::RollbackToUnproven,
        Mutant::RollbackRolledBack,
        Mutant::ImagesNotAwaited,
        Mutant::UnknownIsAbsent,
        Mutant::RescheduleOnSuspect,
        Mutant::SilenceBrakeOff,
        Mutant::DeletionBrakeOff,
        Mutant::UnreadableIsDeletion,
        Mutant::PortsOverCommitted,
        Mutant::VolumesShared,
        Mutant::ResourcesOverCommitted,
        Mutant::UnwatchedDeadlines,
        Mutant::LateReportsTaken,
        Mutant::LeaseOutlived,
        Mutant::AgentTakesOlderEpoch,
        Mutant::AgentTakesOlderGeneration,
        Mutant::AgentIgnoresHold,
        Mutant::AgentTrustsSilence,
        Mutant::StoreTakesOlderEpoch,
        Mutant::StoreTakesStaleBase,
        Mutant::RejectedRevived,
        Mutant::EmptyTreeForgotten,
        Mutant::RebootCondemns,
        Mutant::SilentNodesImageNotAwaited,
        Mutant::SilenceCounts,
        Mutant::RunningRefused,
        Mutant::HeardTooLate,
        Mutant::PausedTimeCounts,
    ];
}

/// Whether that rule is broken here and now: never in the product.
#[cfg(not(any(test, feature = "sim")))]
#[inline(always)]
pub const fn mutant(_: Mutant) -> bool {
    false
}

#[cfg(any(test, feature = "sim"))]
pub use switch::{mutant, with};

#[cfg(any(test, feature = "sim"))]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether that rule is broken on this thread now.
    pub fn mutant(which: Mutant) -> bool {
        ON.get() == Some(which)
    }

    /// Runs `work` with the rule broken, on this thread only.
    pub fn with<T>(which: Option<Mutant>, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<Mutant>);
        impl Drop for Restore {
            fn drop(&mut self) {
                ON.set(self.0);
            }
        }
        let _restore = Restore(ON.replace(which));
        work()
    }
}
