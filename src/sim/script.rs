//! What befalls a cluster: drawn from the seed before the run, so that a failing run can be
//! played again with fewer happenings.

mod stories;

use super::rng::{Moment, Rng};

/// One thing that happens at a moment. Numbers that name a node or a controller are taken
/// modulo how many there are; `seed` decides the rest when it comes to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Somebody pushes to the repository.
    Commit {
        seed: u64,
    },
    /// Somebody puts the repository back to what it was `back` commits ago.
    Revert {
        back: usize,
    },
    /// Somebody pushes a good new version of one of the first apps.
    GoodVersion {
        app: usize,
        seed: u64,
    },
    /// Somebody pushes a version of one of the first apps that no runtime takes.
    BadVersion {
        app: usize,
    },
    /// An operator takes one of the first apps back to what it was.
    TakenBack {
        app: usize,
    },
    /// Many apps are deleted in one commit.
    MassDeletion {
        seed: u64,
    },
    /// The repository does not answer.
    GitDown {
        ms: u64,
    },
    /// The repository answers with an empty tree.
    GitEmpty {
        ms: u64,
    },
    /// An operator's verb.
    Verb {
        seed: u64,
    },

    ControllerDies {
        which: usize,
        ms: u64,
    },
    /// It stands still, and goes on with what it believed.
    ControllerFreezes {
        which: usize,
        ms: u64,
    },
    /// It does not reach the database.
    ControllerCut {
        which: usize,
        ms: u64,
    },

    DatabaseDown {
        ms: u64,
    },
    /// Commits fail, or succeed and answer an error, or land late.
    DatabaseFlaky {
        ms: u64,
        permille: u64,
    },
    /// Its clock is set.
    DatabaseClock {
        by_ms: i64,
    },

    AgentDies {
        which: usize,
        ms: u64,
    },
    /// It dies, and its ledger cannot be read afterwards.
    LedgerDamaged {
        which: usize,
        ms: u64,
    },
    /// The disk is full: no set can be written down.
    DiskFull {
        which: usize,
        ms: u64,
    },
    /// The machine reboots.
    NodeDies {
        which: usize,
        ms: u64,
    },
    /// Its runtime does not answer; `took_along`: and everything it ran has ended.
    EngineDown {
        which: usize,
        ms: u64,
        took_along: bool,
    },
    /// Every start there fails.
    StartsFail {
        which: usize,
        ms: u64,
    },
    /// The same on all nodes at once.
    NothingStarts {
        ms: u64,
    },
    NodeCut {
        which: usize,
        ms: u64,
    },
    /// A share of all nodes is cut off at once.
    ManyCut {
        permille: u64,
        ms: u64,
    },
    /// Cut off and back, several times.
    NodeFlaps {
        which: usize,
        times: u64,
        ms: u64,
    },
    /// A link so bad that now and then a message gets through: `loss` of 1,000 do not.
    NodeFaint {
        which: usize,
        ms: u64,
        loss: u64,
    },
    NodeJoins,

    /// Messages are lost, come twice, or late.
    Storm {
        ms: u64,
        loss: u64,
        twice: u64,
        late: u64,
    },
    RegistryDown {
        ms: u64,
    },
    /// A container that runs ends by itself.
    ContainerEnds {
        seed: u64,
    },
    /// Somebody removes a container by hand.
    ContainerRemoved {
        seed: u64,
    },
}

/// A whole run, but for what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    pub seed: u64,
    pub nodes: usize,
    pub controllers: usize,
    pub apps: usize,
    /// When faults end and everything is mended.
    pub calm_at: Moment,
    pub happenings: Vec<(Moment, Happening)>,
    /// Every plan is held against `plan::check`, too. Without it what really happens has to tell.
    pub checked: bool,
}

/// Which kinds of happenings a run has: all at once would let each hide the others' effects.
struct Mood {
    commits: usize,
    faults: usize,
    kinds: Vec<usize>,
}

const KINDS: usize = 9;

pub fn draw(seed: u64) -> Script {
    let mut rng = Rng::new(seed, 1);
    let nodes = rng.between(3, 12) as usize;
    let controllers = rng.between(2, 3) as usize;
    let apps = rng.between(3, 15) as usize;
    let calm_at = Moment(rng.between(120_000, 420_000));
    let mood = Mood {
        commits: rng.between(2, 14) as usize,
        faults: rng.between(0, 24) as usize,
        kinds: (0..rng.between(1, 5)).map(|_| rng.below(KINDS)).collect(),
    };
    let mut happenings = Vec::new();
    for _ in 0..mood.commits {
        // Waves, so that a commit meets the rollout of another.
        let at = Moment(rng.between(15_000, calm_at.0));
        for n in 0..rng.between(1, 3) {
            let at = at.plus(n * rng.between(200, 12_000));
            happenings.push((at, commit(&mut rng)));
        }
    }
    for _ in 0..rng.below(5) {
        let at = Moment(rng.between(20_000, calm_at.0));
        happenings.push((at, Happening::Verb { seed: rng.draw() }));
    }
    for _ in 0..mood.faults {
        let at = Moment(rng.between(2_000, calm_at.0));
        let kind = *rng.pick(&mood.kinds).unwrap_or(&0);
        happenings.push((at, fault(kind, &mut rng)));
    }
    let calm_at = stories::tell(seed, calm_at, &mut happenings);
    happenings.retain(|(at, _)| *at < calm_at);
    happenings.sort_by_key(|(at, _)| *at);
    Script {
        seed,
        nodes,
        controllers,
        apps,
        calm_at,
        happenings,
        checked: true,
    }
}

