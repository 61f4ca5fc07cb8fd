//! Whether a rollout stops and condemns only what it may.

use super::{Progress, Truth, Watch};
use crate::model::{
    App, AppKey, Instance, InstanceId, Liveness, NodeName, Release, Rollout, RolloutPhase,
    Snapshot, SpecDigest, Verdict,
};
use crate::sim::rng::Moment;

/// Clocks run apart, and what is decided takes a while to be written.
fn least(limit: u64) -> u64 {
    limit - limit / 100
}

impl Watch {
    /// The first old instance that serves stops only once every node has the image.
    pub(super) fn images(
        &mut self,
        now: Moment,
        after: &Snapshot,
        key: &AppKey,
        id: InstanceId,
        truth: &Truth<'_>,
    ) {
        let Some(app) = after.apps.get(key).filter(|a| a.declared.is_some()) else {
            return;
        };
        let Some(rollout) = app.active_rollout().filter(|r| !r.is_rollback()) else {
            return;
        };
        let (Some(release), Some(instance)) =
            (app.releases.get(&rollout.to), app.instances.get(&id))
        else {
            return;
        };
        let heard = |node: &NodeName| {
            after
                .nodes
                .get(node)
                .is_some_and(|n| n.liveness == Liveness::Ready)
        };
        let serves = instance.is_ready() && heard(&instance.node);
        if instance.workload == release.workload_digest || !serves {
            return;
        }
        let (Some(image), Some(tag)) = (release.image(), release.spec.workload.image()) else {
            return;
        };
        let began = self.rollouts.get(&rollout.id).copied().unwrap_or(now);
        let lost_since = |node: &NodeName| self.lost.get(node).is_some_and(|at| *at >= began);
        let lacks = truth.places.iter().find(|p| {
            !lost_since(&p.machine.name)
                && rollout.prepare.contains(&p.machine.name)
                && heard(&p.machine.name)
                && p.machine.reachable()
                && !p.machine.images.contains(image)
                && !p.machine.images.contains(tag)
        });
        if let Some(place) = lacks {
            let text = format!(
                "{key}: an old instance stops, and {} has not got {image}",
                place.machine.name
            );
            self.break_rule(now, "images first", text);
        }
    }

    /// A rollout stops for lack of progress only after it had as long for it as it may take.
    pub(super) fn progress(
        &mut self,
        now: Moment,
        app: &App,
        rollout: &Rollout,
        truth: &Truth<'_>,
    ) {
        let at = truth.decided;
        let paused = rollout.phase == RolloutPhase::Paused;
        let healthy = rollout.best_healthy;
        let new = Progress {
            at,
            healthy,
            paused,
        };
        let mut known = *self.progress.entry(rollout.id).or_insert(new);
        let stuck = rollout.outcome.as_ref();
        let stuck = stuck.is_some_and(|words| words.contains("no progress within"));
        if paused
            && !known.paused
            && stuck
            && let Some(to) = app.releases.get(&rollout.to)
            && let Some(wrong) = self.too_early(now, app, to, known.at, truth)
        {
            let text = format!("{}: paused for lack of progress {wrong}", app.key);
            self.break_rule(now, "verdict", text);
        }
        if known.paused && !paused || healthy > known.healthy {
            known.at = at;
        }
        known.healthy = known.healthy.max(healthy);
        known.paused = paused;
        self.progress.insert(rollout.id, known);
    }

    /// Whether less than its progressDeadline has passed since `progress`, in words.
    fn too_early(
        &self,
        now: Moment,
        app: &App,
        release: &Release,
        progress: Moment,
        truth: &Truth<'_>,
    ) -> Option<String> {
        let stops_now = |i: &Instance| {
            let seen = self.instances.get(&i.id).and_then(|s| s.stop);
            seen.is_some_and(|stop| stop.at == now)
        };
        let all = app.instances.values().filter(|i| {
            // What is started by the same plan came after its verdict.
            let there = self.instances.get(&i.id).is_some_and(|s| s.created < now);
            let judged = i.wants_run() || stops_now(i);
            there && judged && i.workload == release.workload_digest
        });
        let heard = all.filter_map(|i| self.heard_since(i)).max();
        let since = truth.since.max(progress).max(heard.unwrap_or_default());
        let limit = release.spec.rollout.progress_deadline.as_millis() as u64;
        let lasted = now.0 - since.0;
        (lasted + 1_500 < least(limit)).then(|| format!("after {lasted} ms of {limit}"))
    }

    /// While a node is silent nobody sees how what runs there does.
    fn heard_since(&self, instance: &Instance) -> Option<Moment> {
        self.returned.get(&instance.node).copied()
    }

    pub(super) fn verdict(
        &mut self,
        now: Moment,
        after: &Snapshot,
        key: &AppKey,
        digest: &SpecDigest,
        rejection: &crate::model::Rejection,
        truth: &Truth<'_>,
    ) {
        let app = after.apps.get(key);
        let Some(release) = app.and_then(|a| a.releases.get(&rejection.release)) else {
            return;
        };
        let image = release.spec.workload.image().map(crate::sim::apps::image);
        let good = image.is_some_and(|i| i.behaviour.is_good());
        let behaviour = image.map(|i| i.behaviour);
        let mut instances = app.into_iter().flat_map(|a| a.instances.values());
        let evidence = rejection.evidence.instance;
        let judged = instances.find(|i| evidence == Some(i.id));
        let since = judged.and_then(|i| self.heard_since(i)).unwrap_or_default();
        let watched = now.0 - truth.since.max(since).0;
        let policy = &release.spec.rollout;
        use crate::sim::apps::Behaviour as B;
        let wrong = match rejection.verdict {
            Verdict::NotReady => {
                let limit = policy.healthy_deadline.as_millis() as u64;
                if good && !self.hurt.contains(key) {
                    Some("it is ready soon after each start".to_owned())
                } else {
                    (watched + 1_500 < least(limit))
                        .then(|| format!("after {watched} ms of {limit}"))
                }
            }
            Verdict::NoProgress => {
                let rollout = rejection.rollout.and_then(|r| self.progress.get(&r));
                let progress = rollout.map_or(Moment(0), |p| p.at);
                app.and_then(|app| self.too_early(now, app, release, progress, truth))
            }
            Verdict::ImageMissing => {
                (behaviour != Some(B::Missing)).then(|| "the image is there".to_owned())
            }
            Verdict::CannotStart => {
                (behaviour != Some(B::Refused)).then(|| "it can start".to_owned())
            }
            Verdict::CrashLoop => {
                (good && !self.hurt.contains(key)).then(|| "it never crashed".to_owned())
            }
            Verdict::FailedBake => {
                (good && !self.hurt.contains(key)).then(|| "it never sickened".to_owned())
            }
            Verdict::Infeasible | Verdict::Operator => None,
        };
        if let Some(wrong) = wrong {
            let text = format!(
                "{key}: {:?} of {:?} ({}): {wrong}",
                rejection.verdict,
                release.spec.workload.image(),
                digest.short()
            );
            self.break_rule(now, "verdict", text);
        }
    }
}
