//! The one transaction that moves the cluster state.

use sqlx::PgConnection;

use super::encode::text;
use super::schedule::{Batch, Kind, app_patches, schedule};
use super::{
    Epoch, Error, Event, Generation, Store, apps, events, instances, nodes, outbox, releases,
    rollouts, sources,
};
use crate::model::{Change, OutboxEntry};

const OPERATION: &str = "commit";

/// Rows per statement: bounds one message to the server (specs travel in it) and one
/// statement's time.
const ROWS_PER_STATEMENT: usize = 1000;

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
                for batch in schedule(commit.changes) {
                    write(conn, &batch).await?;
                }
                let patches = app_patches(commit.changes);
                if !patches.is_empty() {
                    let patched = apps::patch(conn, &patches).await.map_err(sql)?;
                    exactly(patches.len(), patched)?;
                }
                outbox::add(conn, commit.outbox).await.map_err(sql)?;
                if commit.events.is_empty() {
                    return Ok(Vec::new());
                }
                let ids = events::add(conn, commit.base.next(), commit.cause, commit.events)
                    .await
                    .map_err(sql)?;
                exactly(commit.events.len(), ids.len() as u64)?;
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

fn sql(error: sqlx::Error) -> Error {
    Error::from_sqlx(OPERATION, error)
}

fn exactly(expected: usize, affected: u64) -> Result<(), Error> {
    let expected = expected as u64;
    if expected == affected {
        return Ok(());
    }
    Err(Error::Diverged {
        operation: OPERATION,
        expected,
        affected,
    })
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

/// How many rows a statement for `n` changes must touch.
enum Rows {
    /// Each names one that is there, or makes it.
    All,
    /// What is not there needs nothing done.
    Any,
}

async fn write(conn: &mut PgConnection, batch: &Batch<'_>) -> Result<(), Error> {
    for changes in batch.changes.chunks(ROWS_PER_STATEMENT) {
        let (rows, written) = write_rows(conn, batch.kind, changes).await.map_err(sql)?;
        match rows {
            Rows::All => exactly(changes.len(), written)?,
            Rows::Any => {}
        }
    }
    Ok(())
}

async fn write_rows(
    conn: &mut PgConnection,
    kind: Kind,
    changes: &[&Change],
) -> sqlx::Result<(Rows, u64)> {
    Ok(match kind {
        Kind::PutSource => (Rows::All, sources::put(conn, changes).await?),
        Kind::RemoveSource => (Rows::Any, sources::remove(conn, changes).await?),
        Kind::Declare => (Rows::All, apps::declare(conn, changes).await?),
        Kind::SetInvalid => (Rows::Any, apps::set_invalid(conn, changes).await?),
        Kind::Undeclare => (Rows::All, apps::undeclare(conn, changes).await?),
        Kind::RemoveApp => (Rows::All, apps::remove(conn, changes).await?),
        Kind::SetSuspension => (Rows::All, apps::set_suspension(conn, changes).await?),
        Kind::SetScale => (Rows::All, apps::set_scale(conn, changes).await?),
        Kind::AddRelease => (Rows::All, releases::add(conn, changes).await?),
        Kind::SetReleaseState => (Rows::All, releases::set_state(conn, changes).await?),
        Kind::PinImage => (Rows::All, releases::pin_image(conn, changes).await?),
        Kind::ForgetRelease => (Rows::Any, releases::forget(conn, changes).await?),
        Kind::Quarantine => (Rows::All, releases::quarantine(conn, changes).await?),
        Kind::Unquarantine => (Rows::Any, releases::unquarantine(conn, changes).await?),
        Kind::PutRollout => (Rows::All, rollouts::put(conn, changes).await?),
        Kind::AddInstance => (Rows::All, instances::add(conn, changes).await?),
        Kind::SetGoal => (Rows::All, instances::set_goal(conn, changes).await?),
        Kind::SetRequests => (Rows::All, instances::set_requests(conn, changes).await?),
        Kind::SetHome => (Rows::All, instances::set_home(conn, changes).await?),
        Kind::Observe => (Rows::All, instances::observe(conn, changes).await?),
        Kind::ForgetInstance => (Rows::All, instances::forget(conn, changes).await?),
        Kind::PutNode => (Rows::All, nodes::put(conn, changes).await?),
        Kind::SetLiveness => (Rows::All, nodes::set_liveness(conn, changes).await?),
        Kind::SetScheduling => (Rows::All, nodes::set_scheduling(conn, changes).await?),
        Kind::PutImage => (Rows::All, nodes::put_images(conn, changes).await?),
        Kind::DropImage => (Rows::Any, nodes::drop_images(conn, changes).await?),
        Kind::RemoveNode => (Rows::Any, nodes::remove(conn, changes).await?),
    })
}
