//! When apps are to be looked at again although nothing happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Plan;
use crate::model::{AppKey, Timestamp};

/// Least time to the next look that an app asks for by time alone.
pub const SHORTEST_TIMER: Duration = Duration::from_millis(20);

/// Each app's next look, and the apps that look for a place.
#[derive(Clone, Debug, Default)]
pub struct Agenda {
    due: BTreeSet<(Timestamp, AppKey)>,
    of: BTreeMap<AppKey, Timestamp>,
    /// Apps that look for a place.
    pub blocked: BTreeSet<AppKey>,
}

impl Agenda {
    /// Replaces the app's next look; `None`: none is needed.
    pub fn set(&mut self, app: &AppKey, at: Option<Timestamp>) {
        if let Some(old) = self.of.remove(app) {
            self.due.remove(&(old, app.clone()));
        }
        if let Some(at) = at {
            self.of.insert(app.clone(), at);
            self.due.insert((at, app.clone()));
        }
    }

    /// The apps whose time has come; they are no longer on the list.
    pub fn take_due(&mut self, now: Timestamp) -> BTreeSet<AppKey> {
        let mut apps = BTreeSet::new();
        while let Some((at, _)) = self.due.first()
            && *at <= now
            && let Some((_, app)) = self.due.pop_first()
        {
            self.of.remove(&app);
            apps.insert(app);
        }
        apps
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes in what a plan said of one app that it looked at.
    pub fn planned(&mut self, app: &AppKey, plan: &Plan, now: Timestamp) {
        let earliest = now + SHORTEST_TIMER;
        self.set(app, plan.wake_at.get(app).map(|at| (*at).max(earliest)));
        let report = plan.report.apps.get(app);
        if report.is_some_and(|report| report.funnel.is_some()) {
            self.blocked.insert(app.clone());
        } else {
            self.blocked.remove(app);
        }
    }

    pub fn forget(&mut self, app: &AppKey) {
        self.set(app, None);
        self.blocked.remove(app);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_replaced_not_added() {
        let app: AppKey = "default/web".parse().unwrap();
        let mut agenda = Agenda::default();
        agenda.set(&app, Some(Timestamp(10)));
        agenda.set(&app, Some(Timestamp(30)));
        assert!(agenda.take_due(Timestamp(20)).is_empty());
        assert_eq!(agenda.next(), Some(Timestamp(30)));
        assert_eq!(agenda.take_due(Timestamp(30)), BTreeSet::from([app]));
        assert_eq!(agenda.next(), None);
    }
}
