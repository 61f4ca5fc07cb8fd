//! Crash points: places at which a test may kill this very process.
//!
//! Owns the list of all calls that change something outside of this process' memory
//! ([`Op`]), and the two points around each: `store-commit-pre` is before the call,
//! `store-commit-post` after it, before anybody acts upon its answer. A call is made inside
//! [`around`] or [`around_async`] at the one seam of its kind; `tests/architecture.rs` holds
//! the seams to that, and `tests/crash_points` kills at every point.
//!
//! Built with `debug_assertions` only: a release build has neither the points nor the
//! variables' names in it, so nothing can be tripped there and nothing is paid. In a debug
//! build a role arms itself from its environment, once, at its start; other verbs and the
//! supervisors of processes, which are the same program, never do.
//!
//! Deliberately absent: faults other than sudden death (tests make those from outside:
//! they kill servers and Engines), and actions chosen while it runs.

/// The variable that arms: `NAME:N` kills at the N-th time that NAME is reached; of several,
/// with commas between them, the one that comes first.
#[cfg(debug_assertions)]
const ARM: &str = "EVENKEEL_FAILPOINT";

/// The variable that records: a file that gets a line (process, point) for each time that
/// a point is reached, and one (process, `!NAME:N`) for a death.
#[cfg(debug_assertions)]
const RECORD: &str = "EVENKEEL_FAILPOINT_LOG";

