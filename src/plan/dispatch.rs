//! A node's full desired set, as a pure function of the snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::desired::DesiredGoal;
use crate::model::{
    App, DesiredInstance, DesiredSet, Epoch, Goal, Instance, NodeName, Release, RunSpec, Snapshot,
};

/// Run specs that were made before, so that the sets of all nodes share one of each release.
#[derive(Debug, Default)]
pub struct RunSpecs {
    /// By the addresses of the two releases: these stay theirs, for they are held.
    made: HashMap<(usize, usize), Made>,
    /// How many there may be before those in no set any more are let go.
    room: usize,
}

#[derive(Debug)]
struct Made {
    run: Arc<RunSpec>,
    _own: Arc<Release>,
    _settings: Arc<Release>,
}

impl RunSpecs {
    /// Fewer are not worth a look.
    pub const LEAST_ROOM: usize = 256;

    pub fn len(&self) -> usize {
        self.made.len()
    }

    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    fn of(&mut self, own: &Arc<Release>, settings: &Arc<Release>) -> Arc<RunSpec> {
        let key = (Arc::as_ptr(own).addr(), Arc::as_ptr(settings).addr());
        if let Some(made) = self.made.get(&key) {
            return Arc::clone(&made.run);
        }
        if self.made.len() >= self.room.max(RunSpecs::LEAST_ROOM) {
            self.made.retain(|_, made| Arc::strong_count(&made.run) > 1);
            self.room = 2 * self.made.len();
        }
        let run = Arc::new(run_spec(own, settings));
        let made = Made {
            run: Arc::clone(&run),
            _own: Arc::clone(own),
            _settings: Arc::clone(settings),
        };
        self.made.insert(key, made);
        run
    }
}

/// Everything `node` is to hold. Costs as much as the node has instances.
pub fn desired_set(
    snapshot: &Snapshot,
    cluster: &str,
    epoch: Epoch,
    node: &NodeName,
) -> DesiredSet {
    sharing_set(snapshot, cluster, epoch, node, &mut RunSpecs::default())
}

/// The same, with the run specs of other sets wherever they say the same.
pub fn sharing_set(
    snapshot: &Snapshot,
    cluster: &str,
    epoch: Epoch,
    node: &NodeName,
    specs: &mut RunSpecs,
) -> DesiredSet {
    let mut set = DesiredSet {
        cluster: cluster.to_owned(),
        node: node.clone(),
        epoch,
        generation: snapshot.generation,
        instances: BTreeMap::new(),
        images: BTreeMap::new(),
    };
    for (id, key) in snapshot.usage(node).into_iter().flat_map(|u| &u.instances) {
        let Some(app) = snapshot.apps.get(key) else {
            continue;
        };
        if let Some(instance) = app.instances.get(id)
            && let Some(desired) = desired_instance(app, instance, specs)
        {
            set.instances.insert(*id, desired);
        }
    }
    for key in snapshot.preparing_on(node) {
        let release = snapshot
            .apps
            .get(key)
            .and_then(|app| app.active_rollout().map(|r| (app, r)))
            .and_then(|(app, rollout)| app.releases.get(&rollout.to));
        if let Some(release) = release
            && let Some(image) = release.image()
        {
            set.images
                .insert(image.to_owned(), release.spec.image_pull_policy);
        }
    }
    set
}

fn desired_instance(
    app: &App,
    instance: &Instance,
    specs: &mut RunSpecs,
) -> Option<DesiredInstance> {
    let own = app.releases.get(&instance.release)?;
    Some(DesiredInstance {
        id: instance.id,
        app: instance.app.clone(),
        slot: instance.slot,
        release: instance.release,
        commit: own.commit.clone(),
        goal: match &instance.goal {
            Goal::Run => DesiredGoal::Run,
            Goal::Stop { reason, .. } => DesiredGoal::Stop {
                reason: reason.clone(),
            },
        },
        run: specs.of(own, app.settings_of(own)),
    })
}

fn run_spec(own: &Release, settings: &Release) -> RunSpec {
    let spec = &settings.spec;
    RunSpec {
        workload: own.spec.workload.clone(),
        image: own.image().map(str::to_owned),
        pull_policy: spec.image_pull_policy,
        limits: spec.limits,
        health: spec.health.clone(),
        restart: spec.restart.clone(),
        stop_grace_period: spec.stop_grace_period,
        labels: spec.labels.clone(),
    }
}
