//! The index finds the node that looking at every one finds, whatever was taken, given
//! back or tried out before.

use proptest::prelude::*;
use uuid::Uuid;

use super::world::*;
use crate::model::spec::{Constraint, Operator, PlacementStrategy, ValueType};
use crate::model::*;
use crate::plan::IdSource;
use crate::plan::place::{Overlay, Request, Siblings, place, scan};

#[derive(Clone, Debug)]
struct Host {
    cpu: u64,
    mib: u64,
    zone: Option<u8>,
    rack: u8,
    state: u8,
}

#[derive(Clone, Debug)]
struct Wish {
    cpu: u64,
    mib: u64,
    binpack: bool,
    constraint: u8,
    port: bool,
    volume: bool,
    version: u8,
}

#[derive(Clone, Debug)]
enum Step {
    /// Instances of an app, one after the other; with `trial` they are given back.
    Place {
        app: u8,
        wish: Wish,
        count: u8,
        trial: bool,
    },
    /// One of the app's instances is told to stop, or is gone.
    Stop {
        app: u8,
        nth: u8,
    },
    Forget {
        app: u8,
        nth: u8,
    },
}

fn host() -> impl Strategy<Value = Host> {
    (
        prop::sample::select(vec![0, 1000, 2000, 4000]),
        prop::sample::select(vec![0, 1024, 2048, 3000]),
        prop::option::weighted(0.8, 0..3u8),
        0..4u8,
        0..12u8,
    )
        .prop_map(|(cpu, mib, zone, rack, state)| Host {
            cpu,
            mib,
            zone,
            rack,
            state,
        })
}

fn wish() -> impl Strategy<Value = Wish> {
    (
        prop::sample::select(vec![0, 100, 250, 900]),
        prop::sample::select(vec![0, 64, 500]),
        any::<bool>(),
        0..9u8,
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.15),
        0..2u8,
    )
        .prop_map(
            |(cpu, mib, binpack, constraint, port, volume, version)| Wish {
                cpu,
                mib,
                binpack,
                constraint,
                port,
                volume,
                version,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3u8, wish(), 1..12u8, prop::bool::weighted(0.3)).prop_map(|(app, wish, count, trial)| Step::Place { app, wish, count, trial }),
        1 => (0..3u8, any::<u8>()).prop_map(|(app, nth)| Step::Stop { app, nth }),
        1 => (0..3u8, any::<u8>()).prop_map(|(app, nth)| Step::Forget { app, nth }),
    ]
}

fn constraints(number: u8) -> Vec<Constraint> {
    let equal = |attribute: &str, value: &str| Constraint::Attribute {
        attribute: attribute.to_owned(),
        operator: Operator::Eq,
        values: vec![value.to_owned()],
        value_type: ValueType::String,
    };
    let per = |attribute: &str, max| Constraint::MaxPer {
        attribute: attribute.to_owned(),
        max,
    };
    let unique = |attribute: &str| Constraint::Unique {
        attribute: attribute.to_owned(),
    };
    match number {
        0..=2 => Vec::new(),
        3 => vec![equal("zone", "z1")],
        4 => vec![unique("node")],
        5 => vec![per("zone", 2)],
        6 => vec![per("rack", 3), unique("node")],
        7 => vec![equal("rack", "r1"), per("zone", 1)],
        _ => vec![per("node", 2), per("zone", 3)],
    }
}

fn spec_of(wish: &Wish) -> AppSpec {
    let mut spec = spec(&format!("x:{}", wish.version)).with(|s| {
        s.requests.cpu_millis = wish.cpu;
        s.requests.memory_bytes = wish.mib * MI;
        s.placement.constraints = constraints(wish.constraint);
        s.placement.strategy = match wish.binpack {
            true => PlacementStrategy::Binpack,
            false => PlacementStrategy::Spread,
        };
    });
    if wish.port {
        spec = spec.host_port(80);
    }
    if wish.volume {
        spec = spec.volume("data");
    }
    spec
}

fn cluster(hosts: &[Host]) -> World {
    let mut world = World::new(&[]);
    for (number, host) in hosts.iter().enumerate() {
        let rack = format!("r{}", host.rack);
        let zone = host.zone.map(|z| format!("z{z}"));
        let mut attributes = vec![("rack", rack.as_str())];
        attributes.extend(zone.as_deref().map(|z| ("zone", z)));
        let name = format!("n{number}");
        world.add_node(&name, host.cpu, host.mib, &attributes);
        let node = || name.parse().unwrap();
        let now = world.now;
        match host.state {
            0 => world.apply(&[Change::SetLiveness {
                node: node(),
                liveness: Liveness::Suspect,
                last_heard: now,
            }]),
            1 => world.apply(&[Change::SetScheduling {
                node: node(),
                scheduling: Scheduling::Cordoned,
                note: None,
            }]),
            _ => {}
        }
    }
    world
}