/// Before or after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Pre,
    Post,
}

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A call that changes something outside, `<module>-<operation>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op { $($(#[$doc])* $name,)* }

        impl Op {
            /// Every one there is.
            pub const ALL: &[Op] = &[$(Op::$name),*];

            pub const fn name(self) -> &'static str {
                match self { $(Op::$name => $text,)* }
            }
        }
    };
}

ops! {
    /// The one transaction that moves the cluster state.
    StoreCommit = "store-commit",
    StoreLeaseAcquire = "store-lease-acquire",
    StoreLeaseRenew = "store-lease-renew",
    StoreLeaseRelease = "store-lease-release",
    StoreLeaseOutrun = "store-lease-outrun",
    StoreOutboxAdd = "store-outbox-add",
    StoreOutboxTakeBack = "store-outbox-take-back",
    StoreOutboxClaim = "store-outbox-claim",
    StoreOutboxSent = "store-outbox-sent",
    StoreOutboxFailed = "store-outbox-failed",
    StoreRecordCommits = "store-record-commits",
    StoreSaveDeliveries = "store-save-deliveries",
    /// What was told of a pull request.
    StorePullPut = "store-pull-put",
    StorePullForget = "store-pull-forget",
    /// One batch of history that is forgotten.
    StoreCollect = "store-collect",
    StoreTokenCreate = "store-token-create",
    StoreTokenRevoke = "store-token-revoke",
    StoreTokensUsed = "store-tokens-used",
    StoreMigrate = "store-migrate",
    PostgresInitdb = "postgres-initdb",
    /// The finished data folder moves into its place.
    PostgresPlace = "postgres-place",
    PostgresSpawn = "postgres-spawn",
    PostgresCreateDatabase = "postgres-create-database",
    GitInitMirror = "git-init-mirror",
    /// Objects of a fetch come into the mirror.
    GitDownload = "git-download",
    GitMoveHead = "git-move-head",
    /// Objects of a pull request come into the mirror.
    GitDownloadPull = "git-download-pull",
    /// A pull request's commit, or its trial merge, gets a name in the mirror.
    GitKeepPull = "git-keep-pull",
    GitMergePull = "git-merge-pull",
    GitForgetPull = "git-forget-pull",
    GitRepack = "git-repack",
    GitDropPack = "git-drop-pack",
    GitRemoveMirror = "git-remove-mirror",
    /// A commit status leaves for its forge.
    ForgePost = "forge-post",
    /// A pull request's comment is written, or changed.
    ForgeComment = "forge-comment",
    /// A file of the data folder moves into its place.
    ConfigWrite = "config-write",
    /// A copy of the ledger in force becomes its predecessor.
    AgentLedgerKeep = "agent-ledger-keep",
    AgentLedgerWrite = "agent-ledger-write",
    AgentMemoryWrite = "agent-memory-write",
    /// Within each write of the agent: the finished file moves into its place.
    AgentFilePlace = "agent-file-place",
    RuntimePrepare = "runtime-prepare",
    RuntimeCreate = "runtime-create",
    RuntimeStart = "runtime-start",
    RuntimeStop = "runtime-stop",
    RuntimeRemove = "runtime-remove",
    RuntimeSetLimits = "runtime-set-limits",
    DockerPull = "docker-pull",
    DockerCreate = "docker-create",
    /// Files go into a container that was created.
    DockerUpload = "docker-upload",
    DockerStart = "docker-start",
    DockerStop = "docker-stop",
    DockerRemove = "docker-remove",
    DockerUpdate = "docker-update",
    /// The folder of an instance, made beside, moves into its place.
    ProcessPlace = "process-place",
    ProcessLaunch = "process-launch",
    ProcessAskToStop = "process-ask-to-stop",
    /// The folder of an instance moves out of sight.
    ProcessMoveAway = "process-move-away",
    ProcessDelete = "process-delete",
    ProcessSetLimits = "process-set-limits",
}

/// What is wrong with the variable that arms.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("EVENKEEL_FAILPOINT is \"{text}\": expected NAME:N, such as store-commit-pre:1")]
pub struct Error {
    text: String,
}

/// `work`, between its two points.
#[inline(always)]
pub fn around<T>(op: Op, work: impl FnOnce() -> T) -> T {
    reach(op, Side::Pre);
    let result = work();
    reach(op, Side::Post);
    result
}

/// `work`, between its two points. One that is cancelled reaches the first only.
#[inline(always)]
pub async fn around_async<T>(op: Op, work: impl Future<Output = T>) -> T {
    reach(op, Side::Pre);
    let result = work.await;
    reach(op, Side::Post);
    result
}

#[cfg(not(debug_assertions))]
#[inline(always)]
fn reach(_: Op, _: Side) {}

#[cfg(not(debug_assertions))]
pub fn arm_from_env() -> Result<(), Error> {
    Ok(())
}

#[cfg(debug_assertions)]
pub use armed::arm_from_env;
#[cfg(debug_assertions)]
use armed::reach;

#[cfg(debug_assertions)]
mod armed {
    use std::fs::File;
    use std::io::Write as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{ARM, Error, Op, RECORD, Side};

    pub(super) type Point = (Op, Side, u32);

    struct Armed {
        /// Each with how often it was reached.
        points: Vec<(Point, AtomicU32)>,
        record: Option<File>,
    }

    /// Empty in all but a role that a test started.
    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Takes what the environment says, if it says anything. For the start of a role.
    pub fn arm_from_env() -> Result<(), Error> {
        let text = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let (points, record) = (text(ARM), text(RECORD));
        if points.is_none() && record.is_none() {
            return Ok(());
        }
        let points = points.unwrap_or_default();
        let points = points.split(',').filter(|text| !text.is_empty());
        let points: Result<Vec<Point>, Error> = points.map(parse).collect();
        let points = points?.into_iter().map(|point| (point, AtomicU32::new(0)));
        let record = record.and_then(|path| {
            let open = File::options().create(true).append(true).open(path);
            open.ok()
        });
        // Roles start once in a process.
        let _ = ARMED.set(Armed {
            points: points.collect(),
            record,
        });
        Ok(())
    }

    pub(super) fn parse(text: &str) -> Result<Point, Error> {
        let error = || Error {
            text: text.to_owned(),
        };
        let (name, count) = text.rsplit_once(':').ok_or_else(error)?;
        let (op, side) = match name.strip_suffix("-pre") {
            Some(op) => (op, Side::Pre),
            None => (name.strip_suffix("-post").ok_or_else(error)?, Side::Post),
        };
        let op = Op::ALL.iter().find(|known| known.name() == op);
        let count = count.parse().ok().filter(|count| *count > 0);
        Ok((*op.ok_or_else(error)?, side, count.ok_or_else(error)?))
    }

    pub(super) fn reach(op: Op, side: Side) {
        let Some(armed) = ARMED.get() else { return };
        let name = || {
            let side = match side {
                Side::Pre => "pre",
                Side::Post => "post",
            };
            format!("{}-{side}", op.name())
        };
        // One write per line: threads do not mix theirs.
        let note = |what: String| {
            if let Some(mut record) = armed.record.as_ref() {
                let _ = record.write_all(format!("{} {what}\n", std::process::id()).as_bytes());
            }
        };
        if armed.record.is_some() {
            note(name());
        }
        for ((wanted, when, count), reached) in &armed.points {
            let here = *wanted == op && *when == side;
            if here && reached.fetch_add(1, Ordering::Relaxed) + 1 == *count {
                note(format!("!{}:{count}", name()));
                die();
            }
        }
    }

    /// As `kill -9` would: no destructor, no flush, no last word.
    fn die() -> ! {
        let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
        std::process::abort()
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back_to_their_point() {
        let mut names: Vec<&str> = Op::ALL.iter().map(|op| op.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Op::ALL.len());
        for op in Op::ALL {
            let pre = armed::parse(&format!("{}-pre:3", op.name()));
            assert_eq!(pre, Ok((*op, Side::Pre, 3)));
            let post = armed::parse(&format!("{}-post:1", op.name()));
            assert_eq!(post, Ok((*op, Side::Post, 1)));
        }
    }

    #[test]
    fn what_names_no_point_is_refused() {
        for wrong in [
            "",
            "store-commit",
            "store-commit-pre",
            "store-commit-pre:0",
            "x-pre:1",
        ] {
            assert!(armed::parse(wrong).is_err(), "{wrong}");
        }
    }
}
