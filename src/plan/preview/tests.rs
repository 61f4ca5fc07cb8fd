//! What previews hold, on small worlds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::preview::FieldEffect;
use crate::model::quantity::CountOrPercent;
use crate::model::spec::{AppSpec, Constraint, FileContent, Strategy};
use crate::model::{Declaration, Downtime, Problem, Scheduling, Source};
use crate::plan::tests::world::{Behaviour, MI, SpecExt, World, commit, key, spec};

fn source_spec(name: &str) -> SourceSpec {
    let text = format!(
        r#"{{"name":"{name}","url":"/srv/git","branch":"main","path":"","project":"shop",
            "interval":"1m","credentials":{{}},"webhookSecretFile":null}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// A world in which the apps were rolled out from source `main` and are healthy.
fn world(nodes: &[&str], apps: &[(&str, AppSpec)]) -> World {
    let mut world = World::new(nodes);
    run(&mut world, apps);
    world
}

fn run(world: &mut World, apps: &[(&str, AppSpec)]) {
    let source = Source::new(source_spec("main"), None);
    world.apply(&[Change::PutSource(Box::new(source))]);
    for (name, spec) in apps {
        world.declare(name, "a1", spec.clone());
    }
    world.settle();
}

fn catalog(apps: &[(&str, AppSpec)]) -> Catalog {
    let declare = |(name, spec): &(&str, AppSpec)| {
        let declaration = Declaration {
            app: key(name),
            path: format!("{name}.yaml"),
            line: 1,
            spec: Arc::new(spec.clone()),
            digest: spec.digest(),
        };
        (key(name), declaration)
    };
    Catalog {
        apps: apps.iter().map(declare).collect(),
        spec_files: apps.len(),
        ..Catalog::default()
    }
}

fn look_at(world: &World, catalog: &Catalog) -> Preview {
    preview(&PreviewInput {
        now: world.now,
        snapshot: &world.snapshot,
        source: &source_spec("main"),
        commit: Some(&commit("b2")),
        catalog,
        settings: &world.settings,
    })
}

fn look(world: &World, apps: &[(&str, AppSpec)]) -> Preview {
    look_at(world, &catalog(apps))
}

fn app<'a>(preview: &'a Preview, name: &str) -> &'a AppPreview {
    let found = preview.apps.iter().find(|app| app.app == key(name));
    found.unwrap_or_else(|| panic!("{name} is not in {preview:#?}"))
}

fn mib(n: u64) -> impl FnOnce(&mut AppSpec) {
    move |spec| spec.requests.memory_bytes = n * MI
}

#[test]
fn each_app_falls_under_what_happens_to_it() {
    let steady = ("steady", spec("steady:1"));
    let world = world(
        &["n1", "n2"],
        &[
            steady.clone(),
            ("web", spec("web:1").replicas(2)),
            ("scaled", spec("scaled:1")),
            ("old", spec("old:1")),
        ],
    );
    let preview = look(
        &world,
        &[
            steady,
            ("web", spec("web:2").replicas(2)),
            ("scaled", spec("scaled:1").replicas(3)),
            ("fresh", spec("fresh:1").replicas(2)),
        ],
    );
    assert_eq!(preview.verdict, PreviewVerdict::Changes);
    assert_eq!(
        preview.summary,
        "1 created, 1 replaced, 1 changed in place, 1 deleted"
    );
    assert_eq!(preview.counts.unchanged, 1);

    let web = app(&preview, "web");
    assert_eq!(web.action, PreviewAction::Replace);
    assert_eq!((web.starts, web.stops), (2, 2));
    assert_eq!(web.fit, Fit::ToItsEnd);
    assert_eq!(web.downtime, Downtime::None);
    let image = &web.fields[0];
    assert_eq!(
        (
            image.field.as_str(),
            image.old.as_deref(),
            image.new.as_deref()
        ),
        ("image", Some("web:1"), Some("web:2"))
    );
    assert_eq!(image.effect, FieldEffect::Replace);

    let scaled = app(&preview, "scaled");
    assert_eq!(scaled.action, PreviewAction::InPlace);
    assert_eq!((scaled.starts, scaled.stops), (2, 0));
    assert_eq!(scaled.fields[0].effect, FieldEffect::InPlace);

    let fresh = app(&preview, "fresh");
    assert_eq!(fresh.action, PreviewAction::Create);
    let places: Vec<(u32, &str)> = fresh
        .places
        .iter()
        .map(|p| (p.slot, p.node.as_str()))
        .collect();
    assert_eq!(places.len(), 2);
    assert_ne!(places[0].1, places[1].1, "spread: {places:?}");

    let old = app(&preview, "old");
    assert_eq!(old.action, PreviewAction::Delete);
    assert_eq!((old.starts, old.stops), (0, 1));
}

