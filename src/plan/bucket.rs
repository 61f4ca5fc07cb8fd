//! Every instance falls into exactly one bucket.

use crate::model::snapshot::Observed;
use crate::model::{Goal, Instance, InstanceId, Release, Timestamp};
use crate::mutant::{Mutant, mutant};

use super::drain::is_leaving;
use super::work::Work;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// Confirmed gone: only its record is left.
    Gone,
    /// Told to stop, may still run.
    Stopping,
    /// Ended on request, its remains are being removed. Instances that hold a fixed port or
    /// a volume stay `Stopping` until these are free.
    Stopped,
    /// Told to stop because its node is lost: counted out.
    Lost,
    /// Wanted, but its node is silent: may run, may not.
    Unknown,
    /// Of the wanted workload, ready for `minHealthyTime`.
    NewHealthy,
    /// Of the wanted workload, ready, not yet for long enough.
    NewReady,
    /// Of the wanted workload, not ready.
    NewStarting,
    /// Of another workload, ready.
    OldReady,
    /// Of another workload, not serving.
    OldUnready,
}

#[derive(Clone, Debug)]
pub struct Sorted {
    pub id: InstanceId,
    pub slot: u32,
    pub bucket: Bucket,
    /// Runs the wanted workload (also when its bucket does not say so).
    pub new: bool,
    /// It would be new if its node were not being drained.
    pub leaving: bool,
    /// When it will have been ready for `minHealthyTime`: until then nothing stops for an
    /// instance of the wanted workload, also if it is to leave or to be started anew itself.
    pub young: Option<Timestamp>,
}

impl Sorted {
    /// It serves what is wanted, though from a node that it is to leave.
    pub fn serves_in_place(&self) -> bool {
        self.leaving && self.bucket == Bucket::OldReady
    }
}

/// When a ready instance counts as healthy; `None`: it is not ready.
pub fn healthy_at(instance: &Instance, release: &Release) -> Option<Timestamp> {
    instance
        .status
        .as_ref()
        .filter(|s| s.ready)
        .and_then(|s| s.ready_since)
        .map(|since| {
            if mutant(Mutant::MinHealthySkipped) {
                return since;
            }
            since + release.spec.rollout.min_healthy_time
        })
}

/// Sorts the app's instances against the release that is wanted now.
pub fn sort(work: &Work<'_>, wanted: &Release) -> Vec<Sorted> {
    work.app
        .instances
        .values()
        .map(|instance| {
            let current =
                work.app.is_current(instance, wanted) && instance.requests == wanted.spec.requests;
            let leaving = current && is_leaving(work, instance);
            let new = current && !leaving;
            let bucket = bucket_of(work, instance, wanted, new);
            let ready = matches!(bucket, Bucket::NewReady | Bucket::OldReady);
            let of_wanted = ready && instance.workload == wanted.workload_digest;
            let healthy_at = healthy_at(instance, wanted).filter(|_| of_wanted);
            Sorted {
                id: instance.id,
                slot: instance.slot,
                bucket,
                new,
                leaving,
                young: healthy_at.filter(|at| *at > work.now()),
            }
        })
        .collect()
}

fn bucket_of(work: &Work<'_>, instance: &Instance, wanted: &Release, new: bool) -> Bucket {
    let seen = work.observe(instance);
    if seen == Observed::Absent {
        return Bucket::Gone;
    }
    match (&instance.goal, seen) {
        (Goal::Stop { .. }, Observed::Unknown) => {
            let lost = work
                .silence(&instance.node)
                .is_some_and(|s| s >= wanted.spec.on_node_loss.after);
            if lost { Bucket::Lost } else { Bucket::Stopping }
        }
        (Goal::Stop { .. }, Observed::Known(_) | Observed::Pending | Observed::Absent) => {
            let holds = !instance.volumes.is_empty() || !instance.host_ports.is_empty();
            if instance.is_over() && !holds {
                Bucket::Stopped
            } else {
                Bucket::Stopping
            }
        }
        (Goal::Run, Observed::Unknown) => Bucket::Unknown,
        (Goal::Run, Observed::Known(_) | Observed::Pending | Observed::Absent) => {
            match (new, healthy_at(instance, wanted)) {
                (true, Some(at)) if at <= work.now() => Bucket::NewHealthy,
                (true, Some(_)) => Bucket::NewReady,
                (true, None) => Bucket::NewStarting,
                (false, Some(_)) => Bucket::OldReady,
                (false, None) => Bucket::OldUnready,
            }
        }
    }
}

pub fn count(sorted: &[Sorted], bucket: Bucket) -> usize {
    sorted.iter().filter(|s| s.bucket == bucket).count()
}

/// Instances that run or may run, whoever wants them.
pub fn total(sorted: &[Sorted]) -> usize {
    sorted
        .iter()
        .filter(|s| !matches!(s.bucket, Bucket::Gone | Bucket::Stopped | Bucket::Lost))
        .count()
}
