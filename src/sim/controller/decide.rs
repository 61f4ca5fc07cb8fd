//! One decision, made by the real code on the image in memory.

use super::CLUSTER;
use super::lead::{Busy, Job, Lead};
use super::messages::{Ask, Why, Wishes};
use crate::model::{AppKey, Change, SyncOutcome};
use crate::plan::hearing::Order;
use crate::plan::observe::{apps_to_follow, plan_liveness, plan_report};
use crate::plan::statuses::next_statuses;
use crate::plan::sync::{SyncInput, plan_failed_sync, plan_sync};
use crate::plan::{Decision, IdSource, PlanInput, Scope, Settings, check, plan_after};
use crate::sim::apps::{catalog, commit_id};
use crate::sim::rng::Moment;
use crate::sim::verbs;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Lead {
    pub(super) fn decide(
        &mut self,
        job: Job,
        ids: &mut IdSource,
        settings: &Settings,
        now: Moment,
        wishes: &mut Wishes,
    ) {
        let Some(image) = &self.image else { return };
        let time = self.clock.time(now);
        let since = self.clock.time(self.since);
        let clock = &self.clock;
        let heard = self
            .hearing
            .of_silent(self.epoch, image, image.apps.keys(), |at| clock.time(at));
        let checked = self.checked;
        let mut planned = None;
        let mut plan = |observed: &[Change], apps: &BTreeSet<AppKey>, ids: &mut IdSource| {
            let input = PlanInput {
                now: time,
                since,
                heard: &heard,
                snapshot: image,
                scope: Scope::Apps(apps),
                settings,
            };
            let plan = plan_after(&input, observed, ids);
            let mut seen;
            let before = if observed.is_empty() {
                image
            } else {
                seen = image.clone();
                if seen.apply_all(observed).is_err() {
                    wishes.broken.push("a report does not fit".to_owned());
                }
                &seen
            };
            if checked && !plan.changes.is_empty() {
                let found = check(before, &plan);
                wishes
                    .broken
                    .extend(found.iter().map(|v| format!("plan::check: {v}")));
            }
            plan
        };
        let (decision, why) = match &job {
            Job::Report(sent) => {
                let r = &sent.report;
                let node = &r.body.node;
                wishes.heard.push(node.clone());
                if self
                    .hearing
                    .order(self.epoch, node, r.session, r.sequence, now)
                    == Order::Next
                {
                    self.hearing
                        .heard(self.epoch, node, r.session, r.sequence, now);
                    let mut decision = plan_report(time, image, &r.body);
                    let mut apps = apps_to_follow(&decision);
                    let lacks = |app| self.hearing.lacks(self.epoch, image, app);
                    apps.retain(|key| image.apps.get(key).and_then(lacks).is_none());
                    if !apps.is_empty() {
                        let plan = plan(&decision.changes, &apps, ids);
                        decision.changes.extend(plan.changes);
                        decision.events.extend(plan.events);
                    }
                    (decision, Why::Report)
                } else {
                    self.hearing.alive(node, now);
                    (Decision::default(), Why::Report)
                }
            }
            Job::Plan(apps) => {
                let mut plan = plan(&[], apps, ids);
                let decision = Decision {
                    changes: std::mem::take(&mut plan.changes),
                    events: std::mem::take(&mut plan.events),
                };
                planned = Some(plan);
                (decision, Why::Plan)
            }
            Job::Sync { source, head } => {
                let id = commit_id(head.number);
                let catalog = catalog(&head.tree);
                let touched = self
                    .sources
                    .get(source)
                    .and_then(|s| s.following.touched(&id));
                let decision = plan_sync(&SyncInput {
                    now: time,
                    snapshot: image,
                    source,
                    commit: &id,
                    catalog: &catalog,
                    touched,
                    settings,
                });
                (decision, Why::Sync { head: head.number })
            }
            Job::Failed { source } => {
                let outcome = SyncOutcome::Unreachable {
                    message: "no answer".to_owned(),
                };
                (
                    plan_failed_sync(time, image, source, None, outcome),
                    Why::Failed,
                )
            }
            Job::Liveness => {
                let heard = self
                    .hearing
                    .last_heard(self.epoch)
                    .map(|(node, at)| (node.clone(), self.clock.time(at.max(self.listening_since))))
                    .collect();
                let since = self.clock.time(self.listening_since);
                (
                    plan_liveness(time, image, &heard, since, settings),
                    Why::Liveness,
                )
            }
            Job::Verb(verb) => (verbs::decide(verb, image, time, ids), Why::Verb),
        };
        if decision.changes.is_empty() && decision.events.is_empty() {
            wishes.looked |= matches!(job, Job::Liveness);
            self.finished(job, planned, now, wishes);
            return;
        }
        // Only that it copes; nobody listens.
        drop(next_statuses(CLUSTER, image, &decision.changes));
        let base = image.generation;
        let changes = Arc::new(decision.changes);
        wishes.asks.push(Ask::Commit {
            epoch: self.epoch,
            base,
            changes: Arc::clone(&changes),
            why,
        });
        self.busy = Busy::Writing {
            job,
            decision: changes,
            plan: planned,
        };
    }
}