/// What is foretold is what the planner then does.
#[test]
fn the_cluster_does_what_was_foretold() {
    let before = [
        ("web", spec("web:1").replicas(3)),
        ("db", spec("db:1").volume("data").surge(1, 1)),
    ];
    let after = [
        ("web", spec("web:2").replicas(4)),
        ("db", spec("db:2").volume("data").surge(1, 1)),
        ("new", spec("new:1").replicas(2)),
    ];
    let mut world = world(&["n1", "n2", "n3"], &before);
    let preview = look(&world, &after);
    world.watch();
    for (name, spec) in &after {
        world.declare(name, "b2", spec.clone());
    }
    world.settle();
    for told in &preview.apps {
        let app = &world.snapshot.apps[&told.app];
        let started = world.log.iter().filter(|e| {
            e.kind == crate::model::EventKind::InstanceCreated && e.app.as_ref() == Some(&told.app)
        });
        assert_eq!(started.count(), told.starts, "{}", told.app);
        let low = world.low[&told.app];
        match &told.downtime {
            Downtime::None => assert!(low >= told.replicas.serving.min(app.instances.len())),
            Downtime::Reduced { at_least, .. } => assert_eq!(low, *at_least, "{}", told.app),
            Downtime::Outage { .. } => assert_eq!(low, 0, "{}", told.app),
        }
    }
}

#[test]
fn two_that_fit_alone_but_not_together_are_found() {
    let mut world = World::new(&[]);
    world.add_node("n1", 4000, 1000, &[]);
    run(&mut world, &[]);
    let big = |image: &str| spec(image).with(mib(600));
    let alone = look(&world, &[("a", big("a:1"))]);
    assert_eq!(alone.verdict, PreviewVerdict::Changes);

    let both = look(&world, &[("a", big("a:1")), ("b", big("b:1"))]);
    assert_eq!(both.verdict, PreviewVerdict::Blocked);
    assert_eq!(app(&both, "a").fit, Fit::ToItsEnd);
    let Fit::Never { reason, fits_alone } = &app(&both, "b").fit else {
        panic!("{both:#?}");
    };
    assert!(fits_alone);
    assert!(
        reason.contains("not enough memory (needs 600Mi, at most 400Mi is free)"),
        "{reason}"
    );
    assert!(
        both.summary
            .contains("shop/b does not fit beside the other apps of this commit"),
        "{}",
        both.summary
    );
}

/// What one app gives back, another one may take: the order must not matter.
#[test]
fn room_that_the_same_commit_frees_counts() {
    let mut world = World::new(&[]);
    world.add_node("n1", 4000, 1000, &[]);
    run(
        &mut world,
        &[
            ("gone", spec("gone:1").with(mib(500))),
            ("shrinks", spec("shrinks:1").replicas(2).with(mib(200))),
        ],
    );
    let after = [
        ("aaa", spec("aaa:1").with(mib(700))),
        ("shrinks", spec("shrinks:1").replicas(1).with(mib(200))),
    ];
    let preview = look(&world, &after);
    assert_eq!(app(&preview, "aaa").fit, Fit::ToItsEnd, "{preview:#?}");
    assert_eq!(preview.verdict, PreviewVerdict::Changes);
}

