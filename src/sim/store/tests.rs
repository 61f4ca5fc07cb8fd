//! The cases that the real store is held to as well (`tests/store/cases.rs`).

#[path = "../../../tests/store/builders.rs"]
#[expect(dead_code, reason = "the real store's tests use the rest")]
mod builders;
#[path = "../../../tests/support/store_cases/mod.rs"]
mod cases;

use std::time::Duration;

use cases::{Ask, Case, Judge, Lasts, Told, Way, cases};

use super::{Refused, Store};
use crate::model::{Epoch, Generation};
use crate::sim::rng::Moment;

const NOW: Moment = Moment(1_000);

fn lease(lasts: Lasts) -> Duration {
    match lasts {
        Lasts::Long => Duration::from_secs(60),
        Lasts::Over => Duration::ZERO,
        Lasts::Ages => Duration::from_secs(60 * 60),
    }
}

fn refused(refused: Refused) -> Told {
    match refused {
        Refused::StaleEpoch { current } => Told::StaleEpoch { current: current.0 },
        Refused::StaleGeneration { current } => Told::StaleGeneration { current: current.0 },
        Refused::Diverged(_) => Told::DoesNotFit,
    }
}

fn perform(store: &mut Store, ask: &Ask) -> Told {
    let told = match ask {
        Ask::Acquire { who, lasts } => {
            let holder = u64::from(who.as_bytes()[0]);
            let lease = store.acquire(holder, lease(*lasts), NOW);
            Ok(lease.map_or(Told::Follows, |l| Told::Leads(l.epoch.0)))
        }
        Ask::Renew { epoch, lasts } => store
            .renew(Epoch(*epoch), lease(*lasts), NOW)
            .map(|l| Told::Leads(l.epoch.0)),
        Ask::Release { epoch } => store.release(Epoch(*epoch)).map(|()| Told::Released),
        Ask::Outrun { epoch, seen } => store
            .outrun(Epoch(*epoch), Epoch(*seen))
            .map(|()| Told::Released),
        // As the world does, where it is lost on the way.
        Ask::Commit { way: Way::Lost, .. } => Ok(Told::Unknown),
        Ask::Commit {
            epoch,
            base,
            changes,
            way,
        } => {
            let done = store.commit(Epoch(*epoch), Generation(*base), changes);
            match way {
                Way::Fine => done.map(|generation| Told::Written(generation.0)),
                Way::AnswerLost | Way::Lost => Ok(Told::Unknown),
            }
        }
    };
    told.unwrap_or_else(refused)
}

fn play(case: &Case) {
    let mut store = Store::default();
    let mut judge = Judge::of(case);
    for step in &case.steps {
        let told = perform(&mut store, &step.0);
        judge.judge(step, told, &store.snapshot);
    }
}

#[test]
fn it_does_what_the_real_store_does() {
    cases().iter().for_each(play);
}

/// The cases tell a store that forgets a guard from one that does not.
#[test]
fn the_cases_notice_a_store_without_its_guards() {
    use crate::mutant::{Mutant, with};
    for mutant in [Mutant::StoreTakesOlderEpoch, Mutant::StoreTakesStaleBase] {
        let noticed = cases()
            .iter()
            .filter(|case| {
                let play = std::panic::AssertUnwindSafe(|| with(Some(mutant), || play(case)));
                std::panic::catch_unwind(play).is_err()
            })
            .count();
        assert!(noticed > 1, "{mutant:?}");
    }
}