fn commit(rng: &mut Rng) -> Happening {
    match rng.below(16) {
        0 | 1 => Happening::Revert {
            back: rng.between(1, 3) as usize,
        },
        2 => Happening::MassDeletion { seed: rng.draw() },
        3 => Happening::GitEmpty {
            ms: rng.between(2_000, 40_000),
        },
        4 => Happening::GitDown {
            ms: rng.between(2_000, 60_000),
        },
        _ => Happening::Commit { seed: rng.draw() },
    }
}

/// Mostly short, now and then long enough for every deadline.
fn duration(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.between(50, 2_000),
        1 | 2 => rng.between(2_000, 20_000),
        _ => rng.between(20_000, 150_000),
    }
}

fn clock_step(rng: &mut Rng) -> i64 {
    let size = *rng.pick(&[2_000, 40_000, 600_000, 3_600_000]).unwrap_or(&0);
    if rng.chance(500) { size } else { -size }
}

fn fault(kind: usize, rng: &mut Rng) -> Happening {
    let which = rng.below(1 << 16);
    let ms = duration(rng);
    match kind {
        0 => Happening::ControllerDies { which, ms },
        1 => match rng.below(2) {
            0 => Happening::ControllerCut { which, ms },
            _ => Happening::ControllerFreezes { which, ms },
        },
        2 => match rng.below(5) {
            0 => Happening::DatabaseDown { ms },
            1 => Happening::DatabaseClock {
                by_ms: clock_step(rng),
            },
            _ => Happening::DatabaseFlaky {
                ms: ms.max(5_000),
                permille: rng.between(20, 400),
            },
        },
        3 => match rng.below(5) {
            0 => Happening::LedgerDamaged { which, ms },
            1 => Happening::DiskFull { which, ms },
            _ => Happening::AgentDies { which, ms },
        },
        4 => match rng.below(4) {
            0 => Happening::NodeJoins,
            _ => Happening::NodeDies {
                which,
                ms: ms.max(3_000),
            },
        },
        5 => Happening::EngineDown {
            which,
            ms,
            took_along: rng.chance(500),
        },
        6 => match rng.below(4) {
            0 => Happening::ManyCut {
                permille: rng.between(300, 1000),
                ms,
            },
            1 => Happening::NodeFlaps {
                which,
                times: rng.between(2, 5),
                ms: ms.min(20_000),
            },
            _ => Happening::NodeCut { which, ms },
        },
        7 => Happening::Storm {
            ms: ms.max(5_000),
            loss: rng.between(0, 150),
            twice: rng.between(0, 200),
            late: rng.between(0, 300),
        },
        _ => match rng.below(5) {
            0 => Happening::RegistryDown { ms },
            1 => Happening::StartsFail {
                which,
                ms: ms.min(40_000),
            },
            2 => Happening::ContainerRemoved { seed: rng.draw() },
            _ => Happening::ContainerEnds { seed: rng.draw() },
        },
    }
}

impl Happening {
    /// Its name in the list of what was reached.
    pub fn word(self) -> &'static str {
        match self {
            Happening::Commit { .. } => "commit",
            Happening::Revert { .. } => "revert",
            Happening::GoodVersion { .. } => "good version",
            Happening::BadVersion { .. } => "bad version",
            Happening::TakenBack { .. } => "version taken back",
            Happening::MassDeletion { .. } => "mass deletion",
            Happening::GitDown { .. } => "git down",
            Happening::GitEmpty { .. } => "git empty",
            Happening::Verb { .. } => "operator's verb",
            Happening::ControllerDies { .. } => "controller dies",
            Happening::ControllerFreezes { .. } => "controller freezes",
            Happening::ControllerCut { .. } => "controller cut from database",
            Happening::DatabaseDown { .. } => "database down",
            Happening::DatabaseFlaky { .. } => "database flaky",
            Happening::DatabaseClock { .. } => "database's clock set",
            Happening::AgentDies { .. } => "agent dies",
            Happening::LedgerDamaged { .. } => "ledger damaged",
            Happening::DiskFull { .. } => "disk full",
            Happening::NodeDies { .. } => "node reboots",
            Happening::EngineDown { .. } => "engine down",
            Happening::StartsFail { .. } => "starts fail",
            Happening::NothingStarts { .. } => "starts fail everywhere",
            Happening::NodeCut { .. } => "node cut off",
            Happening::ManyCut { .. } => "many nodes cut off",
            Happening::NodeFlaps { .. } => "node flaps",
            Happening::NodeFaint { .. } => "node heard faintly",
            Happening::NodeJoins => "node joins",
            Happening::Storm { .. } => "storm of messages",
            Happening::RegistryDown { .. } => "registry down",
            Happening::ContainerEnds { .. } => "container ends",
            Happening::ContainerRemoved { .. } => "container removed by hand",
        }
    }
}
