//! Containers of others are never touched, and what an agent left half done is finished.

use std::collections::HashMap;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use evenkeel::agent::runtime::docker::{Docker, DockerConfig};
use evenkeel::agent::runtime::{FoundState, Runtime as _};
use evenkeel::model::spec::FileContent;
use evenkeel::model::{DesiredInstance, FailureKind};

use crate::engine;
use crate::support::{RUN_ON, Site, instance, sh};

/// Makes a container behind Evenkeel's back.
async fn make(site: &Site, name: &str, script: &str, labels: &[(&str, &str)]) -> String {
    let labels: HashMap<_, _> = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let body = ContainerCreateBody {
        image: Some(engine::IMAGE.to_owned()),
        cmd: Some(sh(script)),
        labels: Some(labels),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    let created = site.client().create_container(Some(options), body).await;
    created.unwrap().id
}

async fn delete(site: &Site, container: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    let client = site.client();
    client
        .remove_container(container, Some(options))
        .await
        .unwrap();
}

fn short_name(it: &DesiredInstance) -> String {
    format!("evenkeel-shop-web-0-{}", it.id.short())
}

#[tokio::test]
async fn a_stranger_with_our_name_keeps_it_and_stays_unharmed() {
    let site = Site::shared().await;
    let it = instance(RUN_ON, |_| {});
    // The same instance id, of another cluster.
    let id = it.id.to_string();
    let labels = [
        ("dev.evenkeel.cluster", "somebody-else"),
        ("dev.evenkeel.instance", id.as_str()),
    ];
    let stranger = make(&site, &short_name(&it), "true", &labels).await;
    assert_eq!(site.docker.inspect(it.id).await.unwrap(), None);
    let found = site.run(&it).await;
    assert_ne!(found.handle, stranger);
    // With the short name free by now, a new agent still finds the same container.
    delete(&site, &stranger).await;
    let again = Docker::new(site.config.clone());
    assert_eq!(again.list().await.unwrap().len(), 1);
    again.create(&site.config.cluster, &it).await.unwrap();
    assert_eq!(again.list().await.unwrap().len(), 1);
    let stranger = make(&site, &short_name(&it), "true", &labels).await;
    site.clean_up().await;
    let client = site.client();
    assert!(client.inspect_container(&stranger, None).await.is_ok());
    delete(&site, &stranger).await;
}

#[tokio::test]
async fn a_set_of_another_cluster_is_refused() {
    let site = Site::shared().await;
    let it = instance(RUN_ON, |_| {});
    let error = site.docker.create("other", &it).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Rejected);
    assert_eq!(site.docker.inspect(it.id).await.unwrap(), None);
}

#[tokio::test]
async fn two_nodes_of_a_cluster_share_an_engine_without_seeing_each_other() {
    let site = Site::shared().await;
    let named = |name: &str| {
        Docker::new(DockerConfig {
            node: Some(name.parse().unwrap()),
            ..site.config.clone()
        })
    };
    let (one, two) = (named("one"), named("two"));
    let it = instance(RUN_ON, |run| {
        run.labels.insert("dev.evenkeel.node".into(), "two".into());
    });
    one.create(&site.config.cluster, &it).await.unwrap();
    assert_eq!(one.list().await.unwrap().len(), 1);
    assert_eq!(two.list().await.unwrap(), []);
    assert_eq!(two.inspect(it.id).await.unwrap(), None);
    // Nothing to remove, so nothing is.
    two.remove(it.id).await.unwrap();
    assert_eq!(one.list().await.unwrap().len(), 1);
    let renamed = Docker::new(DockerConfig {
        node: Some("three".parse().unwrap()),
        former_nodes: vec!["one".parse().unwrap()],
        ..site.config.clone()
    });
    assert_eq!(renamed.list().await.unwrap().len(), 1);
    // One that names no node is anybody's.
    let older = instance(RUN_ON, |_| {});
    site.run(&older).await;
    assert_eq!(two.list().await.unwrap().len(), 1);
    site.clean_up().await;
}

#[tokio::test]
async fn two_creates_at_once_make_one_container() {
    let site = Site::shared().await;
    let it = instance(RUN_ON, |_| {});
    let other = Docker::new(site.config.clone());
    let (a, b) = tokio::join!(
        site.docker.create(&site.config.cluster, &it),
        other.create(&site.config.cluster, &it)
    );
    a.unwrap();
    b.unwrap();
    // The Engine's own list: ours would show an instance once in any case.
    let label = format!("dev.evenkeel.cluster={}", site.config.cluster);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&HashMap::from([("label", vec![label])]))
        .build();
    let all = site.client().list_containers(Some(options)).await.unwrap();
    assert_eq!(all.len(), 1);
    site.clean_up().await;
}

/// An agent that died between making a container and filling it.
#[tokio::test]
async fn a_container_without_its_files_never_starts() {
    let site = Site::shared().await;
    let script = "cat /etc/web.conf";
    let it = instance(script, |run| {
        let data = b"filled".to_vec();
        let files = &mut run.workload.files;
        files.insert("/etc/web.conf".into(), FileContent { data });
    });
    let id = it.id.to_string();
    let labels = [
        ("dev.evenkeel.cluster", site.config.cluster.as_str()),
        ("dev.evenkeel.instance", id.as_str()),
        ("dev.evenkeel.files", "1"),
    ];
    make(&site, &short_name(&it), script, &labels).await;
    let found = site.docker.inspect(it.id).await.unwrap().unwrap();
    assert_eq!(found.state, FoundState::Created);
    let error = site.docker.start(it.id).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::StartFailed, "{error}");
    // What is begun again has them.
    site.run(&it).await;
    assert_eq!(site.exit(it.id).await.0.code, Some(0));

    // And a create that finds a half-made one fills it.
    site.docker.remove(it.id).await.unwrap();
    let half = make(&site, &short_name(&it), script, &labels).await;
    let found = site.run(&it).await;
    assert_eq!(found.handle, half);
    assert_eq!(site.exit(it.id).await.0.code, Some(0));
    site.clean_up().await;
}

#[tokio::test]
async fn what_somebody_removed_is_gone_and_can_be_made_again() {
    let site = Site::shared().await;
    let it = instance(RUN_ON, |_| {});
    let first = site.run(&it).await;
    delete(&site, &first.handle).await;
    assert_eq!(site.docker.inspect(it.id).await.unwrap(), None);
    let second = site.run(&it).await;
    delete(&site, &second.handle).await;
    // Without a look in between: the memory is wrong, the outcome is not.
    let third = site.run(&it).await;
    assert_ne!(second.handle, third.handle);
    assert_eq!(third.state, FoundState::Running);
    site.clean_up().await;
}
