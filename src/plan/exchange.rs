//! Which instances to create and to stop now, so that in the end exactly the
//! wanted ones run, and on the way the promises hold:
//!
//! - ready instances never fall below `replicas - maxUnavailable` and all
//!   together never rise above `replicas + maxSurge` through what is done here;
//! - a serving instance of another version stops only for ones that have been
//!   healthy for `minHealthyTime`, and only once images are in place;
//! - what does not serve holds nobody up: it goes first, and its slot is
//!   refilled side by side;
//! - never more than two versions live: a third waits until one is gone, unless both of
//!   the others were rejected, since nothing rejected is started again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bucket::{Bucket, Sorted, count, sort, total};
use super::drain::{place_elsewhere, stops_first};
use super::verdict::last_word;
use super::work::Work;
use crate::model::spec::Strategy;
use crate::model::{App, InstanceId, Release, WorkloadDigest};
use crate::mutant::{Mutant, mutant};

/// What may be done to instances that serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// They may be exchanged.
    Exchange,
    /// Images are still under way, or the rollout stands: they stay.
    Keep,
}

/// What may be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creating {
    Allowed,
    /// Only for slots that nothing is left of.
    Refill,
    /// The wanted release is condemned or paused: nothing more of it.
    Forbidden,
}

/// Bounds on a change of the instances, from the rollout policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub replicas: usize,
    pub surge: usize,
    pub unavailable: usize,
    /// All old ones may go before a new one comes.
    pub recreate: bool,
}

impl Bounds {
    pub fn of(app: &App, release: &Release) -> Bounds {
        let replicas = app.replicas_of(release);
        let policy = &release.spec.rollout;
        Bounds {
            replicas: replicas as usize,
            surge: policy.max_surge.of_rounding_up(replicas) as usize,
            unavailable: policy.max_unavailable.of_rounding_down(replicas) as usize,
            recreate: policy.strategy == Strategy::Recreate,
        }
    }
}

/// One step towards `wanted`. `why` is the reason written on what changes.
pub fn plan_exchange(
    work: &mut Work<'_>,
    wanted: &Arc<Release>,
    serving: Serving,
    creating: Creating,
    why: &str,
) {
    let sorted = sort(work, wanted);
    let bounds = Bounds::of(&work.app, wanted);
    match third_version(work, wanted, &sorted) {
        // Instances of `keep` serve for another release: they wait for its images too.
        Some(_) if serving == Serving::Keep => {
            work.wait_for("the images, before one of two old versions goes", None);
        }
        Some(keep) => {
            let reason = format!(
                "at most two versions live at once, so all go to {} first",
                keep.commit.short()
            );
            step(work, &keep, bounds, serving, Creating::Allowed, &reason);
        }
        None => step(work, wanted, bounds, serving, creating, why),
    }
}

/// Where two other versions live, the one that stays until the other is gone: the one that
/// serves most, then a proven one, then the newest; never a rejected one, since it may need
/// new instances.
fn third_version(
    work: &Work<'_>,
    wanted: &Arc<Release>,
    sorted: &[Sorted],
) -> Option<Arc<Release>> {
    let mut versions: BTreeMap<&WorkloadDigest, usize> = BTreeMap::new();
    for s in sorted {
        let gone = matches!(s.bucket, Bucket::Gone | Bucket::Stopped | Bucket::Lost);
        let Some(instance) = work.app.instances.get(&s.id).filter(|_| !gone) else {
            continue;
        };
        // Given up on a silent node, where a new leader counts the silence anew: its version is
        // no reason to start more of it.
        if s.bucket == Bucket::Stopping && work.silence(&instance.node).is_some() {
            continue;
        }
        let ready = usize::from(s.bucket == Bucket::OldReady);
        *versions.entry(&instance.workload).or_default() += ready;
    }
    if versions.contains_key(&wanted.workload_digest) || versions.len() < 2 {
        return None;
    }
    work.app
        .releases
        .values()
        .filter(|r| {
            !work.app.quarantine.contains_key(&r.spec_digest) || mutant(Mutant::RejectedRevived)
        })
        .filter_map(|r| versions.get(&r.workload_digest).map(|ready| (*ready, r)))
        .max_by_key(|(ready, r)| (*ready, r.is_stable(), r.number))
        .map(|(_, r)| Arc::clone(r))
}

