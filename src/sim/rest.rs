//! Whether a cluster is where it should be in the end, and at rest.

use std::collections::BTreeSet;

use super::apps::{Behaviour, image};
use super::world::{STILL, World};
use crate::model::{App, AppKey, RolloutPhase, Timestamp};
use crate::plan::NOBODY;
use crate::plan::{IdSource, Plan, PlanInput, Scope, Settings, plan};

impl World {
    /// Nothing was done for a while, and no deadline is waited for.
    pub fn is_still(&mut self) -> bool {
        if self.now.0 <= self.moved_at.0 + STILL || self.now < self.look_at {
            return false;
        }
        self.look_at = self.now.plus(5_000);
        let plan = self.plan_all();
        plan.wake_at.is_empty() && plan.changes.is_empty()
    }

    fn plan_all(&self) -> Plan {
        let settings = Settings::default();
        let leaders = self.desks.iter().filter_map(|d| d.controller.as_ref());
        let watched = leaders
            .filter(|c| c.acts(self.now))
            .find_map(|c| c.lead().map(|lead| (lead, c.own(self.now))));
        let now = Timestamp(self.database_now().0 as i64);
        let now = watched.map_or(now, |(lead, own)| lead.time(own));
        let input = PlanInput {
            now,
            since: watched.map_or(now, |(lead, _)| lead.watched_since()),
            heard: &NOBODY,
            snapshot: &self.store.snapshot,
            scope: Scope::All,
            settings: &settings,
        };
        plan(&input, &mut IdSource::new(1))
    }

    /// An operator set something until a time that has come once and is to come again, since the
    /// clock was put back. No verb lasts as long as the patience otherwise.
    pub fn is_held_by_the_clock(&self) -> bool {
        let now = Timestamp(self.database_now().0 as i64);
        let mut apps = self.store.snapshot.apps.values();
        apps.any(|app| {
            let suspended = app.suspended.as_ref().and_then(|s| s.until);
            let scaled = app.scale.as_ref().and_then(|s| s.until);
            suspended.max(scaled).is_some_and(|until| until > now)
        })
    }

    /// What is still waited for.
    pub fn restlessness(&self) -> String {
        let plan = self.plan_all();
        let waits = plan.wake_at.iter().map(|(app, at)| {
            let report = plan.report.apps.get(app);
            let words = report.into_iter().flat_map(|r| &r.waiting);
            let words: Vec<&str> = words.map(|w| w.what.as_str()).collect();
            let rollout = self
                .store
                .snapshot
                .apps
                .get(app)
                .and_then(|a| a.rollout.as_ref());
            format!(
                "{app} looks again at {at} (rollout {:?}), waits for {words:?}",
                rollout.map(|r| r.phase)
            )
        });
        let change = plan.changes.first().map(|c| format!("{c:?} is left to do"));
        waits.chain(change).collect::<Vec<_>>().join("; ")
    }

    pub fn be_quiet(&mut self) {
        self.watch.resting = true;
        for desk in &mut self.desks {
            if let Some(controller) = &mut desk.controller {
                controller.quiet = true;
            }
        }
        for place in &mut self.places {
            if let Some(agent) = &mut place.agent {
                agent.quiet = true;
            }
        }
    }

    /// What is neither as declared nor in an end that has a name; `None`: all is well.
    pub fn unfinished(&self) -> Option<String> {
        let snapshot = &self.store.snapshot;
        let plan = self.plan_all();
        if let Some(change) = plan.changes.first() {
            let text: String = format!("{change:?}").chars().take(300).collect();
            return Some(format!("the planner is not idle: {text}"));
        }
        let real: BTreeSet<&AppKey> = self
            .places
            .iter()
            .flat_map(|p| p.machine.containers.values())
            .map(|c| &c.app)
            .collect();
        if let Some(app) = real.iter().find(|key| !snapshot.apps.contains_key(**key)) {
            return Some(format!("{app}: containers of an app that is gone"));
        }
        for app in snapshot.apps.values() {
            let waits: Vec<&str> = plan
                .report
                .apps
                .get(&app.key)
                .into_iter()
                .flat_map(|r| r.waiting.iter().map(|w| w.what.as_str()))
                .collect();
            let blocked = plan
                .report
                .apps
                .get(&app.key)
                .is_some_and(|r| r.funnel.is_some());
            if let Some(text) = self.app_unfinished(app, blocked) {
                return Some(format!("{}: {text}; waits for {waits:?}", app.key));
            }
        }
        None
    }

    fn app_unfinished(&self, app: &App, blocked: bool) -> Option<String> {
        if app.declared.is_none() {
            return Some("still there though the repository has it no more".to_owned());
        }
        let paused = app
            .active_rollout()
            .is_some_and(|r| r.phase == RolloutPhase::Paused);
        if app.suspended.is_some() || paused || blocked {
            return None;
        }
        if let Some(rollout) = app.active_rollout() {
            return Some(format!("a rollout is in phase {:?}", rollout.phase));
        }
        let Some(target) = app.target_release() else {
            let failed = app
                .rollout
                .as_ref()
                .is_some_and(|r| r.phase == RolloutPhase::Failed);
            return (!failed).then(|| "nothing was rolled out".to_owned());
        };
        let declared = app.declared.as_ref().map(|d| &d.digest);
        if app.rejection_of_declared().is_none() && declared != Some(&target.spec_digest) {
            return Some("it is not at what is declared".to_owned());
        }
        if app.quarantine.contains_key(&target.spec_digest) {
            // Failed with nothing to go back to.
            return None;
        }
        let behaviour = target.spec.workload.image().map(|i| image(i).behaviour);
        let probed = target.spec.health.readiness.is_some();
        let good = behaviour.is_some_and(|b| {
            b.is_good() || (!probed && matches!(b, Behaviour::NeverReady | Behaviour::Sickens))
        });
        if !good {
            return None;
        }
        let now = self.now;
        let mut slots = BTreeSet::new();
        let mut others = 0;
        for place in &self.places {
            for (id, c) in &place.machine.containers {
                if c.app != app.key {
                    continue;
                }
                let wanted = app
                    .instances
                    .get(id)
                    .is_some_and(|i| i.wants_run() && i.workload == target.workload_digest);
                if wanted && c.serving_since(now).is_some() {
                    slots.insert(c.slot);
                } else {
                    others += 1;
                }
            }
        }
        let replicas = app.replicas_of(target) as usize;
        if slots.len() != replicas || others > 0 {
            return Some(format!(
                "{} of {replicas} slots serve, and {others} other containers exist",
                slots.len()
            ));
        }
        None
    }
}
