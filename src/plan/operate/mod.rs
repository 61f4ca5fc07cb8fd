//! What operators ask for, as decisions or kind refusals.
//!
//! `by` is the operator's name as the token tells it; it is in every event, and
//! in every refusal that comes of what another operator did before.

mod exec;
mod nodes;
mod rollback;
mod rollouts;
mod scale;
mod sources;
mod suspend;

pub use exec::{ExecTarget, plan_exec};
pub use nodes::{Left, left_on, plan_scheduling};
pub use rollback::{plan_abort, plan_release, plan_rollback};
pub use rollouts::{plan_pause, plan_restart, plan_resume_rollout};
pub use scale::{MAX_REPLICAS, plan_reset_scale, plan_scale};
pub use sources::{
    Prune, plan_add_source, plan_approve_held, plan_change_source, plan_remove_source,
};
pub use suspend::{plan_resume, plan_suspend};

use super::{Decision, Refusal};
use crate::model::{Actor, App, AppKey, Event, EventKind, Snapshot, Timestamp};

fn find<'a>(snapshot: &'a Snapshot, key: &AppKey) -> Result<&'a App, Refusal> {
    snapshot.apps.get(key).ok_or_else(|| {
        Refusal::NotFound(format!("there is no app {key}; `evenkeel apps` lists all"))
    })
}

fn app_event(now: Timestamp, by: &str, kind: EventKind, app: &App, message: String) -> Event {
    let mut event = Event::new(now, Actor::User(by.to_owned()), kind, message);
    event.app = Some(app.key.clone());
    event.source = Some(app.source.clone());
    event.rollout = app.active_rollout().map(|r| r.id);
    event
}

/// `: REASON`, where one was given.
fn because(reason: Option<&str>) -> String {
    reason.map(|r| format!(": {r}")).unwrap_or_default()
}

/// ` until TIME`, where it ends by itself.
fn ends(until: Option<Timestamp>) -> String {
    until.map(|at| format!(" until {at}")).unwrap_or_default()
}
