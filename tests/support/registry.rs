//! A real registry on this machine, for tests. Needs Debian's `docker-registry`.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::query_parameters::{
    PushImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt as _;

use crate::engine;

pub struct Registry {
    child: Child,
    /// `127.0.0.1:port`: the Engine takes it without TLS.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    pub async fn start() -> Registry {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", crate::free_port::free_port());
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
    pub async fn publish(&self, docker: &bollard::Docker, name: &str, tag: &str) {
        self.publish_image(docker, engine::IMAGE, name, tag).await;
    }

    pub async fn publish_image(
        &self,
        docker: &bollard::Docker,
        image: &str,
        name: &str,
        tag: &str,
    ) {
        let repository = format!("{}/{name}", self.address);
        let options = TagImageOptionsBuilder::default()
            .repo(&repository)
            .tag(tag)
            .build();
        docker.tag_image(image, Some(options)).await.unwrap();
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

pub async fn remove(docker: &bollard::Docker, image: &str) {
    let options = RemoveImageOptionsBuilder::default().build();
    docker
        .remove_image(image, Some(options), None)
        .await
        .unwrap();
}
