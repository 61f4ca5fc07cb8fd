//! The one transaction that moves the cluster state.

use sqlx::PgConnection;

use super::encode::text;
use super::write::write;
use super::{Epoch, Error, Event, Generation, Store, outbox};
use crate::model::{Change, OutboxEntry};

pub(super) const OPERATION: &str = "commit";

/// A decision, ready to be made true.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// The leadership under which it was decided.
    pub epoch: Epoch,
    /// The generation it was decided on.
    pub base: Generation,
    /// What caused it, in a few words: `sync web 1f3c9a2b`, `report node-1`.
    pub cause: &'a str,
    pub changes: &'a [Change],
    pub events: &'a [Event],
    /// What is to be told to forges because of it.
    pub outbox: &'a [OutboxEntry],
}

/// What a commit made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The state's new generation: `base` plus one.
    pub generation: Generation,
    /// The commit's events, in its order, with their ids.
    pub events: Vec<Event>,
}

impl Store {
    /// Writes all of it or nothing.
    ///
    /// Errors: `StaleEpoch`, `StaleGeneration`, `Unavailable`, `Constraint` and
    /// `Diverged` wrote nothing; after `OutcomeUnknown` only a [`Store::load`] tells.
    pub async fn commit(&self, commit: Commit<'_>) -> Result<Committed, Error> {
        let ids = self
            .transact(OPERATION, commit.epoch, async |conn| {
                move_generation(conn, &commit).await?;
                let ids = write(conn, &commit).await?;
                // After the sources: what another forge was told is told this one anew.
                outbox::add(conn, commit.outbox).await.map_err(sql)?;
                Ok(ids)
            })
            .await?;
        let events = commit.events.iter().zip(ids).map(|(event, id)| Event {
            id,
            ..event.clone()
        });
        Ok(Committed {
            generation: commit.base.next(),
            events: events.collect(),
        })
    }
}

pub(super) fn sql(error: sqlx::Error) -> Error {
    Error::from_sqlx(OPERATION, error)
}

/// Compares and swaps; the row's lock makes commits one after the other.
async fn move_generation(conn: &mut PgConnection, commit: &Commit<'_>) -> Result<(), Error> {
    let moved = sqlx::query(
        "UPDATE cluster SET generation = generation + 1, cause = $2, changed_at = clock_timestamp()
         WHERE generation = $1",
    )
    .bind(commit.base.0)
    .bind(text(commit.cause))
    .execute(&mut *conn)
    .await
    .map_err(sql)?
    .rows_affected();
    if moved == 1 {
        return Ok(());
    }
    let current: i64 = sqlx::query_scalar("SELECT generation FROM cluster")
        .fetch_one(conn)
        .await
        .map_err(sql)?;
    Err(Error::StaleGeneration {
        operation: OPERATION,
        base: commit.base,
        current: Generation(current),
    })
}
