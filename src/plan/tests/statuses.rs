//! What a commit's status says, and when it is said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::world::*;
use crate::model::source::Credentials;
use crate::model::spec::OnFailure;
use crate::model::*;
use crate::plan::operate::plan_release;
use crate::plan::statuses::status;
use crate::plan::sync::{SyncInput, plan_failed_sync, plan_sync};

fn main() -> SourceName {
    "main".parse().unwrap()
}

fn source(forge: bool) -> SourceSpec {
    SourceSpec {
        name: main(),
        url: "/srv/repo".to_owned(),
        branch: "main".to_owned(),
        path: String::new(),
        project: "shop".parse().unwrap(),
        interval: Duration::from_secs(60),
        credentials: Credentials::default(),
        webhook_secret_file: None,
        pull_requests: Default::default(),
        forge: forge.then(|| ForgeSpec {
            kind: ForgeKind::GitHub,
            api_url: "https://forge.example".to_owned(),
            repository: "team/apps".to_owned(),
            token_file: Some("/run/token".to_owned()),
            username: None,
            app: None,
        }),
    }
}

fn put(world: &mut World, forge: bool) {
    let known = world.snapshot.sources.get(&main()).cloned();
    let mut next = known.unwrap_or_else(|| Source::new(source(forge), None));
    next.spec = source(forge);
    world.apply(&[Change::PutSource(Box::new(next))]);
}

fn world() -> World {
    let mut world = World::new(&["a", "b"]);
    put(&mut world, true);
    world
}

/// `name image`; an image `bad` makes its file invalid.
fn sync(world: &mut World, at: &str, apps: &[&str]) {
    sync_with(world, at, apps, |spec| spec);
}

fn sync_with(world: &mut World, at: &str, apps: &[&str], change: impl Fn(AppSpec) -> AppSpec) {
    let mut catalog = Catalog {
        spec_files: apps.len(),
        ..Catalog::default()
    };
    for app in apps {
        let (name, image) = app.split_once(' ').unwrap();
        let path = format!("{name}.yaml");
        if image == "bad" {
            let problem = Problem {
                file: path.clone(),
                line: 3,
                column: 5,
                field: "spec.replicas".to_owned(),
                text: "many".to_owned(),
                message: "it is not a number".to_owned(),
                hint: None,
            };
            catalog.problems.push(problem.clone());
            catalog.invalid.insert(key(name), (path, vec![problem]));
            continue;
        }
        let spec = Arc::new(change(spec(image)));
        catalog.apps.insert(
            key(name),
            Declaration {
                app: key(name),
                path,
                line: 1,
                digest: spec.digest(),
                spec,
            },
        );
    }
    let (id, name) = (commit(at), main());
    let decision = plan_sync(&SyncInput {
        now: world.now,
        snapshot: &world.snapshot,
        source: &name,
        commit: &id,
        catalog: &catalog,
        touched: None,
        settings: &world.settings,
    });
    world.apply(&decision.changes);
}

/// What arrives at the forge, by the outbox's rules: `1: pending rolling out shop/web`.
fn posted(world: &World) -> Vec<String> {
    let mut latest: BTreeMap<&CommitId, &CommitStatus> = BTreeMap::new();
    let mut lines = Vec::new();
    for entry in &world.outbox {
        assert_eq!(entry.context, "evenkeel/test/main");
        let before = latest.get(&entry.commit);
        if before == Some(&&entry.status)
            || (entry.follow_up && before.is_none_or(|s| s.state != StatusState::Pending))
        {
            continue;
        }
        latest.insert(&entry.commit, &entry.status);
        let state = format!("{:?}", entry.status.state).to_lowercase();
        let commit = entry.commit.0.trim_end_matches('0');
        lines.push(format!("{commit}: {state} {}", entry.status.description));
    }
    lines
}

fn check(world: &World, wanted: &[&str]) {
    assert_eq!(posted(world), wanted, "{:#?}", world.outbox);
    // What was said last of the head is what it deserves now.
    if let Some(mut now) = status(&world.snapshot, &main())
        && let Some(head) = &world.snapshot.sources[&main()].last_applied
        && let Some(last) = world.outbox.iter().rfind(|e| e.commit == *head)
    {
        now.description = ForgeKind::GitHub.description(&now.description);
        assert_eq!(now, last.status);
    }
}

#[test]
fn a_good_commit_is_pending_and_then_a_success() {
    let mut world = world();
    sync(&mut world, "1", &["web x:1", "api y:1"]);
    world.settle();
    let first = [
        "1: pending rolling out shop/api, shop/web",
        "1: success healthy: shop/api, shop/web",
    ];
    check(&world, &first);
    // An instance that is lost and replaced takes nothing back.
    world.behave("x:1", Behaviour::CrashLoop);
    world.nodes_act();
    world.behave("x:1", Behaviour::Healthy);
    world.settle();
    check(&world, &first);
    // A commit that changes no app is done at once.
    sync(&mut world, "2", &["web x:1", "api y:1"]);
    world.settle();
    check(
        &world,
        &[
            first[0],
            first[1],
            "2: success applied: no app is changed by it",
        ],
    );
}

