//! Images from a real registry on this machine.

use evenkeel::agent::runtime::Runtime as _;
use evenkeel::model::FailureKind;
use evenkeel::model::spec::PullPolicy;

use crate::engine;
use crate::registry::{Registry, remove};
use crate::support::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pulled_as_its_policy_says_and_pinned_by_digest() {
    let site = Site::shared().await;
    let registry = Registry::start().await;
    let docker = site.client();
    registry.publish(&docker, "team/web", "1.4").await;
    let repository = format!("{}/team/web", registry.address);
    let image = format!("{repository}:1.4");
    let prepare = async |image: &str, policy| site.docker.prepare(image, policy).await;

    let error = prepare(&image, PullPolicy::Never).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::ImageNotFound);
    let pulled = prepare(&image, PullPolicy::Missing).await.unwrap();
    let digest = pulled.digest.clone().expect("a registry told it");
    assert!(
        digest.starts_with(&format!("{repository}@sha256:")),
        "{digest}"
    );
    assert_eq!(prepare(&image, PullPolicy::Always).await.unwrap(), pulled);
    assert_eq!(prepare(&image, PullPolicy::Never).await.unwrap(), pulled);
    assert_eq!(prepare(&digest, PullPolicy::Missing).await.unwrap(), pulled);

    for missing in [format!("{repository}:9"), format!("{repository}x:1.4")] {
        let error = prepare(&missing, PullPolicy::Missing).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::ImageNotFound, "{error}");
        assert!(error.message.contains(&missing), "{error}");
    }

    // By digest alone, onto a node that has nothing of it.
    remove(&docker, &image).await;
    assert_eq!(prepare(&digest, PullPolicy::Missing).await.unwrap(), pulled);

    // Without its registry: what is pinned and here is good, the rest may come back.
    drop(registry);
    assert_eq!(prepare(&digest, PullPolicy::Always).await.unwrap(), pulled);
    let error = prepare(&image, PullPolicy::Always).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::PullFailed, "{error}");
    remove(&docker, &digest).await;
}

#[tokio::test]
async fn an_image_that_no_registry_knows_has_no_digest() {
    let site = Site::shared().await;
    for policy in [PullPolicy::Missing, PullPolicy::Never] {
        let image = site.docker.prepare(engine::IMAGE, policy).await.unwrap();
        assert_eq!(image.digest, None);
    }
    let error = site
        .docker
        .prepare("Not A Reference", PullPolicy::Missing)
        .await
        .unwrap_err();
    assert_eq!(error.kind, FailureKind::Rejected, "{error}");
}