#[test]
fn a_rollout_that_stops_half_way_is_found() {
    // The second instance of the new version finds no room: a first step alone would not show it.
    let mut world = World::new(&[]);
    world.add_node("n1", 4000, 1000, &[]);
    world.add_node("n2", 4000, 300, &[]);
    run(
        &mut world,
        &[("web", spec("web:1").replicas(2).with(mib(200)))],
    );
    let after = spec("web:2").replicas(2).with(mib(600));
    let preview = look(&world, &[("web", after)]);
    let Fit::Never { reason, fits_alone } = &app(&preview, "web").fit else {
        panic!("{preview:#?}");
    };
    assert!(!fits_alone);
    assert!(reason.contains("not enough memory"), "{reason}");
    assert_eq!(preview.verdict, PreviewVerdict::Blocked);
}

#[test]
fn what_fits_nowhere_ever_is_told_with_the_funnel() {
    let world = world(&["n1", "n2"], &[("web", spec("web:1"))]);
    let after = spec("web:2").constraint(Constraint::Unique {
        attribute: "node".to_owned(),
    });
    let preview = look(&world, &[("web", after.replicas(3))]);
    let Fit::Never { reason, .. } = &app(&preview, "web").fit else {
        panic!("{preview:#?}");
    };
    assert!(reason.contains("constraint"), "{reason}");
    let Downtime::None = app(&preview, "web").downtime else {
        panic!("what is refused is not begun: {preview:#?}");
    };
}

#[test]
fn downtime_and_its_reason() {
    let ports = |s: AppSpec| s.host_port(80);
    let cases: Vec<(AppSpec, AppSpec, &str)> = vec![
        (spec("w:1"), spec("w:2"), "none"),
        (
            spec("w:1").replicas(3),
            spec("w:2").replicas(3).surge(0, 1),
            "2 of 3: maxUnavailable 1 of 3",
        ),
        (
            spec("w:1").replicas(3),
            spec("w:2").replicas(3).surge(0, 3),
            "outage: maxUnavailable 3 of 3",
        ),
        (
            spec("w:1"),
            spec("w:2").with(|s| s.rollout.strategy = Strategy::Recreate),
            "outage: strategy recreate",
        ),
        (
            spec("w:1").volume("data"),
            spec("w:2").volume("data").surge(1, 1),
            "outage: volume data has one holder",
        ),
        (
            ports(spec("w:1")).replicas(2).surge(1, 1),
            ports(spec("w:2")).replicas(2).surge(1, 1),
            "1 of 2: host port 80",
        ),
        (spec("w:1").replicas(3), spec("w:1").replicas(1), "none"),
        (spec("w:1").replicas(3), spec("w:2").replicas(1), "none"),
    ];
    for (before, after, expected) in cases {
        let world = world(&["n1", "n2"], &[("w", before)]);
        let preview = look(&world, &[("w", after)]);
        let told = match &app(&preview, "w").downtime {
            Downtime::None => "none".to_owned(),
            Downtime::Reduced {
                at_least,
                of,
                reason,
            } => format!("{at_least} of {of}: {reason}"),
            Downtime::Outage { reason } => format!("outage: {reason}"),
        };
        assert!(told.starts_with(expected), "{told} instead of {expected}");
    }
}

#[test]
fn a_mass_deletion_is_held_and_the_rest_goes_on() {
    let apps: Vec<(&str, AppSpec)> = ["a", "b", "c", "d"]
        .map(|name| (name, spec(&format!("{name}:1"))))
        .to_vec();
    let world = world(&["n1"], &apps);
    let preview = look(&world, &[("a", spec("a:2"))]);
    assert_eq!(preview.verdict, PreviewVerdict::Held);
    assert_eq!((preview.counts.held, preview.counts.replace), (3, 1));
    assert!(preview.brakes[0].contains("evenkeel source approve main"));
    let held = app(&preview, "b");
    assert_eq!((held.action, held.stops), (PreviewAction::Held, 0));
}

#[test]
fn an_empty_tree_is_no_deletion() {
    let world = world(&["n1"], &[("a", spec("a:1"))]);
    let preview = look(&world, &[]);
    assert_eq!(preview.verdict, PreviewVerdict::Blocked);
    assert!(preview.apps.is_empty());
    assert!(
        preview.summary.contains("holds no spec"),
        "{}",
        preview.summary
    );
}