#[test]
fn a_bad_version_fails_with_place_evidence_and_verdict() {
    let mut world = world();
    sync(&mut world, "1", &["web x:1"]);
    world.settle();
    world.outbox.clear();
    world.behave("x:2", Behaviour::CrashLoop);
    sync(&mut world, "2", &["web x:2"]);
    world.settle();
    let lines = posted(&world);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(lines[0], "2: pending rolling out shop/web");
    assert!(
        lines[1].starts_with("2: failure shop/web: slot 0 on ")
            && lines[1].contains("it exited with code 1"),
        "{lines:#?}"
    );
    // An operator lets it be tried again, and now it works.
    world.behave("x:2", Behaviour::Healthy);
    let retry = plan_release(world.now, &world.snapshot, &key("web"), "zoe").unwrap();
    world.apply(&retry.changes);
    world.settle();
    let lines = posted(&world);
    assert_eq!(
        lines[2..],
        [
            "2: pending rolling out shop/web",
            "2: success healthy: shop/web"
        ]
    );
}

#[test]
fn a_paused_rollout_is_a_failure() {
    let mut world = world();
    let pause = |s: AppSpec| s.with(|s| s.rollout.on_failure = OnFailure::Pause);
    world.behave("x:1", Behaviour::CrashLoop);
    sync_with(&mut world, "1", &["web x:1"], pause);
    world.rounds(20);
    let lines = posted(&world);
    assert!(
        lines[1].starts_with("1: failure shop/web: paused: "),
        "{lines:#?}"
    );
}

#[test]
fn an_invalid_file_fails_the_commit_whatever_else_becomes_of_it() {
    let mut world = world();
    sync(&mut world, "1", &["web x:1", "api bad"]);
    world.settle();
    let invalid = "1: failure invalid: api.yaml:3:5: it is not a number";
    check(&world, &[invalid]);
    // Its fix, while the good part of it is long healthy.
    sync(&mut world, "2", &["web x:1", "api y:1"]);
    world.settle();
    check(
        &world,
        &[
            invalid,
            "2: pending rolling out shop/api",
            "2: success healthy: shop/api",
        ],
    );
}

#[test]
fn a_commit_that_another_overtakes_is_ended() {
    let mut world = world();
    sync(&mut world, "1", &["web x:1"]);
    sync(&mut world, "2", &["web x:2"]);
    world.settle();
    check(
        &world,
        &[
            "1: pending rolling out shop/web",
            "1: superseded superseded by commit 20000000 before it was healthy",
            "2: pending rolling out shop/web",
            "2: success healthy: shop/web",
        ],
    );
}

#[test]
fn a_commit_goes_on_when_the_next_one_leaves_its_apps_alone() {
    let mut world = world();
    sync(&mut world, "1", &["web x:1"]);
    sync(&mut world, "2", &["web x:1"]);
    world.settle();
    check(
        &world,
        &[
            "1: pending rolling out shop/web",
            "2: success applied: no app is changed by it",
            "1: success healthy: shop/web",
        ],
    );
}

#[test]
fn a_removed_app_is_waited_for() {
    let mut world = world();
    sync(&mut world, "1", &["web x:1", "api y:1"]);
    world.settle();
    world.outbox.clear();
    sync(&mut world, "2", &["web x:1"]);
    world.settle();
    check(
        &world,
        &[
            "2: pending rolling out shop/api",
            "2: success applied: no app is changed by it",
        ],
    );
}

#[test]
fn brakes_and_lost_trees_are_failures() {
    let mut world = world();
    let names = ["a x:1", "b x:1", "c x:1", "d x:1", "e x:1", "f x:1"];
    sync(&mut world, "1", &names);
    world.settle();
    world.outbox.clear();
    sync(&mut world, "2", &names[..1]);
    world.settle();
    let lines = posted(&world);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].starts_with("2: failure held: 5 of 6 apps would be deleted"),
        "{lines:#?}"
    );
    world.outbox.clear();
    let lost = plan_failed_sync(
        world.now,
        &world.snapshot,
        &main(),
        Some(commit("3")),
        SyncOutcome::Lost {
            message: "it holds no spec".to_owned(),
        },
    );
    world.apply(&lost.changes);
    assert_eq!(posted(&world), ["3: failure not applied: it holds no spec"]);
}

#[test]
fn without_a_forge_nothing_is_said_and_with_a_new_one_the_head_is() {
    let mut world = World::new(&["a"]);
    put(&mut world, false);
    sync(&mut world, "1", &["web x:1"]);
    sync(&mut world, "2", &["web x:1", "api y:1"]);
    world.settle();
    assert_eq!(world.outbox, []);
    put(&mut world, true);
    check(&world, &["2: success healthy: shop/api"]);
}

#[test]
fn many_apps_are_one_status_and_a_text_that_fits() {
    let mut world = world();
    let apps: Vec<String> = (0..20).map(|n| format!("app-{n:02} x:1")).collect();
    let apps: Vec<&str> = apps.iter().map(String::as_str).collect();
    sync(&mut world, "1", &apps);
    world.settle();
    check(
        &world,
        &[
            "1: pending rolling out 20 apps: shop/app-00, shop/app-01, shop/app-02, …",
            "1: success healthy: 20 apps: shop/app-00, shop/app-01, shop/app-02, …",
        ],
    );
}
