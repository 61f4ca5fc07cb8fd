//! What really happens on nodes, held against what was promised.

use super::{LATE_NEWS, Promise, SLACK, Seen, Watch};
use crate::agent::step::Op;
use crate::model::InstanceId;
use crate::model::quantity::Resources;
use crate::sim::machine::{Act, ActKind};
use crate::sim::rng::Moment;
use crate::sim::world::Place;
use std::time::Duration;

impl Watch {
    pub fn op_failed(&mut self, now: Moment, node: usize, op: &Op, failure: &str) {
        if failure == "port is already allocated" {
            self.break_rule(
                now,
                "over-commitment",
                format!(
                    "n{node}: a fixed port is given out twice, {:?}",
                    op.instance()
                ),
            );
        }
    }

    pub fn acted(&mut self, now: Moment, act: &Act, places: &[Place]) {
        if self.resting && !matches!(act.kind, ActKind::Start { again: true }) {
            self.break_rule(
                now,
                "rest",
                format!(
                    "n{} {:?} {} while at rest",
                    act.node,
                    act.kind,
                    act.id.short()
                ),
            );
        }
        let Some(seen) = self.instances.get(&act.id).cloned() else {
            self.break_rule(
                now,
                "not ours",
                format!(
                    "n{} {:?} {} that nobody planned",
                    act.node, act.kind, act.id
                ),
            );
            return;
        };
        match act.kind {
            ActKind::Start { again: false } => self.started(now, act, &seen, places),
            ActKind::Stop {
                served: true,
                asked: true,
            } => self.stopped(now, act, &seen, places),
            ActKind::Start { again: true } | ActKind::Create | ActKind::Stop { .. } => {}
            ActKind::Remove { running } => {
                if running {
                    let text = format!("{} was removed while it ran", act.id.short());
                    self.break_rule(now, "graceful", text);
                }
            }
        }
    }

    pub(super) fn started(&mut self, now: Moment, act: &Act, seen: &Seen, places: &[Place]) {
        let app = &seen.instance.app;
        let running: Vec<(usize, InstanceId)> = places
            .iter()
            .enumerate()
            .flat_map(|(n, p)| {
                let of_app = p
                    .machine
                    .containers
                    .iter()
                    .filter(|(_, c)| c.app == *app && c.is_running());
                of_app.map(move |(id, _)| (n, *id))
            })
            .collect();
        let counted = running
            .iter()
            .filter(|(_, id)| self.instances.get(id).is_some_and(|s| !s.given_up))
            .count();
        let ceiling = self
            .promised(app, seen.created)
            .map(|p| p.ceiling)
            .max()
            .unwrap_or(usize::MAX);
        if counted > ceiling && !seen.given_up {
            self.break_rule(
                now,
                "surge",
                format!("{app}: {counted} run, {ceiling} are allowed"),
            );
        }
        let container = places[act.node].machine.containers.get(&act.id);
        if container.is_some_and(|c| !c.volumes.is_empty()) {
            let twin = running.iter().find(|(n, id)| {
                let other = &places[*n].machine.containers[id];
                *id != act.id && other.slot == seen.instance.slot && !other.volumes.is_empty()
            });
            if twin.is_some() {
                let slot = seen.instance.slot;
                let text = format!("{app}: slot {slot} with its volume runs twice");
                self.break_rule(now, "exclusive volume", text);
            }
        }
        let place = &places[act.node].machine;
        let mut used = Resources::default();
        for (id, _) in place.containers.iter().filter(|(_, c)| c.is_running()) {
            if let Some(other) = self.instances.get(id) {
                used = used.plus(other.instance.requests);
            }
        }
        let capacity = place.facts.capacity;
        if used.cpu_millis > capacity.cpu_millis || used.memory_bytes > capacity.memory_bytes {
            let text = format!("n{}: {used:?} of {capacity:?} are used", act.node);
            self.break_rule(now, "over-commitment", text);
        }
    }

    pub(super) fn stopped(&mut self, now: Moment, act: &Act, seen: &Seen, places: &[Place]) {
        let app = &seen.instance.app;
        let Some(stop) = seen.stop else {
            let text = format!("{app}: {} stops and nobody decided it", act.id.short());
            self.break_rule(now, "reasons", text);
            return;
        };
        if seen.given_up {
            if stop.for_silence {
                self.lost(now, app);
            }
            return;
        }
        let container = places[act.node].machine.containers.get(&act.id);
        let started = container.map_or(now, |c| c.started_at);
        if !stop.ready && started.0 + LATE_NEWS > stop.at.0 {
            return; // it came up while it was given up
        }
        let promises: Vec<&Promise> = self
            .promised(app, Moment(stop.at.0.saturating_sub(1)))
            .collect();
        let Some(floor) = promises.iter().map(|p| p.floor).min().filter(|f| *f > 0) else {
            return;
        };
        // Until this takes effect others may have become healthy, and more may have been stopped
        // for them.
        let decided = self
            .last_stop
            .get(app)
            .map_or(stop.at, |at| stop.at.max(*at));
        let at_decision = promises.iter().rev().find(|p| p.since <= decided).copied();
        let window = self.news(now).max(now.0 - stop.at.0);
        // Of what was lost before its time, and shortly after, a leader cannot know.
        let led = Some(self.led_since).filter(|led| led.0 + window > stop.at.0);
        let known = led.map_or(stop.at, |led| led.min(stop.at));
        let from = known.0.saturating_sub(window);
        let mut available = 0;
        let mut lost = 0;
        for container in places.iter().flat_map(|p| &p.machine.containers) {
            let (id, c) = container;
            if c.app != *app {
                continue;
            }
            let Some((since, until)) = c.serves() else {
                continue;
            };
            let wanted = at_decision.and_then(|p| p.wanted.as_ref());
            let new = self.instances.get(id).is_some_and(|s| {
                wanted == Some(&(s.instance.workload.clone(), s.instance.requests))
            });
            let age = at_decision.map_or(Duration::ZERO, |p| p.min_healthy);
            // By now, not when the stop was decided: its agent may have been away since, and
            // what served then may have been exchanged.
            let proven = !new
                || self.database_stepped.is_some()
                || since.0 + age.as_millis() as u64 <= now.0 + SLACK;
            if since <= now && now < until && proven {
                available += 1;
            } else if until <= now && until.0 >= from {
                lost += 1;
            }
        }
        let losses = self.losses.get(app).map_or(&[][..], Vec::as_slice);
        lost += losses.iter().filter(|at| at.0 >= from).count();
        if available + lost < floor {
            self.break_rule(
                now,
                "availability",
                format!(
                    "{app}: {available} serve after {} stops, {floor} are promised \
                     ({lost} more were lost by faults); decided at {:.3}s",
                    act.id.short(),
                    stop.at.0 as f64 / 1000.0
                ),
            );
        }
    }
}