#[test]
fn a_rejected_version_is_not_tried_again() {
    let mut world = world(&["n1"], &[("web", spec("web:1"))]);
    world.behave("web:2", Behaviour::CrashLoop);
    world.declare("web", "b1", spec("web:2"));
    world.settle();
    world.declare("web", "b2", spec("web:3"));
    world.settle();
    let preview = look(&world, &[("web", spec("web:2"))]);
    let web = app(&preview, "web");
    assert_eq!(web.action, PreviewAction::Quarantined);
    assert_eq!((web.starts, web.stops), (0, 0));
    assert!(
        web.reason
            .as_ref()
            .unwrap()
            .contains("evenkeel release shop/web")
    );
    assert_eq!(preview.verdict, PreviewVerdict::Blocked);
}

/// After a rollback Git is ahead of what runs: going back to that in Git costs nothing.
#[test]
fn going_back_to_what_runs_exchanges_nothing() {
    let mut world = world(&["n1"], &[("web", spec("web:1"))]);
    world.behave("web:2", Behaviour::CrashLoop);
    world.declare("web", "b1", spec("web:2"));
    world.settle();
    assert_eq!(world.serving("web"), "web:1 x1");
    let preview = look(&world, &[("web", spec("web:1"))]);
    assert_eq!(preview.verdict, PreviewVerdict::Unchanged, "{preview:#?}");
    let fix = look(&world, &[("web", spec("web:3"))]);
    let image = &app(&fix, "web").fields[0];
    assert_eq!(
        image.old.as_deref(),
        Some("web:1"),
        "compared with what runs"
    );
}

#[test]
fn suspended_apps_are_held() {
    let mut world = world(&["n1"], &[("web", spec("web:1"))]);
    let suspension = crate::model::Suspension {
        by: "ann".to_owned(),
        at: world.now,
        reason: None,
        until: None,
    };
    world.apply(&[Change::SetSuspension {
        app: key("web"),
        suspension: Some(suspension),
    }]);
    let preview = look(&world, &[("web", spec("web:2"))]);
    let web = app(&preview, "web");
    assert_eq!(web.action, PreviewAction::Held);
    assert!(web.reason.as_ref().unwrap().contains("suspended by ann"));
    assert_eq!(preview.verdict, PreviewVerdict::Held);
}

#[test]
fn apps_of_other_sources_and_invalid_ones_stay() {
    let world = world(&["n1"], &[("web", spec("web:1")), ("api", spec("api:1"))]);
    let mut tree = catalog(&[("web", spec("web:2"))]);
    let problem = Problem {
        file: "api.yaml".to_owned(),
        line: 3,
        column: 7,
        field: "spec.replicas".to_owned(),
        text: "many".to_owned(),
        message: "it must be a number".to_owned(),
        hint: None,
    };
    tree.invalid
        .insert(key("api"), ("api.yaml".to_owned(), vec![problem.clone()]));
    tree.problems.push(problem);

    let preview = look_at(&world, &tree);
    assert_eq!(preview.verdict, PreviewVerdict::Blocked);
    assert!(
        preview.summary.starts_with("invalid: api.yaml:3:7"),
        "{}",
        preview.summary
    );
    let api = app(&preview, "api");
    assert_eq!((api.action, api.stops), (PreviewAction::Invalid, 0));
    assert_eq!(
        app(&preview, "web").action,
        PreviewAction::Replace,
        "the rest is told"
    );

    let other = super::preview(&PreviewInput {
        now: world.now,
        snapshot: &world.snapshot,
        source: &source_spec("second"),
        commit: None,
        catalog: &catalog(&[("web", spec("web:9")), ("own", spec("own:1"))]),
        settings: &world.settings,
    });
    let web = app(&other, "web");
    assert_eq!(web.action, PreviewAction::Foreign);
    assert!(web.reason.as_ref().unwrap().contains("source main"));
    assert_eq!(app(&other, "own").action, PreviewAction::Create);
    assert_eq!(other.verdict, PreviewVerdict::Blocked);
    assert_eq!(other.problems.len(), 1);
}

