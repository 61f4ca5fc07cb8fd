//! One changed app: parse, diff and plan, in a repository of 10,000 apps against one of 100.
//!
//! The calls of a controller between the fetch and the commit: what changed in
//! the tree, the index, the sync's decision, the plan of what it touches. The
//! cluster is the same size for both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel::clock;
use evenkeel::git::{Entry, Mirrors, Read};
use evenkeel::manifest::{self, ChangedFile, Content, Defaults, Index, Lookup};
use evenkeel::model::instance::InstancePhase;
use evenkeel::model::node::{ImageState, NodeFacts, RUNTIME_DOCKER};
use evenkeel::model::quantity::Resources;
use evenkeel::model::{AppKey, CommitId, NodeName, Snapshot, SourceSpec, Timestamp};
use evenkeel::plan::NOBODY;
use evenkeel::plan::observe::{NodeReport, SeenInstance, plan_report};
use evenkeel::plan::operate::plan_add_source;
use evenkeel::plan::sync::{SyncInput, plan_sync};
use evenkeel::plan::{IdSource, PlanInput, Scope, Settings, plan};

use crate::git_http::TestRepo;
use crate::samples::Pairs;
use crate::table::Figure;
use crate::tree;

const LARGE: usize = 10_000;
const SMALL: usize = 100;
const NODES: usize = 100;
const BOUND: f64 = 3.0;
const PAIRS: usize = 60;
/// Of both, for caches and allocators.
const WARM_UP: usize = 5;
const FETCH: Duration = Duration::from_secs(60);

pub async fn measure() -> Vec<Figure> {
    let dir = tempfile::tempdir().unwrap();
    let mut large = World::build(dir.path(), LARGE).await;
    let mut small = World::build(dir.path(), SMALL).await;
    let mut pairs = Pairs::default();
    for turn in 0..PAIRS + WARM_UP {
        let product = large.change_one(turn).await;
        let baseline = small.change_one(turn).await;
        if turn >= WARM_UP {
            pairs.add(product, baseline);
        }
    }
    vec![Figure::ratio(
        &format!("one changed app of {LARGE}, parse to plan / of {SMALL}"),
        &pairs.ratios(),
        BOUND,
        pairs.times(),
    )]
}

/// What a controller holds of one source, all of whose apps run and are healthy.
pub struct World {
    apps: usize,
    repo: TestRepo,
    mirrors: Mirrors,
    source: SourceSpec,
    index: Index,
    at: CommitId,
    pub snapshot: Snapshot,
    ids: IdSource,
    settings: Settings,
}

impl World {
    pub const NODES: usize = NODES;

    pub async fn build(dir: &Path, apps: usize) -> World {
        let path = dir.join(format!("{apps}.git"));
        let repo = tree::repository(path.clone(), apps);
        let mirrors = Mirrors::open(dir.join(format!("{apps}-mirrors"))).unwrap();
        let source = SourceSpec::new(
            "repo".parse().unwrap(),
            path.display().to_string(),
            "shop".parse().unwrap(),
        );
        let head = mirrors.fetch(&source, FETCH).await.unwrap().head;
        let mut world = World {
            apps,
            repo,
            mirrors,
            source,
            index: Index::new(),
            at: head.clone(),
            snapshot: Snapshot::default(),
            ids: IdSource::new(1),
            settings: Settings::default(),
        };
        let now = clock::now();
        let added = plan_add_source(now, &world.snapshot, world.source.clone(), "bench").unwrap();
        world.snapshot.apply_all(&added.changes).unwrap();
        world.report(now);
        world.read(None, &head);
        world.sync(now, &head, None);
        world.settle(now);
        world
    }

