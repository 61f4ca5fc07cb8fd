//! A cluster in virtual time: the real sync, planner, checker, dispatch and
//! observation over a snapshot in memory, and [`Host`]s that carry it out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel::manifest::{Content, Defaults, Lookup, validate_files};
use evenkeel::model::{
    App, AppKey, Change, CommitId, Epoch, Event, Liveness, NodeName, Snapshot, Source, SourceName,
    SourceSpec, SyncOutcome, Timestamp,
};
use evenkeel::plan::NOBODY;
use evenkeel::plan::dispatch::desired_set;
use evenkeel::plan::observe::{plan_liveness, plan_report};
use evenkeel::plan::operate::{Left, left_on, plan_restart};
use evenkeel::plan::sync::{SyncInput, plan_failed_sync, plan_sync};
use evenkeel::plan::{Decision, IdSource, Plan, PlanInput, Refusal, Scope, Settings, check, plan};

use super::nodes::{Behaviour, Host};

/// Longest time `settle` waits, in virtual seconds.
const PATIENCE: u64 = 7200;

pub struct World {
    pub snapshot: Snapshot,
    settings: Settings,
    ids: IdSource,
    /// Seconds since the scenario began; the controller's clock may differ.
    pub elapsed: u64,
    clock: Timestamp,
    pub hosts: BTreeMap<NodeName, Host>,
    behaviour: BTreeMap<String, Behaviour>,
    /// Source → path → text.
    pub trees: BTreeMap<SourceName, BTreeMap<String, String>>,
    heard: BTreeMap<NodeName, u64>,
    pub out: Vec<String>,
    names: BTreeMap<String, String>,
    instances: usize,
    bounds: BTreeMap<AppKey, Extremes>,
    /// There was more than one app: each line then names its own.
    several: bool,
}

struct Extremes {
    ready: usize,
    total: usize,
    versions: usize,
}

impl World {
    pub fn new() -> World {
        let mut world = World {
            snapshot: Snapshot::default(),
            settings: Settings::default(),
            ids: IdSource::new(1),
            elapsed: 0,
            clock: Timestamp(1_700_000_000_000),
            hosts: BTreeMap::new(),
            behaviour: BTreeMap::new(),
            trees: BTreeMap::new(),
            heard: BTreeMap::new(),
            out: Vec::new(),
            names: BTreeMap::new(),
            instances: 0,
            bounds: BTreeMap::new(),
            several: false,
        };
        world.add_source("main");
        world
    }

    pub fn now(&self) -> Timestamp {
        self.clock
    }

    pub fn add_source(&mut self, name: &str) {
        let name: SourceName = name.parse().unwrap();
        let spec = SourceSpec::new(
            name.clone(),
            format!("/srv/{name}"),
            "default".parse().unwrap(),
        );
        self.snapshot
            .apply(&Change::PutSource(Box::new(Source::new(spec, None))))
            .unwrap();
        self.trees.insert(name, BTreeMap::new());
    }

    pub fn behave(&mut self, image: &str, behaviour: Behaviour) {
        self.behaviour.insert(image.to_owned(), behaviour);
    }

