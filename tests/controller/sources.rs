//! Following repositories: triggers, failures, and what they cost.

use evenkeel::controller::SyncStatus;
use evenkeel::model::{EventKind, SyncOutcome};
use evenkeel::store::EventQuery;

use crate::pg;
use crate::support::{
    Controller, Repository, add_source, app, eventually, options, source_name, start, web,
};

fn status(controller: &Controller) -> Option<SyncStatus> {
    controller.handle.sync_status(&source_name())
}

async fn idle_after(controller: &Controller, attempts: u64) -> SyncStatus {
    eventually("the sync to end", async || {
        status(controller).is_some_and(|s| !s.running && s.attempts >= attempts)
    })
    .await;
    status(controller).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_coalesce_and_an_idle_sync_writes_nothing() {
    let database = pg::database().await;
    let controller = start(&database.store, options("leader"));
    controller.leads().await;
    let repository = Repository::new(controller.folder.path());
    repository.commit(&[("web.yaml", &app(1, "60"))]);
    add_source(&controller.handle, repository.source()).await;
    idle_after(&controller, 1).await;
    let declared = controller.handle.read(|s| s.apps.contains_key(&web()));
    assert!(declared.unwrap());
    let commits = database.store.commits(&source_name(), 10).await.unwrap();
    assert_eq!(commits.len(), 1);
    assert_eq!(commits[0].valid, Some(true));

    // Nothing can be placed without a node: the state stands still from here on.
    eventually("the plan", async || {
        controller
            .handle
            .app_report(&web())
            .is_some_and(|r| r.funnel.is_some())
    })
    .await;
    let generation = database.store.generation().await.unwrap();
    let before = status(&controller).unwrap().attempts;
    for _ in 0..100 {
        controller.handle.trigger_sync(&source_name()).unwrap();
    }
    let after = idle_after(&controller, before + 1).await;
    assert!(after.attempts <= before + 3, "{after:?}");
    assert_eq!(after.outcome, SyncOutcome::Ok);
    assert_eq!(database.store.generation().await.unwrap(), generation);
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_a_local_repository_is_seen_without_a_poll() {
    let database = pg::database().await;
    let controller = start(&database.store, options("leader"));
    controller.leads().await;
    let repository = Repository::new(controller.folder.path());
    repository.commit(&[("web.yaml", &app(1, "60"))]);
    add_source(&controller.handle, repository.source()).await;
    idle_after(&controller, 1).await;
    repository.commit(&[("web.yaml", &app(5, "60"))]);
    eventually("the new declaration", async || {
        let replicas = controller.handle.read(|s| {
            let declared = s.apps.get(&web())?.declared.as_ref()?;
            Some(declared.spec.replicas)
        });
        replicas.unwrap() == Some(5)
    })
    .await;
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_one_event_and_changes_nothing() {
    let database = pg::database().await;
    let controller = start(&database.store, options("leader"));
    controller.leads().await;
    let repository = Repository::new(controller.folder.path());
    repository.commit(&[("web.yaml", &app(1, "60"))]);
    add_source(&controller.handle, repository.source()).await;
    idle_after(&controller, 1).await;

    let hidden = repository.path().with_extension("hidden");
    std::fs::rename(repository.path(), &hidden).unwrap();
    for _ in 0..3 {
        let before = status(&controller).unwrap().attempts;
        controller.handle.trigger_sync(&source_name()).unwrap();
        idle_after(&controller, before + 1).await;
    }
    assert_ne!(status(&controller).unwrap().outcome, SyncOutcome::Ok);
    let declared = controller
        .handle
        .read(|s| s.apps[&web()].declared.is_some());
    assert!(declared.unwrap());
    let query = EventQuery {
        kind: Some(EventKind::SyncFailed),
        ..EventQuery::default()
    };
    assert_eq!(database.store.events(&query).await.unwrap().len(), 1);

    std::fs::rename(&hidden, repository.path()).unwrap();
    controller.handle.trigger_sync(&source_name()).unwrap();
    eventually("recovery", async || {
        let outcome = controller
            .handle
            .read(|s| s.sources[&source_name()].outcome.clone());
        outcome.unwrap() == SyncOutcome::Ok
    })
    .await;
    controller.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_goes_on_where_the_old_one_was() {
    let database = pg::database().await;
    let first = start(&database.store, options("first"));
    first.leads().await;
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path());
    repository.commit(&[("web.yaml", &app(1, "60"))]);
    add_source(&first.handle, repository.source()).await;
    idle_after(&first, 1).await;
    let before = first
        .handle
        .read(|s| s.apps[&web()].declared.clone())
        .unwrap();
    first.end().await;
    let second = start(&database.store, options("second"));
    second.leads().await;
    idle_after(&second, 1).await;
    let after = second
        .handle
        .read(|s| s.apps[&web()].declared.clone())
        .unwrap();
    assert_eq!(before, after);
    second.end().await;
}

/// The policy belongs to the process: the same commit is read anew under another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_path_is_accepted_where_the_controller_allows_it() {
    let database = pg::database().await;
    let controller = start(&database.store, options("strict"));
    controller.leads().await;
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path());
    let spec =
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: web}\nspec:\n  image: x/web:1\n"
            .to_owned()
            + "  volumes: [{hostPath: /srv/shared/x, path: /x}]\n";
    repository.commit(&[("web.yaml", &spec)]);
    add_source(&controller.handle, repository.source()).await;
    idle_after(&controller, 1).await;
    let problems = |controller: &Controller| {
        let read = controller.handle.read(|s| {
            let source = s.sources.get(&source_name()).unwrap();
            (source.problems.len(), s.apps.contains_key(&web()))
        });
        read.unwrap()
    };
    assert_eq!(problems(&controller), (1, false));
    controller.end().await;

    let mut allowing = options("allowing");
    allowing.allowed_host_paths = vec!["/srv/shared".to_owned()];
    let controller = start(&database.store, allowing);
    controller.leads().await;
    idle_after(&controller, 1).await;
    assert_eq!(problems(&controller), (0, true));
    controller.end().await;
}
