//! Whether a rollout stops and condemns only what it may.

use super::{Truth, Watch};
use crate::model::{
    AppKey, Instance, InstanceId, Liveness, NodeName, Snapshot, SpecDigest, Verdict,
};
use crate::sim::rng::Moment;

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
        // While a node is silent nobody sees how what runs there does.
        let heard_since = |i: &Instance| self.returned.get(&i.node).copied();
        let instances = || app.into_iter().flat_map(|a| a.instances.values());
        let evidence = rejection.evidence.instance;
        let judged = instances().find(|i| evidence == Some(i.id));
        let since = judged.and_then(heard_since).unwrap_or_default();
        let watched = now.0 - truth.since.max(since).0;
        let stops_now = |i: &Instance| {
            let seen = self.instances.get(&i.id).and_then(|s| s.stop);
            seen.is_some_and(|stop| stop.at == now)
        };
        let all = instances().filter(|i| {
            // What is started by the same plan came after its verdict.
            let there = self.instances.get(&i.id).is_some_and(|s| s.created < now);
            let judged = i.wants_run() || stops_now(i);
            there && judged && i.workload == release.workload_digest
        });
        let all_since = all.filter_map(heard_since).max().unwrap_or_default();
        let rollout = rejection.rollout.and_then(|r| self.rollouts.get(&r));
        let began = rollout.copied().unwrap_or(Moment(0));
        let policy = &release.spec.rollout;
        // Clocks run apart, and what is decided takes a while to be written.
        let least = |limit: u64| limit - limit / 100;
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
                let limit = policy.progress_deadline.as_millis() as u64;
                let lasted = now.0 - truth.since.max(began).max(all_since).0;
                (lasted + 1_500 < least(limit)).then(|| format!("after {lasted} ms of {limit}"))
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