fn step(
    work: &mut Work<'_>,
    wanted: &Arc<Release>,
    bounds: Bounds,
    serving: Serving,
    creating: Creating,
    why: &str,
) {
    // By the policy of what is wanted in the end, also on the way there.
    let recreate = bounds.recreate;
    adjust_requests(work, wanted);
    stop_idle(work, wanted, serving, why);
    stop_surplus(work, wanted, bounds);
    if serving == Serving::Exchange {
        stop_serving(work, wanted, bounds, recreate, why);
    }
    match creating {
        Creating::Allowed | Creating::Refill => {
            create(work, wanted, bounds, recreate, creating, why);
        }
        Creating::Forbidden => {}
    }
    let sorted = sort(work, wanted);
    wait_for_rest(work, wanted, &sorted);
}

/// Requests change in place where the node has room; elsewhere the instance moves.
fn adjust_requests(work: &mut Work<'_>, wanted: &Release) {
    let requests = wanted.spec.requests;
    let differing: Vec<_> = work
        .app
        .instances
        .values()
        .filter(|i| {
            i.wants_run()
                && i.workload == wanted.workload_digest
                && i.requests != requests
                && super::place::can_grow(
                    work.input.snapshot,
                    work.overlay(),
                    &i.node,
                    i.requests,
                    requests,
                )
        })
        .map(|i| i.id)
        .collect();
    for instance in differing {
        let fits = work.app.instances.get(&instance).is_some_and(|i| {
            super::place::can_grow(
                work.input.snapshot,
                work.overlay(),
                &i.node,
                i.requests,
                requests,
            )
        });
        if fits {
            work.emit(crate::model::Change::SetRequests {
                app: work.app.key.clone(),
                instance,
                requests,
            });
        }
    }
}

/// Instances of another version that do not serve go at once.
fn stop_idle(work: &mut Work<'_>, wanted: &Release, serving: Serving, why: &str) {
    // While images are under way nothing old stops, unless it is the failed
    // version of a rollback.
    let rollback = work.app.active_rollout().is_some_and(|r| r.is_rollback());
    if serving == Serving::Keep && !rollback {
        return;
    }
    for s in sort(work, wanted) {
        if s.bucket != Bucket::OldUnready {
            continue;
        }
        if !s.leaving {
            work.stop_instance(s.id, &format!("it does not serve; {why}"));
        } else if has_place_elsewhere(work, wanted, s.id) {
            let why = leaving_words(work, s.id);
            work.stop_instance(s.id, &format!("it does not serve; {why}"));
        }
    }
}

/// Of the wanted version, one per slot below `replicas` stays: the best one.
fn stop_surplus(work: &mut Work<'_>, wanted: &Release, bounds: Bounds) {
    let sorted = sort(work, wanted);
    let mut new: Vec<&Sorted> = sorted
        .iter()
        .filter(|s| {
            matches!(
                s.bucket,
                Bucket::NewHealthy | Bucket::NewReady | Bucket::NewStarting
            )
        })
        .collect();
    // Best first: `Bucket` orders healthy before ready before starting.
    new.sort_by_key(|s| (s.slot, s.bucket, s.id));
    let mut taken = BTreeSet::new();
    let mut surplus: Vec<&Sorted> = new
        .into_iter()
        .filter(|s| s.slot as usize >= bounds.replicas || !taken.insert(s.slot))
        .collect();
    surplus.sort_by_key(|s| std::cmp::Reverse((s.bucket, s.slot)));
    let mut budget = budget(&sorted, bounds);
    for s in surplus {
        let reason = if s.slot as usize >= bounds.replicas {
            wanted_replicas(work, bounds.replicas)
        } else {
            format!("slot {} is already served", s.slot)
        };
        match s.bucket {
            Bucket::NewStarting => work.stop_instance(s.id, &reason),
            Bucket::NewHealthy | Bucket::NewReady if budget > 0 => {
                budget -= 1;
                work.stop_instance(s.id, &reason);
            }
            Bucket::NewHealthy
            | Bucket::NewReady
            | Bucket::Gone
            | Bucket::Stopping
            | Bucket::Stopped
            | Bucket::Lost
            | Bucket::Unknown
            | Bucket::OldReady
            | Bucket::OldUnready => {}
        }
    }
}

