//! The cases that the simulator's store is held to as well (`src/sim/store/tests.rs`), on a real
//! Postgres behind a proxy that loses requests and answers.

use std::time::Duration;

use evenkeel::model::{Epoch, Generation, Snapshot};
use evenkeel::store::{Commit, Error, Store};

use super::faults::{CUT_AFTER_COMMIT, CUT_BEFORE_COMMIT, PASS, Proxy};
use super::pg;
use super::store_cases::{Ask, Case, Judge, Lasts, Told, Way, cases};

fn lease(lasts: Lasts) -> Duration {
    match lasts {
        Lasts::Long => Duration::from_secs(3600),
        Lasts::Over => Duration::ZERO,
        Lasts::Ages => Duration::from_secs(100 * 3600),
    }
}

fn failed(error: Error) -> Told {
    match error {
        Error::StaleEpoch { current, .. } => Told::StaleEpoch { current: current.0 },
        Error::StaleGeneration { current, .. } => Told::StaleGeneration { current: current.0 },
        Error::Diverged { .. } | Error::Constraint { .. } => Told::DoesNotFit,
        Error::OutcomeUnknown { .. } => Told::Unknown,
        other => panic!("{other:?}"),
    }
}

async fn perform(store: &Store, proxy: &Proxy, ask: &Ask) -> Told {
    let told = match ask {
        Ask::Acquire { who, lasts } => {
            let lease = store.acquire_lease(who, "", lease(*lasts)).await;
            lease.map(|l| l.map_or(Told::Follows, |l| Told::Leads(l.epoch.0)))
        }
        Ask::Renew { epoch, lasts } => {
            let lease = store.renew_lease(Epoch(*epoch), lease(*lasts)).await;
            lease.map(|l| Told::Leads(l.epoch.0))
        }
        Ask::Release { epoch } => {
            let released = store.release_lease(Epoch(*epoch)).await;
            released.map(|()| Told::Released)
        }
        Ask::Outrun { epoch, seen } => {
            let outrun = store.outrun_epoch(Epoch(*epoch), Epoch(*seen)).await;
            outrun.map(|()| Told::Released)
        }
        Ask::Commit {
            epoch,
            base,
            changes,
            way,
        } => {
            proxy.set(match way {
                Way::Fine => PASS,
                Way::AnswerLost => CUT_AFTER_COMMIT,
                Way::Lost => CUT_BEFORE_COMMIT,
            });
            let committed = store
                .commit(Commit {
                    epoch: Epoch(*epoch),
                    base: Generation(*base),
                    cause: "a case",
                    changes,
                    events: &[],
                    outbox: &[],
                })
                .await;
            proxy.set(PASS);
            committed.map(|c| Told::Written(c.generation.0))
        }
    };
    told.unwrap_or_else(failed)
}

async fn play(case: &Case) {
    let database = pg::database().await;
    let proxy = Proxy::start(&database.url);
    let store = Store::connect(&proxy.url(&database.url), pg::options())
        .await
        .unwrap();
    let mut judge = Judge::of(case);
    for step in &case.steps {
        let told = perform(&store, &proxy, &step.0).await;
        let loaded: Snapshot = store.load().await.unwrap();
        judge.judge(step, told, &loaded);
    }
}

#[tokio::test]
async fn it_does_what_the_simulator_believes() {
    for case in cases() {
        play(&case).await;
    }
}
