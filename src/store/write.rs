//! A commit's rows in a few statements, each of which is made while the server is still at the
//! one before: what is written takes as long as the server needs for it, and not both together.

use sqlx::PgConnection;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::{Query, QueryScalar};

use super::commit::{OPERATION, sql};
use super::schedule::{AppPatch, Batch, Kind, app_patches, schedule};
use super::{Commit, Error, apps, events, instances, nodes, releases, rollouts, sources};
use crate::model::{AppKey, Change, Event};

/// Ready to be sent.
pub(super) type Statement = Query<'static, Postgres, PgArguments>;

/// Rows per statement: bounds one statement's time, and with it how far the server is ahead of
/// what is made next. A statement of specs just fits into what a socket takes at once.
const ROWS_PER_STATEMENT: usize = 250;

/// What is made together.
enum Part<'a> {
    Rows(Kind, &'a [&'a Change]),
    Patches(&'a [(&'a AppKey, AppPatch)]),
    Events(&'a [Event]),
}

/// One statement, and what must come of it.
pub(super) struct Step<'a> {
    sent: Sent<'a>,
    /// Rows that it must touch; `None`: what is not there needs nothing done.
    rows: Option<usize>,
}

enum Sent<'a> {
    Statement(Statement),
    /// Releases that are not copied from what their app declares are sent after it.
    Releases(Statement, &'a [&'a Change]),
    /// Returns ids.
    Events(QueryScalar<'a, Postgres, i64, PgArguments>),
}

impl Step<'_> {
    pub fn exactly(rows: usize, statement: Statement) -> Self {
        Step {
            sent: Sent::Statement(statement),
            rows: Some(rows),
        }
    }

    pub fn any(statement: Statement) -> Self {
        Step {
            sent: Sent::Statement(statement),
            rows: None,
        }
    }

    async fn write(self, conn: &mut PgConnection, ids: &mut Vec<i64>) -> Result<(), Error> {
        let affected = self.sent.send(conn, ids).await.map_err(sql)?;
        match self.rows.map(|rows| rows as u64) {
            Some(expected) if expected != affected => Err(Error::Diverged {
                operation: OPERATION,
                expected,
                affected,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl Sent<'_> {
    /// Returns the number of rows.
    async fn send(self, conn: &mut PgConnection, ids: &mut Vec<i64>) -> sqlx::Result<u64> {
        Ok(match self {
            Sent::Statement(statement) => statement.execute(conn).await?.rows_affected(),
            Sent::Releases(copy, changes) => {
                let copied = copy.execute(&mut *conn).await?.rows_affected();
                match copied == changes.len() as u64 {
                    true => copied,
                    false => {
                        let rest = releases::send(changes)?.execute(conn).await?;
                        copied + rest.rows_affected()
                    }
                }
            }
            Sent::Events(statement) => {
                let mut new = statement.fetch_all(conn).await?;
                new.sort_unstable();
                ids.extend(&new);
                new.len() as u64
            }
        })
    }
}

/// Writes all but the outbox, and returns the events' ids, in their order.
pub(super) async fn write(conn: &mut PgConnection, commit: &Commit<'_>) -> Result<Vec<i64>, Error> {
    let batches = schedule(commit.changes);
    let patches: Vec<_> = app_patches(commit.changes).into_iter().collect();
    let mut parts = parts(&batches, &patches, commit.events);
    let mut make = || match parts.next() {
        Some(part) => part.make(commit).map(Some).map_err(sql),
        None => Ok(None),
    };
    let mut ids = Vec::with_capacity(commit.events.len());
    let mut next = make()?;
    while let Some(steps) = next {
        let all = async {
            for step in steps {
                step.write(conn, &mut ids).await?;
            }
            Ok(())
        };
        let (written, following) = tokio::join!(biased; all, async { make() });
        written?;
        next = following?;
    }
    Ok(ids)
}

/// In the order in which they must be written.
fn parts<'a>(
    batches: &'a [Batch<'a>],
    patches: &'a [(&'a AppKey, AppPatch)],
    events: &'a [Event],
) -> impl Iterator<Item = Part<'a>> {
    let rows = batches.iter().flat_map(|batch| {
        let chunks = batch.changes.chunks(ROWS_PER_STATEMENT);
        chunks.map(|changes| Part::Rows(batch.kind, changes))
    });
    let patches = patches.chunks(ROWS_PER_STATEMENT).map(Part::Patches);
    let events = events.chunks(ROWS_PER_STATEMENT).map(Part::Events);
    rows.chain(patches).chain(events)
}

impl<'a> Part<'a> {
    fn make(self, commit: &Commit<'_>) -> sqlx::Result<Vec<Step<'a>>> {
        Ok(match self {
            Part::Rows(kind, changes) => return make_rows(kind, changes),
            Part::Patches(patches) => vec![Step::exactly(patches.len(), apps::patch(patches))],
            Part::Events(events) => vec![Step {
                sent: Sent::Events(events::add(commit.base.next(), commit.cause, events)?),
                rows: Some(events.len()),
            }],
        })
    }
}

fn make_rows<'a>(kind: Kind, changes: &'a [&'a Change]) -> sqlx::Result<Vec<Step<'a>>> {
    // Each change names a row that is there, or makes it.
    let each = |statement| Step::exactly(changes.len(), statement);
    let step = match kind {
        Kind::PutSource => return sources::put(changes),
        Kind::RemoveSource => Step::any(sources::remove(changes)?),
        Kind::Declare => each(apps::declare(changes)?),
        Kind::SetInvalid => Step::any(apps::set_invalid(changes)?),
        Kind::Undeclare => each(apps::undeclare(changes)?),
        Kind::RemoveApp => each(apps::remove(changes)?),
        Kind::SetSuspension => each(apps::set_suspension(changes)?),
        Kind::SetScale => each(apps::set_scale(changes)?),
        Kind::AddRelease => Step {
            sent: Sent::Releases(releases::copy(changes)?, changes),
            rows: Some(changes.len()),
        },
        Kind::SetReleaseState => each(releases::set_state(changes)?),
        Kind::PinImage => each(releases::pin_image(changes)?),
        Kind::ForgetRelease => Step::any(releases::forget(changes)?),
        Kind::Quarantine => return releases::quarantine(changes),
        Kind::Unquarantine => Step::any(releases::unquarantine(changes)?),
        Kind::PutRollout => each(rollouts::put(changes)?),
        Kind::AddInstance => each(instances::add(changes)?),
        Kind::SetGoal => each(instances::set_goal(changes)?),
        Kind::SetRequests => each(instances::set_requests(changes)?),
        Kind::SetHome => each(instances::set_home(changes)?),
        Kind::Observe => each(instances::observe(changes)?),
        Kind::ForgetInstance => each(instances::forget(changes)?),
        Kind::PutNode => return nodes::put(changes),
        Kind::SetLiveness => each(nodes::set_liveness(changes)?),
        Kind::SetScheduling => each(nodes::set_scheduling(changes)?),
        Kind::PutImage => each(nodes::put_images(changes)?),
        Kind::DropImage => Step::any(nodes::drop_images(changes)?),
        Kind::RemoveNode => Step::any(nodes::remove(changes)?),
    };
    Ok(vec![step])
}