#[test]
fn nothing_secret_is_in_a_preview() {
    let with = |secret: &str| {
        let secret = secret.to_owned();
        spec("web:1").with(move |s| {
            s.workload
                .env
                .insert("DB_PASSWORD".to_owned(), secret.clone());
            s.workload
                .env
                .insert("URL".to_owned(), format!("pg://u:{secret}@db/x"));
            s.workload.env.insert("LOG".to_owned(), "info".to_owned());
            let data = secret.clone().into_bytes();
            s.workload
                .files
                .insert("/etc/app.conf".to_owned(), FileContent { data });
        })
    };
    let world = world(&["n1"], &[("web", with("hunter1"))]);
    let preview = look(
        &world,
        &[("web", with("hunter2")), ("new", with("hunter3"))],
    );
    let text = serde_json::to_string(&preview).unwrap();
    assert!(!text.contains("hunter"), "{text}");
    let digest = FileContent {
        data: b"hunter2".to_vec(),
    }
    .digest();
    assert!(!text.contains(&digest[..12]), "{text}");
    let fields: BTreeMap<&str, (Option<&str>, Option<&str>)> = app(&preview, "web")
        .fields
        .iter()
        .map(|f| (f.field.as_str(), (f.old.as_deref(), f.new.as_deref())))
        .collect();
    assert_eq!(
        fields["env.DB_PASSWORD"],
        (Some("(value hidden)"), Some("(value hidden)"))
    );
    assert_eq!(
        fields["files./etc/app.conf"],
        (Some("7 bytes"), Some("7 bytes, other content"))
    );
}

#[test]
fn times_to_come_are_skipped_over() {
    let slow = |image: &str| {
        spec(image).with(|s| {
            s.rollout.bake_time = Duration::from_secs(600);
            s.rollout.min_healthy_time = Duration::from_secs(60);
            s.rollout.max_surge = CountOrPercent::Count(1);
        })
    };
    let world = world(&["n1"], &[("web", slow("web:1"))]);
    let preview = look(&world, &[("web", slow("web:2"))]);
    assert_eq!(app(&preview, "web").fit, Fit::ToItsEnd);
}

#[test]
fn a_cordoned_cluster_takes_nothing_and_an_empty_one_waits() {
    let mut world = world(&["n1"], &[]);
    world.apply(&[Change::SetScheduling {
        node: "n1".parse().unwrap(),
        scheduling: Scheduling::Cordoned,
        note: None,
    }]);
    let preview = look(&world, &[("web", spec("web:1"))]);
    let Fit::Never { reason, .. } = &app(&preview, "web").fit else {
        panic!("{preview:#?}");
    };
    assert!(reason.contains("cordoned"), "{reason}");

    let empty = self::world(&[], &[]);
    let preview = look(&empty, &[("web", spec("web:1"))]);
    assert!(
        matches!(app(&preview, "web").fit, Fit::Waits { .. }),
        "{preview:#?}"
    );
    assert_eq!(preview.verdict, PreviewVerdict::Changes);
}

/// The same look twice gives the same words: comments are not edited for nothing.
#[test]
fn previews_do_not_depend_on_chance_and_copy_only_what_changes() {
    let names: Vec<String> = (0..50).map(|n| format!("app{n}")).collect();
    let apps: Vec<(&str, AppSpec)> = names
        .iter()
        .map(|name| (name.as_str(), spec(&format!("{name}:1"))))
        .collect();
    let world = world(&["n1", "n2", "n3"], &apps);
    let mut changed = apps.clone();
    changed[7].1 = spec("app7:2").replicas(2);
    let tree = catalog(&changed);
    assert_eq!(look_at(&world, &tree), look_at(&world, &tree));
    let outline = outline(&PreviewInput {
        now: world.now,
        snapshot: &world.snapshot,
        source: &source_spec("main"),
        commit: None,
        catalog: &tree,
        settings: &world.settings,
    });
    let copied: BTreeSet<&AppKey> = outline.snapshot.apps.keys().collect();
    assert_eq!(copied, BTreeSet::from([&key("app7")]));
    assert_eq!(outline.preview().counts.unchanged, 49);
}