    /// Applies what somebody decided, tells it, and lets the controller plan.
    pub fn decide(&mut self, decision: Decision) {
        self.apply(&decision.changes);
        self.tell(&decision.events);
        self.plan();
    }

    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::AddInstance(instance) = change {
                self.instances += 1;
                let name = format!("i{}", self.instances);
                self.names.insert(instance.id.short(), name);
            }
        }
        self.snapshot.apply_all(changes).unwrap();
        if !changes.is_empty() {
            self.snapshot.generation.0 += 1;
        }
        self.measure();
    }

    fn tell(&mut self, events: &[Event]) {
        self.several |= self.snapshot.apps.len() > 1;
        for event in events {
            let app = event.app.as_ref().filter(|_| self.several);
            let app = app.map(|k| format!("{}: ", k.name)).unwrap_or_default();
            let message = self.rename(&event.message);
            let kind = event.kind.as_str();
            let at = format!("{}s", self.elapsed);
            self.out
                .push(format!("  {at:>5}  {kind:<20} {app}{message}"));
        }
    }

    /// Ids become names that stay, and wall-clock times become seconds.
    pub fn rename(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, name) in &self.names {
            text = text.replace(id, name);
        }
        text
    }

    pub fn plan_only(&self, ids: &mut IdSource) -> Plan {
        let input = PlanInput {
            now: self.clock,
            since: Timestamp(0),
            heard: &NOBODY,
            snapshot: &self.snapshot,
            scope: Scope::All,
            settings: &self.settings,
        };
        plan(&input, ids)
    }

    pub fn plan(&mut self) -> Plan {
        let mut ids = self.ids.clone();
        let plan = self.plan_only(&mut ids);
        self.ids = ids;
        let violations = check(&self.snapshot, &plan);
        assert!(violations.is_empty(), "{violations:?}\n{plan:#?}");
        self.apply(&plan.changes);
        self.tell(&plan.events);
        plan
    }

    pub fn restart(&mut self, key: &AppKey, by: &str) -> Result<Decision, Refusal> {
        let mut ids = self.ids.clone();
        let (now, settings) = (self.clock, &self.settings);
        let snapshot = &self.snapshot;
        let decision = plan_restart(now, snapshot, key, by, None, settings, &mut ids)?;
        self.ids = ids;
        Ok(decision)
    }

    /// What a node still holds, and why it stays there.
    pub fn left(&self, node: &NodeName) -> Vec<String> {
        let left = left_on(self.clock, &self.snapshot, &self.settings, node);
        if left.is_empty() {
            return vec!["  nothing is left there".to_owned()];
        }
        let line = |l: &Left| {
            let stays = l.stays.as_deref().unwrap_or("under way");
            format!("  slot {} of {}: {stays}", l.slot, l.app)
        };
        left.iter().map(line).collect()
    }

    fn measure(&mut self) {
        for (key, app) in &self.snapshot.apps {
            let alive = || app.instances.values().filter(|i| !i.is_gone());
            let ready = alive().filter(|i| i.is_ready() && i.wants_run()).count();
            let versions: BTreeSet<_> = alive().map(|i| &i.workload).collect();
            let now = Extremes {
                ready,
                total: alive().count(),
                versions: versions.len(),
            };
            let bounds = self.bounds.entry(key.clone()).or_insert(Extremes {
                ready,
                total: 0,
                versions: 0,
            });
            bounds.ready = bounds.ready.min(now.ready);
            bounds.total = bounds.total.max(now.total);
            bounds.versions = bounds.versions.max(now.versions);
        }
    }

    /// What was seen of the app since the last commit.
    pub fn bounds(&self, key: &AppKey) -> String {
        let b = &self.bounds[key];
        format!(
            "  since the last commit: ready never below {}, in all never above {}, versions at \
             once never above {}",
            b.ready, b.total, b.versions
        )
    }

    pub fn sync(&mut self, source: &str, commit: &str) {
        let name: SourceName = source.parse().unwrap();
        let id = CommitId(format!("{commit:0<40}"));
        self.names.insert(id.0.clone(), commit.to_owned());
        self.names.insert(id.short().to_owned(), commit.to_owned());
        self.bounds.clear();
        let tree = &self.trees[&name];
        let files = tree
            .iter()
            .map(|(path, text)| (path.clone(), Content::Bytes(text.clone().into_bytes())));
        let mut lookup = |path: &str| match tree.get(path) {
            Some(text) => Lookup::Found(text.clone().into_bytes()),
            None => Lookup::Missing,
        };
        let defaults = Defaults::new("default".parse().unwrap(), "");
        let checked = validate_files(&defaults, files, &mut lookup);
        let decision = plan_sync(&SyncInput {
            now: self.clock,
            snapshot: &self.snapshot,
            source: &name,
            commit: &id,
            catalog: &checked.catalog,
            touched: None,
            settings: &self.settings,
        });
        self.decide(decision);
    }

    pub fn unreachable(&mut self, source: &str) {
        let outcome = SyncOutcome::Unreachable {
            message: "cannot reach the repository: connection refused".to_owned(),
        };
        let name = source.parse().unwrap();
        let decision = plan_failed_sync(self.clock, &self.snapshot, &name, None, outcome);
        self.decide(decision);
    }

    pub fn step_clock(&mut self, seconds: i64) {
        self.clock = Timestamp(self.clock.0 + seconds * 1000);
    }

    /// A second passes: nodes act and report, silence is noticed, the controller
    /// plans. True: something happened or is still due.
    pub fn second(&mut self) -> bool {
        self.elapsed += 1;
        self.step_clock(1);
        let mut busy = false;
        let names: Vec<NodeName> = self.hosts.keys().cloned().collect();
        for name in &names {
            busy |= self.node(name);
        }
        busy |= self.listen();
        let plan = self.plan();
        busy || !plan.changes.is_empty() || !plan.wake_at.is_empty()
    }

    fn node(&mut self, name: &NodeName) -> bool {
        let set = desired_set(&self.snapshot, "test", Epoch(1), name);
        let behaviour = self.behaviour.clone();
        let how = |image: &str| behaviour.get(image).copied().unwrap_or(Behaviour::Healthy);
        let (elapsed, now) = (self.elapsed, self.clock);
        let Some(host) = self.hosts.get_mut(name) else {
            return false;
        };
        if host.silent {
            return false;
        }
        let moved = host.act(elapsed, &set, &how);
        let report = host.report(name, elapsed, &set, &how);
        self.heard.insert(name.clone(), elapsed);
        let decision = plan_report(now, &self.snapshot, &report);
        let news = !decision.changes.is_empty();
        self.apply(&decision.changes);
        self.tell(&decision.events);
        moved || news
    }

    fn listen(&mut self) -> bool {
        let ago = |at: &u64| self.clock - Duration::from_secs(self.elapsed - at);
        let heard = self.heard.iter().map(|(n, at)| (n.clone(), ago(at)));
        let decision = plan_liveness(
            self.clock,
            &self.snapshot,
            &heard.collect(),
            self.clock,
            &self.settings,
        );
        self.apply(&decision.changes);
        self.tell(&decision.events);
        self.snapshot.nodes.values().any(|node| {
            self.hosts.get(&node.name).is_some_and(|h| h.silent) && node.liveness != Liveness::Lost
        })
    }

    pub fn settle(&mut self) {
        for _ in 0..PATIENCE {
            if !self.second() {
                return;
            }
        }
        panic!("does not settle; so far:\n{}", self.out.join("\n"));
    }

    /// What the app waits for, as the planner tells it now.
    pub fn why(&self, key: &AppKey) -> Vec<String> {
        let plan = self.plan_only(&mut self.ids.clone());
        let Some(report) = plan.report.apps.get(key) else {
            return vec!["  there is no such app".to_owned()];
        };
        if report.waiting.is_empty() {
            return vec!["  waits for nothing".to_owned()];
        }
        let line = |w: &evenkeel::plan::report::Waiting| {
            let until = w.until.map(|at| {
                let seconds = (at.0 - self.clock.0) / 1000;
                format!(" (until {}s)", self.elapsed as i64 + seconds)
            });
            let text = self.rename(&w.what).replace(&self.clock.to_string(), "now");
            format!("  waits for {text}{}", until.unwrap_or_default())
        };
        report.waiting.iter().map(line).collect()
    }

    pub fn show(&self, key: &AppKey) -> Vec<String> {
        let Some(app) = self.snapshot.apps.get(key) else {
            return vec!["  there is no such app".to_owned()];
        };
        let held = self
            .snapshot
            .sources
            .get(&app.source)
            .and_then(|s| s.held.as_ref())
            .is_some_and(|h| h.deletions.contains_key(key));
        let unknown = app.instances.values().filter(|i| {
            i.wants_run()
                && self
                    .snapshot
                    .nodes
                    .get(&i.node)
                    .is_none_or(|n| n.liveness != Liveness::Ready)
        });
        let health = app.health_state(unknown.count());
        let mut lines = vec![format!(
            "  {:?}, {health:?}; Git at {}, app at {}",
            app.sync_state(held),
            app.declared
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), |d| self.rename(d.commit.short())),
            app.target_release()
                .map_or_else(|| "nothing".to_owned(), |r| self.rename(r.commit.short())),
        )];
        if let Some(rollout) = &app.rollout {
            let what = if rollout.is_rollback() {
                "rollback"
            } else {
                "rollout"
            };
            let outcome = rollout.outcome.as_ref();
            lines.push(format!(
                "  {what} {:?}{}",
                rollout.phase,
                outcome
                    .map(|o| format!(": {}", self.rename(o)))
                    .unwrap_or_default()
            ));
        }
        lines.extend(self.running(app));
        lines
    }

    fn running(&self, app: &App) -> Option<String> {
        let mut all: Vec<String> = app
            .instances
            .values()
            .map(|i| {
                let image = app.releases[&i.release].image().unwrap_or("process");
                let state = match (&i.status, i.wants_run(), i.is_ready()) {
                    (_, false, _) => "stopping".to_owned(),
                    (_, true, true) => "ready".to_owned(),
                    (None, true, false) => "new".to_owned(),
                    (Some(status), true, false) => format!("{:?}", status.phase).to_lowercase(),
                };
                format!("{} {image} on {} {state}", i.slot, i.node)
            })
            .collect();
        all.sort();
        (!all.is_empty()).then(|| format!("  {}", all.join(", ")))
    }
}