/// How many serving instances may stop now.
fn budget(sorted: &[Sorted], bounds: Bounds) -> usize {
    let serves = |s: &&Sorted| match s.bucket {
        Bucket::NewHealthy => true,
        Bucket::OldReady => s.young.is_none(),
        Bucket::Gone
        | Bucket::Stopping
        | Bucket::Stopped
        | Bucket::Lost
        | Bucket::Unknown
        | Bucket::NewReady
        | Bucket::NewStarting
        | Bucket::OldUnready => false,
    };
    let available = sorted.iter().filter(serves).count();
    let below = usize::from(mutant(Mutant::FloorOffByOne));
    let floor = bounds.replicas.saturating_sub(bounds.unavailable + below);
    available.saturating_sub(floor)
}

fn stop_serving(work: &mut Work<'_>, wanted: &Release, bounds: Bounds, recreate: bool, why: &str) {
    let sorted = sort(work, wanted);
    let budget = if recreate || mutant(Mutant::StopBeforeStart) {
        usize::MAX
    } else {
        budget(&sorted, bounds)
    };
    let replaced: BTreeSet<u32> = sorted
        .iter()
        .filter(|s| s.bucket == Bucket::NewHealthy)
        .map(|s| s.slot)
        .collect();
    let stops_first = stops_first(&work.app, wanted);
    // Who leaves its node stops for its successor, or where that finds a place for sure.
    let may_stop = |s: &&Sorted| {
        !s.leaving
            || replaced.contains(&s.slot)
            || s.slot as usize >= bounds.replicas
            || stops_first && has_place_elsewhere(work, wanted, s.id)
    };
    let leaving: BTreeSet<InstanceId> = sorted.iter().filter(|s| s.leaving).map(|s| s.id).collect();
    let mut old: Vec<(bool, bool, u32, InstanceId)> = sorted
        .iter()
        .filter(|s| s.bucket == Bucket::OldReady)
        .filter(may_stop)
        .map(|s| {
            let beyond = s.slot as usize >= bounds.replicas;
            (!beyond, !replaced.contains(&s.slot), s.slot, s.id)
        })
        .collect();
    old.sort();
    for (_, _, _, id) in old.into_iter().take(budget) {
        if leaving.contains(&id) {
            let why = leaving_words(work, id);
            work.stop_instance(id, &why);
        } else {
            work.stop_instance(id, why);
        }
    }
}

/// `3 replicas are declared`, or who wants another number.
pub fn wanted_replicas(work: &Work<'_>, replicas: usize) -> String {
    let are = if replicas == 1 {
        "replica is"
    } else {
        "replicas are"
    };
    match &work.app.scale {
        Some(scale) => format!("{} scaled it to {replicas}", scale.by),
        None => format!("{replicas} {are} declared"),
    }
}

fn has_place_elsewhere(work: &Work<'_>, wanted: &Release, id: InstanceId) -> bool {
    work.app.instances.get(&id).is_some_and(|instance| {
        let snapshot = work.input.snapshot;
        place_elsewhere(snapshot, work.overlay(), &work.app, wanted, instance).is_ok()
    })
}

fn leaving_words(work: &Work<'_>, id: InstanceId) -> String {
    let node = work.app.instances.get(&id).map(|i| i.node.to_string());
    format!("node {} is being drained", node.unwrap_or_default())
}