    /// Plans and lets the nodes do it until nothing moves.
    fn settle(&mut self, mut now: Timestamp) {
        for _ in 0..50 {
            now = now + Duration::from_millis(10);
            let before = self.snapshot.clone();
            self.plan(now, Scope::All);
            self.report(now);
            if self.snapshot.apps == before.apps {
                let running = self.snapshot.apps.values().map(|a| a.instances.len());
                assert_eq!(running.sum::<usize>(), self.apps, "all apps run");
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Every node does at once what it is told.
    fn report(&mut self, now: Timestamp) {
        for number in 0..NODES {
            let report = self.report_of(number);
            let news = plan_report(now, &self.snapshot, &report);
            self.snapshot.apply_all(&news.changes).unwrap();
        }
    }

    /// What the node would say: all is as it is wanted.
    pub fn report_of(&self, number: usize) -> NodeReport {
        let name: NodeName = format!("node-{number:03}").parse().unwrap();
        let instances = self
            .snapshot
            .usage(&name)
            .map(|usage| usage.instances.clone())
            .unwrap_or_default();
        NodeReport {
            facts: facts(),
            instances: instances
                .into_iter()
                .filter_map(|(id, app)| {
                    let runs = self.snapshot.apps[&app].instances.get(&id)?.wants_run();
                    Some(seen(id, runs))
                })
                .collect(),
            images: BTreeMap::from([(
                "registry.local/web:1.4".to_owned(),
                ImageState::Present { digest: None },
            )]),
            notes: Vec::new(),
            node: name,
        }
    }

    /// Brings the index from one commit to another.
    fn read(&mut self, from: Option<&CommitId>, to: &CommitId) -> BTreeSet<AppKey> {
        let reader = self.mirrors.reader(&self.source, to).unwrap();
        let changed = reader
            .changed(from)
            .unwrap()
            .into_iter()
            .map(|change| {
                let content = match change.entry {
                    Entry::File { blob, .. } => {
                        match reader.blob(&blob, manifest::limits::SPEC_FILE_BYTES) {
                            Ok(Read::Found(bytes)) => Content::Bytes(bytes),
                            other => panic!("{}: {other:?}", change.path),
                        }
                    }
                    Entry::Removed => Content::Removed,
                    Entry::NotAFile { what } => Content::NotAFile { what },
                };
                ChangedFile {
                    path: change.path,
                    content,
                }
            })
            .collect();
        let defaults = Defaults::new(self.source.project.clone(), self.source.path.clone());
        self.index
            .update(&defaults, changed, &mut |_| Lookup::Missing)
    }

    fn sync(&mut self, now: Timestamp, commit: &CommitId, touched: Option<&BTreeSet<AppKey>>) {
        let decision = plan_sync(&SyncInput {
            now,
            snapshot: &self.snapshot,
            source: &self.source.name,
            commit,
            catalog: self.index.catalog(),
            touched,
            settings: &self.settings,
        });
        self.snapshot.apply_all(&decision.changes).unwrap();
    }

    fn plan(&mut self, now: Timestamp, scope: Scope<'_>) -> usize {
        let input = PlanInput {
            now,
            since: Timestamp(0),
            heard: &NOBODY,
            snapshot: &self.snapshot,
            scope,
            settings: &self.settings,
        };
        let plan = plan(&input, &mut self.ids);
        self.snapshot.apply_all(&plan.changes).unwrap();
        plan.changes.len()
    }

    async fn change_one(&mut self, turn: usize) -> Duration {
        // Another app each time, spread over the folders.
        let app = (turn * 37) % self.apps;
        let text = tree::spec(app, turn + 2);
        self.repo
            .commit("one", &[(tree::path(app).as_str(), Some(&text))]);
        let head = self.mirrors.fetch(&self.source, FETCH).await.unwrap().head;
        let from = self.at.clone();
        let now = clock::now();

        let begun = Instant::now();
        let touched = self.read(Some(&from), &head);
        let read = begun.elapsed();
        self.sync(now, &head, Some(&touched));
        let synced = begun.elapsed();
        let changes = self.plan(now, Scope::Apps(&touched));
        let took = begun.elapsed();
        if std::env::var_os("EVENKEEL_BENCH_TRACE").is_some() {
            let (apps, sync, plan) = (self.apps, synced - read, took - synced);
            eprintln!("{apps} apps: read {read:?}, sync {sync:?}, plan {plan:?}");
        }

        assert!(touched.len() == 1 && changes > 0, "one rollout begins");
        self.at = head;
        took
    }
}

fn facts() -> NodeFacts {
    NodeFacts {
        address: "127.0.0.1".to_owned(),
        capacity: Resources {
            cpu_millis: 64_000,
            memory_bytes: 1 << 38,
        },
        attributes: BTreeMap::from([(RUNTIME_DOCKER.to_owned(), "true".to_owned())]),
        agent_version: "bench".to_owned(),
    }
}

fn seen(id: evenkeel::model::InstanceId, runs: bool) -> SeenInstance {
    SeenInstance {
        id,
        phase: if runs {
            InstancePhase::Running
        } else {
            InstancePhase::Gone
        },
        ready_ms: runs.then_some(5000),
        running_ms: runs.then_some(5000),
        exits: 0,
        restarts: 0,
        container_id: None,
        ports: BTreeMap::new(),
        last_exit: None,
        last_probe: None,
        failure: None,
        log_tail: Vec::new(),
    }
}
