//! What befalls some runs only: happenings that belong together. Each kind has a random stream of
//! its own, so that the runs without it stay what they were.

use super::Happening;
use crate::sim::rng::{Moment, Rng};

/// Of 1,000 runs, those in which somebody regrets a version.
const REGRETS: u64 = 250;
/// Of 1,000 runs, those in which nodes are heard faintly.
const FAINTS: u64 = 200;
/// Of 1,000 runs, those in which nothing starts for long.
const SETBACKS: u64 = 100;

/// Adds what belongs to that seed; returns when all is calm.
pub(super) fn tell(
    seed: u64,
    calm_at: Moment,
    happenings: &mut Vec<(Moment, Happening)>,
) -> Moment {
    regrets(seed, calm_at, happenings);
    faints(seed, calm_at, happenings);
    setbacks(seed, calm_at, happenings)
}

/// In some runs a version that turns out well is taken back while it spreads or soon after, and
/// the next comes while that is under way: three versions of one app at once.
fn regrets(seed: u64, calm_at: Moment, happenings: &mut Vec<(Moment, Happening)>) {
    let mut rng = Rng::new(seed, 15);
    if !rng.chance(REGRETS) {
        return;
    }
    for _ in 0..rng.between(1, 3) {
        let app = rng.below(1 << 16);
        let pushed = Moment(rng.between(15_000, calm_at.0));
        let taken_back = pushed.plus(rng.between(6_000, 40_000));
        let mended = taken_back.plus(rng.between(1_000, 12_000));
        let mut version = || Happening::GoodVersion {
            app,
            seed: rng.draw(),
        };
        happenings.push((pushed, version()));
        happenings.push((taken_back, Happening::TakenBack { app }));
        happenings.push((mended, version()));
    }
}

/// In some runs a node or two are heard now and then only, each time about when they begin to
/// count as silent.
fn faints(seed: u64, calm_at: Moment, happenings: &mut Vec<(Moment, Happening)>) {
    let mut rng = Rng::new(seed, 16);
    if !rng.chance(FAINTS) {
        return;
    }
    for _ in 0..rng.between(1, 4) {
        let at = Moment(rng.between(10_000, calm_at.0));
        let faint = Happening::NodeFaint {
            which: rng.below(1 << 16),
            ms: rng.between(40_000, 180_000),
            loss: rng.between(400, 900),
        };
        happenings.push((at, faint));
    }
}

/// In some runs versions fail while nothing starts anywhere: a rollback cannot put back what the
/// rollout took for longer than it has patience, until all comes good by itself. Returns when all
/// is calm.
fn setbacks(seed: u64, calm_at: Moment, happenings: &mut Vec<(Moment, Happening)>) -> Moment {
    let mut rng = Rng::new(seed, 18);
    if !rng.chance(SETBACKS) {
        return calm_at;
    }
    let at = Moment(rng.between(25_000, 60_000));
    let ms = rng.between(150_000, 400_000);
    happenings.push((at, Happening::NothingStarts { ms }));
    for _ in 0..rng.between(1, 3) {
        let app = rng.below(1 << 16);
        let pushed = at.plus(rng.between(0, 20_000));
        happenings.push((pushed, Happening::BadVersion { app }));
    }
    calm_at.max(at.plus(ms))
}
