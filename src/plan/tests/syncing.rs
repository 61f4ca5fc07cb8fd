//! What a commit may and may not take away.

use std::sync::Arc;

use super::world::*;
use crate::model::problem::Problem;
use crate::model::source::Credentials;
use crate::model::*;
use crate::plan::operate::{Prune, plan_approve_held, plan_remove_source};
use crate::plan::sync::{SyncInput, plan_sync};

fn source() -> SourceName {
    "main".parse().unwrap()
}

fn world() -> World {
    let mut world = World::new(&["a"]);
    world.apply(&[Change::PutSource(Box::new(Source::new(
        SourceSpec {
            name: source(),
            url: "/srv/repo".to_owned(),
            branch: "main".to_owned(),
            path: String::new(),
            project: "shop".parse().unwrap(),
            interval: std::time::Duration::from_secs(60),
            credentials: Credentials::default(),
            webhook_secret_file: None,
            pull_requests: Default::default(),
            forge: None,
        },
        None,
    )))]);
    world
}

fn catalog(apps: &[&str]) -> Catalog {
    let mut catalog = Catalog {
        spec_files: apps.len(),
        ..Catalog::default()
    };
    for app in apps {
        let (name, image) = app.split_once(' ').unwrap_or((app, "x:1"));
        let spec = Arc::new(spec(image));
        catalog.apps.insert(
            key(name),
            Declaration {
                app: key(name),
                path: format!("{name}.yaml"),
                line: 1,
                digest: spec.digest(),
                spec,
            },
        );
    }
    catalog
}

fn sync(world: &mut World, at: &str, catalog: &Catalog) -> Vec<Change> {
    let id = commit(at);
    let name = source();
    let decision = plan_sync(&SyncInput {
        now: world.now,
        snapshot: &world.snapshot,
        source: &name,
        commit: &id,
        catalog,
        touched: None,
        settings: &world.settings,
    });
    world.log.extend(decision.events.iter().cloned());
    world.apply(&decision.changes);
    decision.changes
}

fn declared(world: &World) -> String {
    let names: Vec<&str> = world
        .snapshot
        .apps
        .values()
        .filter(|a| a.declared.is_some())
        .map(|a| a.key.name.as_str())
        .collect();
    names.join(" ")
}

#[test]
fn commits_declare_change_and_remove() {
    let mut world = world();
    sync(&mut world, "1", &catalog(&["a", "b"]));
    assert_eq!(declared(&world), "a b");
    sync(&mut world, "2", &catalog(&["a x:2", "b"]));
    assert_eq!(
        world.app("a").declared.as_ref().unwrap().commit,
        commit("2")
    );
    assert_eq!(
        world.app("b").declared.as_ref().unwrap().commit,
        commit("1")
    );
    assert_eq!(
        world.told(EventKind::AppChanged),
        ["commit 20000000 changes shop/a: image: x:1 -> x:2"]
    );
    sync(&mut world, "3", &catalog(&["b"]));
    assert_eq!(declared(&world), "b");
}

#[test]
fn an_empty_tree_or_lost_path_deletes_nothing() {
    let mut world = world();
    sync(&mut world, "1", &catalog(&["a", "b"]));
    sync(&mut world, "2", &catalog(&[]));
    assert_eq!(declared(&world), "a b");
    let now = &world.snapshot.sources[&source()];
    assert!(matches!(now.outcome, SyncOutcome::Lost { .. }));
    assert_eq!(now.last_applied, Some(commit("1")));
    assert_eq!(now.last_seen, Some(commit("2")));
}

#[test]
fn the_brake_holds_mass_deletion_and_applies_the_rest() {
    let mut world = world();
    sync(&mut world, "1", &catalog(&["a", "b", "c", "d"]));
    sync(&mut world, "2", &catalog(&["a x:2", "e"]));
    assert_eq!(declared(&world), "a b c d e");
    assert_eq!(
        world.app("a").declared.as_ref().unwrap().commit,
        commit("2")
    );
    let held = world.snapshot.sources[&source()].held.clone().unwrap();
    assert_eq!(held.deletions.len(), 3);
    assert!(held.reason.contains("3 of 4 apps"), "{}", held.reason);
    // Still held on the next commit, also when only what changed is looked at.
    sync(&mut world, "3", &catalog(&["a x:3", "e"]));
    assert!(world.snapshot.sources[&source()].held.is_some());
    let ok = plan_approve_held(world.now, &world.snapshot, &source(), "eva").unwrap();
    world.apply(&ok.changes);
    assert_eq!(declared(&world), "a e");
    assert!(world.snapshot.sources[&source()].held.is_none());
}

#[test]
fn bringing_apps_back_ends_the_hold() {
    let mut world = world();
    sync(&mut world, "1", &catalog(&["a", "b", "c"]));
    sync(&mut world, "2", &catalog(&["d"]));
    assert!(world.snapshot.sources[&source()].held.is_some());
    sync(&mut world, "3", &catalog(&["a", "b", "c", "d"]));
    assert!(world.snapshot.sources[&source()].held.is_none());
    assert_eq!(declared(&world), "a b c d");
}

