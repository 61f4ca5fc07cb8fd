//! Who is heard, held against who is believed to be silent.

use super::{SLACK, WRITTEN_LATE, Watch};
use crate::model::{Liveness, NodeName, Snapshot};
use crate::plan::Settings;
use crate::sim::rng::Moment;

impl Watch {
    pub fn heard(&mut self, now: Moment, by: usize, node: &NodeName) {
        self.voices.insert((by, node.clone()), now);
        let contact = self.contact.entry(node.clone()).or_default();
        contact.push_back(now);
        while contact.get(1).is_some_and(|at| at.0 + WRITTEN_LATE < now.0) {
            contact.pop_front();
        }
    }

    /// The last sign of life that who decided then had of the node.
    pub(super) fn contact(&self, node: &NodeName, decided: Moment) -> Moment {
        let contact = self.contact.get(node).into_iter().flatten();
        let known = contact.filter(|at| **at <= decided);
        known.copied().max().unwrap_or_default()
    }

    /// A leader found nothing to change in who is silent. Whom it has heard since it listens, and
    /// a moment ago, it does not believe to be.
    pub fn looked(&mut self, now: Moment, who: usize, since: Moment, image: &Snapshot) {
        let silence = Settings::default().suspect_after.as_millis() as u64;
        for node in image.nodes.values() {
            let heard = self.voices.get(&(who, node.name.clone()));
            // What it took in just now may have come after the look.
            let Some(at) = heard.copied().filter(|at| *at < now) else {
                continue;
            };
            let ago = now.0 - at.0;
            let lately = at > since.plus(SLACK) && ago + SLACK < silence;
            if node.liveness != Liveness::Ready && lately {
                let (name, counts) = (&node.name, node.liveness);
                let text = format!("{name} was heard {ago} ms ago and counts as {counts:?}");
                self.break_rule(now, "who is heard is ready", text);
            }
        }
    }
}