/// The apps while they are planned, and what they take of the nodes.
struct Trial<'a> {
    snapshot: &'a Snapshot,
    apps: Vec<App>,
    next: u128,
}

impl Trial<'_> {
    fn instance(&mut self, app: u8, spec: &AppSpec, node: NodeName) -> Instance {
        self.next += 1;
        Instance {
            id: InstanceId(Uuid::from_u128(self.next)),
            app: self.apps[usize::from(app)].key.clone(),
            slot: 0,
            release: ReleaseId(Uuid::from_u128(1)),
            workload: spec.workload_digest(),
            incarnation: 0,
            node,
            created_at: Timestamp(0),
            reason: String::new(),
            requests: spec.requests,
            host_ports: spec.workload.fixed_host_ports().collect(),
            volumes: spec
                .workload
                .exclusive_volumes()
                .map(str::to_owned)
                .collect(),
            goal: Goal::Run,
            status: None,
        }
    }

    /// Places until `count` are or nothing is left; the two ways must agree each time.
    fn place(
        &mut self,
        overlay: &mut Overlay,
        app: u8,
        wish: &Wish,
        count: u8,
    ) -> Result<(), TestCaseError> {
        let spec = spec_of(wish);
        let id = overlay.next_siblings();
        let mut siblings = Siblings::of(id, &self.apps[usize::from(app)], &spec.workload_digest());
        for _ in 0..count {
            let key = self.apps[usize::from(app)].key.clone();
            let request = Request {
                app: &key,
                spec: &spec,
                siblings: &siblings,
                home: None,
            };
            let mut ids = IdSource::new(1);
            let indexed = overlay.search(self.snapshot, &request);
            let scanned = scan(self.snapshot, overlay, &request, &mut ids);
            prop_assert_eq!(indexed.as_ref(), scanned.as_ref().ok(), "{:?}", scanned);
            prop_assert_eq!(&place(self.snapshot, overlay, &request, &mut ids), &scanned);
            let Some(node) = indexed else {
                let funnel = scanned.unwrap_err();
                let excluded: usize = funnel.excluded.values().sum();
                prop_assert_eq!(excluded, self.snapshot.nodes.len());
                break;
            };
            let instance = self.instance(app, &spec, node);
            overlay.take(self.snapshot, &instance);
            siblings.add(&instance);
            let app = &mut self.apps[usize::from(app)];
            app.instances.insert(instance.id, instance);
        }
        Ok(())
    }

    fn nth(&self, app: u8, nth: u8) -> Option<Instance> {
        let instances = &self.apps[usize::from(app)].instances;
        let nth = usize::from(nth) % instances.len().max(1);
        instances.values().nth(nth).cloned()
    }

    fn step(&mut self, overlay: &mut Overlay, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Place {
                app,
                wish,
                count,
                trial: true,
            } => {
                let before = self.apps.clone();
                overlay.try_out(self.snapshot, |overlay| {
                    self.place(overlay, *app, wish, *count)
                })?;
                self.apps = before;
            }
            Step::Place {
                app, wish, count, ..
            } => self.place(overlay, *app, wish, *count)?,
            Step::Stop { app, nth } => {
                if let Some(instance) = self.nth(*app, *nth) {
                    let app = &mut self.apps[usize::from(*app)];
                    let stopped = app.instances.get_mut(&instance.id).unwrap();
                    stopped.goal = Goal::Stop {
                        at: Timestamp(0),
                        reason: String::new(),
                    };
                }
            }
            Step::Forget { app, nth } => {
                if let Some(instance) = self.nth(*app, *nth) {
                    overlay.release(self.snapshot, &instance);
                    let app = &mut self.apps[usize::from(*app)];
                    app.instances.remove(&instance.id);
                }
            }
        }
        Ok(())
    }
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_index_chooses_what_a_scan_chooses(
        hosts in prop::collection::vec(host(), 0..12),
        before in prop::collection::vec(step(), 0..4),
        steps in prop::collection::vec(step(), 1..25),
        ideal in prop::bool::weighted(0.2),
    ) {
        let mut world = cluster(&hosts);
        let new_app = |n: u8| App::new(key(&format!("app{n}")), "main".parse().unwrap(), String::new());
        let apps: Vec<App> = (0..3).map(new_app).collect();
        // What the snapshot already holds before the plan begins.
        let empty = world.snapshot.clone();
        let mut stored = Trial { snapshot: &empty, apps: apps.clone(), next: 0 };
        let mut overlay = Overlay::default();
        for step in &before {
            stored.step(&mut overlay, step)?;
        }
        let (apps, next) = (stored.apps, stored.next);
        for app in &apps {
            world.snapshot.restore_app(app.clone());
        }
        let mut overlay = match ideal {
            true => Overlay::ideal(&apps[0]),
            false => Overlay::default(),
        };
        let mut trial = Trial { snapshot: &world.snapshot, apps, next };
        for step in &steps {
            trial.step(&mut overlay, step)?;
        }
    }
}
