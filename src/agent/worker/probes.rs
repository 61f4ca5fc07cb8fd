//! Keeps exactly the probes running that `step::probing` asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::probe::{Probed, Prober};
use crate::agent::runtime::Runtime;
use crate::agent::step::{Local, Probing, probing};
use crate::model::instance::ProbeKind;
use crate::model::{DesiredSet, InstanceId};

/// The running probes.
pub struct Probes {
    prober: Prober,
    answers: mpsc::Sender<Probed>,
    running: BTreeMap<(InstanceId, ProbeKind), (Probing, CancellationToken)>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Probes {
    pub fn new(prober: Prober, answers: mpsc::Sender<Probed>, cancel: CancellationToken) -> Probes {
        Probes {
            prober,
            answers,
            running: BTreeMap::new(),
            tasks: TaskTracker::new(),
            cancel,
        }
    }

    /// Stops what is no longer asked for and starts what is missing.
    pub fn keep(
        &mut self,
        desired: &DesiredSet,
        local: &Local,
        runtimes: &BTreeMap<&'static str, Arc<dyn Runtime>>,
    ) {
        let wanted = probing(desired, local);
        self.running.retain(|key, (running, cancel)| {
            let keep = wanted.get(key) == Some(running);
            if !keep {
                cancel.cancel();
            }
            keep
        });
        for (key, probing) in wanted {
            if self.running.contains_key(&key) {
                continue;
            }
            let cancel = self.cancel.child_token();
            let (id, kind) = key;
            self.tasks.spawn(self.prober.clone().run(
                id,
                kind,
                probing.clone(),
                runtimes.get(probing.runtime).cloned(),
                self.answers.clone(),
                cancel.clone(),
            ));
            self.running.insert(key, (probing, cancel));
        }
    }

    pub fn stop_all(&mut self) {
        for (_, cancel) in std::mem::take(&mut self.running).into_values() {
            cancel.cancel();
        }
    }
}
