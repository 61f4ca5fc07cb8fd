//! Images from a real registry on this machine.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::query_parameters::{
    PushImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use evenkeel::agent::runtime::Runtime as _;
use evenkeel::model::FailureKind;
use evenkeel::model::spec::PullPolicy;
use futures_util::StreamExt as _;

use crate::engine;
use crate::support::Site;

struct Registry {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    async fn start() -> Registry {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let config = folder.path().join("config.yml");
        let data = folder.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs docker-registry");
        let end = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(Instant::now() < end, "the registry does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Registry {
            child,
            address,
            _folder: folder,
        }
    }

    /// Puts the test image there and takes it away from the Engine again.
    async fn publish(&self, docker: &bollard::Docker, name: &str, tag: &str) {
        let repository = format!("{}/{name}", self.address);
        let options = TagImageOptionsBuilder::default()
            .repo(&repository)
            .tag(tag)
            .build();
        docker
            .tag_image(engine::IMAGE, Some(options))
            .await
            .unwrap();
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let mut push = std::pin::pin!(docker.push_image(&repository, Some(options), None));
        while let Some(item) = push.next().await {
            item.unwrap();
        }
        remove(docker, &format!("{repository}:{tag}")).await;
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn remove(docker: &bollard::Docker, image: &str) {
    let options = RemoveImageOptionsBuilder::default().build();
    docker
        .remove_image(image, Some(options), None)
        .await
        .unwrap();
}

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