fn create(
    work: &mut Work<'_>,
    wanted: &Release,
    bounds: Bounds,
    recreate: bool,
    creating: Creating,
    why: &str,
) {
    let sorted = sort(work, wanted);
    let total = total(&sorted);
    let occupied: BTreeSet<u32> = sorted
        .iter()
        .filter(|s| {
            s.new
                && match s.bucket {
                    Bucket::NewHealthy
                    | Bucket::NewReady
                    | Bucket::NewStarting
                    | Bucket::Unknown => true,
                    Bucket::Gone
                    | Bucket::Stopping
                    | Bucket::Stopped
                    | Bucket::Lost
                    | Bucket::OldReady
                    | Bucket::OldUnready => false,
                }
        })
        .map(|s| s.slot)
        .collect();
    let replicas = u32::try_from(bounds.replicas).unwrap_or(u32::MAX);
    let missing = (0..replicas).filter(|slot| !occupied.contains(slot));
    // Empty slots first: they are what the app lacks.
    let held: BTreeSet<u32> = sorted
        .iter()
        .filter(|s| s.bucket == Bucket::OldReady)
        .map(|s| s.slot)
        .collect();
    let mut slots: Vec<u32> = missing.collect();
    if creating == Creating::Refill {
        slots.retain(|slot| !held.contains(slot));
    }
    slots.sort_by_key(|slot| (held.contains(slot), *slot));
    if recreate
        && sorted.iter().any(|s| {
            !s.new
                && !s.leaving
                && !matches!(s.bucket, Bucket::Gone | Bucket::Stopped | Bucket::Lost)
        })
    {
        if !slots.is_empty() {
            work.wait_for("the old instances to be gone (strategy recreate)", None);
        }
        return;
    }
    let beyond = usize::from(mutant(Mutant::SurgeOffByOne));
    let room = (bounds.replicas + bounds.surge + beyond).saturating_sub(total);
    if room == 0 && !slots.is_empty() {
        work.wait_for(
            format!(
                "room for the next instance: {total} of at most {} (replicas {} + maxSurge {}) exist",
                bounds.replicas + bounds.surge,
                bounds.replicas,
                bounds.surge
            ),
            None,
        );
    }
    let leaving: BTreeMap<u32, String> = sorted
        .iter()
        .filter(|s| s.serves_in_place())
        .map(|s| (s.slot, leaving_words(work, s.id)))
        .collect();
    for slot in slots.into_iter().take(room) {
        let drained = leaving.get(&slot);
        let why = drained.map_or(why, String::as_str);
        if let Err(funnel) = work.add_instance(wanted, slot, why) {
            let words = match drained {
                Some(drained) => format!("another node for slot {slot}, {drained}: {funnel}"),
                None => format!("a node for slot {slot}: {funnel}"),
            };
            work.wait_for(words, None);
            work.set_funnel(funnel);
            break;
        }
    }
}

fn wait_for_rest(work: &mut Work<'_>, wanted: &Release, sorted: &[Sorted]) {
    let of = |bucket| count(sorted, bucket);
    let unknown = sorted.iter().filter(|s| s.bucket == Bucket::Unknown);
    let nodes = unknown.filter_map(|s| work.app.instances.get(&s.id));
    let (silent, mute): (Vec<bool>, Vec<bool>) = nodes
        .map(|i| work.silence(&i.node).is_some())
        .partition(|silent| *silent);
    for (number, whose) in [
        (silent.len(), "on silent nodes"),
        (mute.len(), "on nodes whose runtime does not answer"),
    ] {
        if number > 0 {
            work.wait_for(format!("word of {number} instance(s) {whose}"), None);
        }
    }
    let stopping = of(Bucket::Stopping) + of(Bucket::Stopped);
    if stopping > 0 {
        let silent = sorted
            .iter()
            .filter(|s| s.bucket == Bucket::Stopping)
            .filter_map(|s| work.app.instances.get(&s.id))
            .filter(|i| work.silence(&i.node).is_some())
            .count();
        let of_them = match silent {
            0 => String::new(),
            n => format!(", {n} of them on silent nodes"),
        };
        work.wait_for(format!("{stopping} instance(s) to stop{of_them}"), None);
    }
    let starting = of(Bucket::NewStarting);
    if starting > 0 {
        // The last word of one stands for all: they mostly fail alike.
        let word = sorted
            .iter()
            .filter(|s| s.bucket == Bucket::NewStarting)
            .filter_map(|s| work.app.instances.get(&s.id))
            .find_map(|i| Some((i, i.status.as_ref()?)))
            .map(|(i, s)| format!(" (slot {} on {}: {})", i.slot, i.node, last_word(s)));
        work.wait_for(
            format!(
                "{starting} instance(s) to become ready{}",
                word.unwrap_or_default()
            ),
            None,
        );
    }
    let young = sorted.iter().filter_map(|s| s.young);
    let (number, next) = (young.clone().count(), young.min());
    if let Some(at) = next {
        work.wait_for(
            format!(
                "{number} ready instance(s) to stay so for minHealthyTime {}",
                crate::model::quantity::format_duration(wanted.spec.rollout.min_healthy_time)
            ),
            Some(at),
        );
    }
}