#[test]
fn a_broken_file_is_never_a_delete() {
    let mut world = world();
    sync(&mut world, "1", &catalog(&["a", "b"]));
    let problem = Problem {
        file: "a.yaml".to_owned(),
        line: 3,
        column: 5,
        field: String::new(),
        text: "{".to_owned(),
        message: "not YAML".to_owned(),
        hint: None,
    };
    let mut broken = catalog(&["b x:2"]);
    broken.spec_files = 2;
    broken.unreadable.insert("a.yaml".to_owned());
    broken.problems.push(problem.clone());
    sync(&mut world, "2", &broken);
    assert_eq!(declared(&world), "a b");
    assert_eq!(world.app("a").sync_state(false), SyncState::Invalid);
    assert_eq!(
        world.app("b").declared.as_ref().unwrap().commit,
        commit("2")
    );
    sync(&mut world, "3", &catalog(&["a", "b x:2"]));
    assert_ne!(world.app("a").sync_state(false), SyncState::Invalid);
    assert_eq!(
        world.app("a").declared.as_ref().unwrap().commit,
        commit("1")
    );
    let mut invalid = catalog(&["b x:2"]);
    invalid
        .invalid
        .insert(key("a"), ("a.yaml".to_owned(), vec![problem]));
    sync(&mut world, "4", &invalid);
    assert_eq!(declared(&world), "a b");
    assert_eq!(world.app("a").sync_state(false), SyncState::Invalid);
}

#[test]
fn the_second_declarer_is_refused_with_both_places() {
    let mut world = world();
    let mut other = world.snapshot.sources[&source()].clone();
    other.spec.name = "other".parse().unwrap();
    world.apply(&[Change::PutSource(Box::new(other))]);
    sync(&mut world, "1", &catalog(&["a"]));
    let id = commit("9");
    let name: SourceName = "other".parse().unwrap();
    let mut second = catalog(&["a x:9"]);
    second.apps.get_mut(&key("a")).unwrap().path = "their.yaml".to_owned();
    let decision = plan_sync(&SyncInput {
        now: world.now,
        snapshot: &world.snapshot,
        source: &name,
        commit: &id,
        catalog: &second,
        touched: None,
        settings: &world.settings,
    });
    world.apply(&decision.changes);
    assert_eq!(world.app("a").source, source());
    let problem = &world.snapshot.sources[&name].problems[0];
    assert_eq!(problem.file, "their.yaml");
    assert!(
        problem.message.contains("source main in a.yaml"),
        "{}",
        problem.message
    );
}

#[test]
fn the_same_commit_again_changes_nothing_but_the_source() {
    let mut world = world();
    sync(&mut world, "1", &catalog(&["a"]));
    world.log.clear();
    let changes = sync(&mut world, "1", &catalog(&["a"]));
    assert_eq!(changes.len(), 1);
    assert!(world.log.is_empty());
}

#[test]
fn a_source_removed_with_its_apps_goes_with_the_last_of_them() {
    let mut world = world();
    sync(&mut world, "1", &catalog(&["a", "b"]));
    world.settle();
    let refused = plan_remove_source(world.now, &world.snapshot, &source(), Prune::Refuse, "eva");
    assert!(refused.unwrap_err().to_string().contains("2 app(s)"));
    let go = plan_remove_source(
        world.now,
        &world.snapshot,
        &source(),
        Prune::TakeDown,
        "eva",
    );
    world.apply(&go.unwrap().changes);
    world.settle();
    assert!(world.snapshot.apps.is_empty() && world.snapshot.sources.is_empty());
}

#[test]
fn a_repository_cannot_declare_a_source_that_reaches_into_the_host() {
    let harmless = |w: &World| {
        let mut spec = w.snapshot.sources[&source()].spec.clone();
        spec.name = "more".parse().unwrap();
        spec.url = "https://git.example/more.git".to_owned();
        spec
    };
    let cases: [fn(&mut SourceSpec); 6] = [
        |s| s.credentials.token_file = Some("/var/lib/evenkeel/admin-token".to_owned()),
        |s| s.credentials.ssh_key_file = Some("/root/.ssh/id".to_owned()),
        |s| s.webhook_secret_file = Some("/etc/shadow".to_owned()),
        |s| s.url = "/srv/private.git".to_owned(),
        |s| s.url = "file:///srv/private.git".to_owned(),
        |s| {
            s.forge = Some(ForgeSpec {
                kind: ForgeKind::Gitea,
                api_url: "https://git.example".to_owned(),
                repository: "a/b".to_owned(),
                token_file: Some("/var/lib/evenkeel/admin-token".to_owned()),
                username: None,
                app: None,
            })
        },
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let mut world = world();
        let mut spec = harmless(&world);
        change(&mut spec);
        let mut catalog = catalog(&["a"]);
        catalog
            .sources
            .insert(spec.name.clone(), (spec, "more.yaml".to_owned()));
        sync(&mut world, "1", &catalog);
        assert_eq!(world.snapshot.sources.len(), 1, "case {index}");
        let problem = &world.snapshot.sources[&source()].problems[0];
        assert!(problem.message.contains("controller's host"), "{problem}");
        assert_eq!(declared(&world), "a");
    }
    let mut world = world();
    let spec = harmless(&world);
    let mut catalog = catalog(&["a"]);
    catalog
        .sources
        .insert(spec.name.clone(), (spec, "more.yaml".to_owned()));
    sync(&mut world, "1", &catalog);
    assert_eq!(world.snapshot.sources.len(), 2);
}
