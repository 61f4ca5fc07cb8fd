//! Messages between nodes, controllers and the repository: lost, twice, late.

use super::{CLIENT_TIMEOUT, PINGS_MISSED, World};
use crate::model::DesiredSet;
use crate::sim::agent::Sent;
use crate::sim::controller::{Controller, ControllerEvent, Wishes};
use crate::sim::event::{AgentEvent, Event};
use std::sync::Arc;

/// Of 1,000 sets that a node hears, those that it hears again.
const ECHO: u64 = 250;
/// Milliseconds that a message takes at most on a bad link, if it is not lost: what a node says is
/// known, or the node counts as silent, within the time that the watch grants for news.
const FAINT_LATEST: u64 = 5_000;
/// Milliseconds until then at most: longer than it takes to change the leader.
const ECHO_LATEST: u64 = 30_000;

impl World {
    /// Milliseconds a message takes between a node and the controllers; `None`: it is lost.
    pub(super) fn travel(&mut self, n: usize) -> Option<u64> {
        if let Some(loss) = self.places[n].faint
            && self.faints.chance(loss)
        {
            self.log.reach("message lost");
            return None;
        }
        if self.places[n].cut || self.net.chance(self.storm.loss) {
            self.log.reach("message lost");
            return None;
        }
        if self.net.chance(self.storm.late) {
            self.log.reach("message late");
            return Some(self.net.between(1_000, 20_000));
        }
        if self.places[n].faint.is_some() {
            return Some(self.faints.between(100, FAINT_LATEST));
        }
        Some(self.net.between(1, 30))
    }

    pub(super) fn connect(&mut self, n: usize, life: u64) {
        if self.places[n]
            .agent
            .as_ref()
            .is_some_and(|a| a.connection.is_some())
        {
            return;
        }
        let leader = self.a_leader();
        match (leader, self.travel(n)) {
            (Some(which), Some(ms)) => {
                self.connections += 1;
                let event = ControllerEvent::Connect {
                    node: n,
                    life,
                    name: self.places[n].machine.name.clone(),
                    connection: self.connections,
                };
                self.tell_controller(which, event, ms);
                // Should nobody answer.
                self.tell_agent(n, AgentEvent::Disconnected(u64::MAX), CLIENT_TIMEOUT);
            }
            _ => {
                let ms = self.net.between(500, 3_000);
                self.tell_agent(n, AgentEvent::Connect, ms);
            }
        }
    }

    /// One that says that it leads: agents are sent to it.
    pub(super) fn a_leader(&mut self) -> Option<usize> {
        let now = self.now;
        let leaders: Vec<usize> = self
            .desks
            .iter()
            .enumerate()
            .filter(|(_, d)| d.frozen_until <= now)
            .filter(|(_, d)| d.controller.as_ref().is_some_and(|c| c.acts(now)))
            .map(|(n, _)| n)
            .collect();
        self.net.pick(&leaders).copied()
    }

    pub(super) fn send_report(&mut self, sent: Sent) {
        let (node, sequence) = (sent.node, sent.report.sequence);
        let Some(which) = self.a_leader() else {
            self.tell_agent(node, AgentEvent::ReportFailed { sequence }, 300);
            return;
        };
        self.tell_agent(node, AgentEvent::ReportFailed { sequence }, CLIENT_TIMEOUT);
        if let Some(ms) = self.travel(node) {
            if self.net.chance(self.storm.twice) {
                self.log.reach("report twice");
                let again = self.net.between(1, 15_000);
                let copy = ControllerEvent::Report(Box::new(sent.clone()));
                self.tell_controller(which, copy, ms + again);
            }
            self.tell_controller(which, ControllerEvent::Report(Box::new(sent)), ms);
        }
    }

    pub(super) fn controller_event(
        &mut self,
        which: usize,
        life: u64,
        event: Box<ControllerEvent>,
    ) {
        let desk = &mut self.desks[which];
        if desk.life != life {
            return;
        }
        if desk.frozen_until > self.now {
            let at = desk.frozen_until;
            self.put(at, Event::Controller(which, life, event));
            return;
        }
        let Some(controller) = &mut desk.controller else {
            return;
        };
        let wishes = controller.absorb(*event, self.now);
        self.grant(which, life, wishes);
        self.one_leader();
    }

    pub(super) fn one_leader(&mut self) {
        let acting = self
            .desks
            .iter()
            .filter(|d| d.controller.as_ref().is_some_and(|c| c.acts(self.now)))
            .count();
        if acting > 1 {
            self.watch.two_leaders(self.now);
        }
    }

    pub(super) fn grant(&mut self, which: usize, life: u64, wishes: Wishes) {
        for broken in wishes.broken {
            self.watch.break_rule(self.now, "plan", broken);
        }
        if let Some(at) = wishes.tick {
            self.put(
                at,
                Event::Controller(which, life, Box::new(ControllerEvent::Tick)),
            );
        }
        for source in wishes.fetches {
            let head = self.git_up.then(|| self.head());
            let ms = self.misc.between(20, 1_500);
            let event = ControllerEvent::Fetched { source, head };
            self.tell_controller(which, event, ms);
        }
        for (node, connection) in wishes.hangups {
            let ms = self.net.between(1, 500);
            self.tell_agent(node, AgentEvent::Disconnected(connection), ms);
        }
        for (node, life, connection) in wishes.connected {
            if self.places[node].life == life {
                self.tell_agent(node, AgentEvent::Connected(connection), 1);
            }
        }
        for (node, connection, set) in wishes.sets {
            match self.travel(node) {
                Some(ms) => {
                    if self.net.chance(self.storm.twice) {
                        self.log.reach("set twice");
                        let again = self.net.between(1, 15_000);
                        self.tell_agent(node, AgentEvent::Desired(Arc::clone(&set)), ms + again);
                    }
                    self.echo(node, &set, ms);
                    self.tell_agent(node, AgentEvent::Desired(set), ms);
                }
                None => {
                    let ms = self.net.between(10, PINGS_MISSED);
                    self.tell_agent(node, AgentEvent::Disconnected(connection), ms);
                }
            }
        }
        for node in wishes.heard {
            self.watch.heard(self.now, which, &node);
        }
        if wishes.looked {
            let leader = self.desks[which].controller.as_ref();
            let image = leader.and_then(|c| c.lead()?.image.as_ref());
            let since = leader.and_then(Controller::listens_since);
            if let (Some(image), Some(since)) = (image, since) {
                self.watch.looked(self.now, which, since, image);
            }
        }
        for (sent, ok) in wishes.taken {
            let sequence = sent.report.sequence;
            let event = if ok {
                AgentEvent::ReportTaken {
                    sequence,
                    view: Box::new(sent.view),
                }
            } else {
                AgentEvent::ReportFailed { sequence }
            };
            if let Some(ms) = self.travel(sent.node) {
                let at = self.now.plus(ms);
                self.put(at, Event::Agent(sent.node, sent.life, Box::new(event)));
            }
        }
        for ask in wishes.asks {
            self.ask(which, life, ask);
        }
    }

    /// Any word may come once more, also when somebody else leads by then.
    fn echo(&mut self, node: usize, set: &Arc<DesiredSet>, ms: u64) {
        if self.echoes.chance(ECHO) {
            let ms = ms + self.echoes.between(1_000, ECHO_LATEST);
            self.tell_agent(node, AgentEvent::Echo(Arc::clone(set)), ms);
        }
    }
}
