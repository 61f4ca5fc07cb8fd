//! Who leads.

use std::time::Duration;

use evenkeel::model::*;
use evenkeel::store::{ConnectOptions, Error, Store};
use sqlx::Connection;

use super::pg;
use super::support::TTL;

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn one_leads_until_it_lets_go() {
    let store = pg::database().await.store;
    assert_eq!(store.current_lease().await.unwrap(), None);
    let first = store.acquire_lease("a", "h:1", TTL).await.unwrap().unwrap();
    assert!(first.expires_in > TTL / 2 && first.expires_in <= TTL);
    assert_eq!(store.acquire_lease("b", "h:2", TTL).await.unwrap(), None);
    let current = store.current_lease().await.unwrap().unwrap();
    assert_eq!(
        (current.holder, current.address),
        ("a".into(), "h:1".into())
    );
    store.release_lease(first.epoch).await.unwrap();
    assert_eq!(store.current_lease().await.unwrap(), None);
    let second = store.acquire_lease("b", "h:2", TTL).await.unwrap().unwrap();
    assert!(second.epoch > first.epoch);
    for result in [
        store.renew_lease(first.epoch, TTL).await.map(drop),
        store.release_lease(first.epoch).await,
    ] {
        match result {
            Err(Error::StaleEpoch { held, current, .. }) => {
                assert_eq!((held, current), (first.epoch, second.epoch));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_and_a_renewed_one_is_not() {
    let store = pg::database().await.store;
    let first = store.acquire_lease("a", "", SHORT).await.unwrap().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let second = loop {
        if let Some(lease) = store.acquire_lease("b", "", SHORT).await.unwrap() {
            break lease;
        }
        assert!(tokio::time::Instant::now() < deadline, "never taken over");
    };
    assert_eq!(second.epoch, Epoch(first.epoch.0 + 1));
    // Late, but nobody was faster.
    let renewed = store.renew_lease(second.epoch, TTL).await.unwrap();
    assert_eq!(renewed.epoch, second.epoch);
    assert!(renewed.expires_in > SHORT);
    assert_eq!(store.acquire_lease("a", "", TTL).await.unwrap(), None);
}

/// Its leader died, and the database's clock was put back by an hour.
#[tokio::test]
async fn a_lease_from_before_the_clock_was_put_back_is_taken_over() {
    let store = pg::database().await.store;
    let hour = Duration::from_secs(3600) + TTL;
    let first = store.acquire_lease("a", "", hour).await.unwrap().unwrap();
    let second = store.acquire_lease("b", "", TTL).await.unwrap().unwrap();
    assert!(second.epoch > first.epoch);
    assert!(store.renew_lease(first.epoch, TTL).await.is_err());
    assert_eq!(store.acquire_lease("a", "", TTL).await.unwrap(), None);
}

/// A restarted process is another leader: what its former life still has under way must not pass.
#[tokio::test]
async fn the_same_holder_gets_a_new_epoch() {
    let store = pg::database().await.store;
    let first = store.acquire_lease("a", "", TTL).await.unwrap().unwrap();
    let again = store.acquire_lease("a", "", TTL).await.unwrap().unwrap();
    assert!(again.epoch > first.epoch);
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_leads() {
    let store = pg::database().await.store;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        asking.spawn(async move { store.acquire_lease(&format!("h{n}"), "", TTL).await });
    }
    let leaders = asking
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::unwrap);
    assert_eq!(leaders.count(), 1);
}

/// While a commit of the old epoch is under way, its leader may renew and no other epoch begins.
#[tokio::test]
async fn a_commit_holds_off_successors_but_not_its_own_renewal() {
    let database = pg::database().await;
    let options = ConnectOptions {
        statement_timeout: Duration::from_millis(300),
        ..pg::options()
    };
    let store = Store::connect(&database.url, options).await.unwrap();
    let lease = store.acquire_lease("a", "", Duration::ZERO).await;
    let epoch = lease.unwrap().unwrap().epoch;
    let mut committing = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let mut tx = committing.begin().await.unwrap();
    // What a commit does first.
    sqlx::query("SELECT epoch FROM lease FOR KEY SHARE")
        .execute(&mut *tx)
        .await
        .unwrap();
    store.renew_lease(epoch, Duration::ZERO).await.unwrap();
    let refused = store.acquire_lease("b", "", TTL).await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    tx.commit().await.unwrap();
    assert!(store.acquire_lease("b", "", TTL).await.unwrap().is_some());
}
