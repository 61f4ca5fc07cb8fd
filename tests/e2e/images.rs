//! Images from a real registry: every replica of a release runs the same bytes.

use bollard::models::{ContainerConfig, ContainerCreateBody};
use bollard::query_parameters::{CommitContainerOptionsBuilder, RemoveContainerOptionsBuilder};

use crate::cluster::Cluster;
use crate::engine;
use crate::registry::{Registry, remove};
use crate::specs::{Version, Web};

/// The test image with a label more: other bytes.
async fn another_image(docker: &bollard::Docker, name: &str) {
    let body = ContainerCreateBody {
        image: Some(engine::IMAGE.to_owned()),
        cmd: Some(vec!["/bin/true".to_owned()]),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None, body).await.unwrap().id;
    let options = CommitContainerOptionsBuilder::default()
        .container(&id)
        .repo(name)
        .tag("1")
        .build();
    let labels = std::collections::HashMap::from([("other".to_owned(), "bytes".to_owned())]);
    let config = ContainerConfig {
        labels: Some(labels),
        ..ContainerConfig::default()
    };
    docker.commit_container(options, config).await.unwrap();
    let force = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&id, Some(force)).await.unwrap();
}

async fn image_ids(c: &Cluster) -> std::collections::BTreeSet<String> {
    let mut ids = std::collections::BTreeSet::new();
    for id in c.containers().await {
        let found = c.docker().inspect_container(&id, None).await.unwrap();
        ids.insert(found.image.unwrap());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_does_not_mix_versions() {
    let registry = Registry::start().await;
    let docker = engine::client(engine::SHARED);
    engine::ensure_image(engine::SHARED).await;
    registry.publish(&docker, "shop/web", "1").await;
    let image = format!("{}/shop/web:1", registry.address);
    let app = |replicas, extra| Web {
        replicas,
        image: &image,
        extra,
        ..Web::default()
    };
    let always = "  imagePullPolicy: always\n";
    let first = app(1, always).spec(Version::Good("one"));
    let c = Cluster::start(&[("web.yaml", &first)]).await;
    let head = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &head).await;
    let before = image_ids(&c).await;

    let other = format!("{}-other", c.name);
    another_image(&docker, &other).await;
    registry
        .publish_image(&docker, &format!("{other}:1"), "shop/web", "1")
        .await;
    let more = c
        .commit(&[("web.yaml", Some(&app(3, always).spec(Version::Good("one"))))])
        .await;
    c.wait_healthy("web", &more).await;
    assert_eq!(image_ids(&c).await, before);

    // A new workload asks the registry anew.
    let next = c
        .commit(&[("web.yaml", Some(&app(3, always).spec(Version::Good("two"))))])
        .await;
    c.wait_healthy("web", &next).await;
    let after = image_ids(&c).await;
    assert_eq!(after.len(), 1);
    assert_ne!(after, before);
    drop(c);
    remove(&docker, &format!("{other}:1")).await;
}
