//! Bringing images to the node.

use std::time::Duration;

use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::Inner;
use super::engine::CALL_DEADLINE;
use super::error::{self, CallError};
use crate::agent::runtime::{Error, Image};
use crate::failpoint::{self, Op};
use crate::model::FailureKind;
use crate::model::spec::PullPolicy;

/// A pull that says nothing for so long is stuck. Layers are told of as they
/// come, but unpacking a large one on a slow disk is silent.
const PULL_SILENCE: Duration = Duration::from_secs(300);

/// `[host[:port]/]path[:tag][@digest]`, taken apart as far as a pull needs it.
#[derive(Debug, PartialEq, Eq)]
struct Reference<'a> {
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Reference<'a> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let name_starts = rest.rfind('/').map_or(0, |i| i + 1);
        let (repository, tag) = match rest[name_starts..].find(':') {
            Some(i) => (&rest[..name_starts + i], Some(&rest[name_starts + i + 1..])),
            None => (rest, None),
        };
        Reference {
            repository,
            tag,
            digest,
        }
    }

    /// What the Engine is to pull: without any it would pull all tags.
    fn tag_or_digest(&self) -> &'a str {
        self.digest.or(self.tag).unwrap_or("latest")
    }

    /// The Engine's full name of the repository: short ones are the public hub's.
    fn full_repository(&self) -> String {
        let (first, rest) = match self.repository.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (self.repository, None),
        };
        let is_host = first.contains(['.', ':']) || first == "localhost";
        match rest {
            Some(rest) if is_host && matches!(first, "docker.io" | "index.docker.io") => {
                match rest.contains('/') {
                    true => format!("docker.io/{rest}"),
                    false => format!("docker.io/library/{rest}"),
                }
            }
            Some(_) if is_host => self.repository.to_owned(),
            Some(_) => format!("docker.io/{}", self.repository),
            None => format!("docker.io/library/{first}"),
        }
    }
}

/// `repository@sha256:…` of a local image, for the repository it was asked by.
/// An image that no registry ever told of (built or imported here) has none.
fn digest_of(reference: &Reference<'_>, image: &ImageInspect) -> Option<String> {
    let wanted = reference.full_repository();
    let digest = image
        .repo_digests
        .iter()
        .flatten()
        .filter_map(|text| text.split_once('@'))
        .find(|(repository, digest)| {
            Reference::parse(repository).full_repository() == wanted
                && reference.digest.is_none_or(|asked| asked == *digest)
        })?
        .1;
    Some(format!("{}@{digest}", reference.repository))
}

impl Inner {
    pub(super) async fn prepare(&self, image: &str, policy: PullPolicy) -> Result<Image, Error> {
        let reference = Reference::parse(image);
        // What a digest names never changes: having it is having the newest.
        let look_first = match policy {
            PullPolicy::Missing | PullPolicy::Never => true,
            PullPolicy::Always => reference.digest.is_some(),
        };
        if look_first && let Some(local) = self.local_image(image).await? {
            return Ok(Image {
                digest: digest_of(&reference, &local),
            });
        }
        match policy {
            PullPolicy::Never => Err(Error::new(
                FailureKind::ImageNotFound,
                format!("image {image} is not on this node, and imagePullPolicy is never"),
            )),
            PullPolicy::Always | PullPolicy::Missing => {
                failpoint::around_async(Op::DockerPull, self.pull(image, &reference)).await?;
                let local = self.local_image(image).await?.ok_or_else(|| {
                    Error::new(
                        FailureKind::PullFailed,
                        format!("pull of {image}: it ended without an error and without an image"),
                    )
                })?;
                Ok(Image {
                    digest: digest_of(&reference, &local),
                })
            }
        }
    }

    async fn local_image(&self, image: &str) -> Result<Option<ImageInspect>, Error> {
        let result = self
            .engine
            .call(CALL_DEADLINE, |docker| async move {
                docker.inspect_image(image).await
            })
            .await;
        match result {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error::of_pull(image, &error)),
        }
    }

    async fn pull(&self, image: &str, reference: &Reference<'_>) -> Result<(), Error> {
        let client = self.engine.client().await.map_err(|e| error::of_call(&e))?;
        let options = CreateImageOptionsBuilder::default()
            .from_image(reference.repository)
            .tag(reference.tag_or_digest())
            .build();
        // The registry may take its time before the first byte.
        let docker = client.docker.with_timeout(PULL_SILENCE);
        let mut progress = std::pin::pin!(docker.create_image(Some(options), None, None));
        loop {
            let item = match tokio::time::timeout(PULL_SILENCE, progress.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(item)) => item.map(drop).map_err(CallError::from),
                Err(_) => Err(CallError::Stream(format!(
                    "no progress for {} s",
                    PULL_SILENCE.as_secs()
                ))),
            };
            self.engine
                .observed(item)
                .map_err(|error| error::of_pull(image, &error))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_apart_at_the_right_colon() {
        let cases = [
            ("web", "web", "latest", "docker.io/library/web"),
            ("team/web:1.4", "team/web", "1.4", "docker.io/team/web"),
            (
                "registry.local:5000/web",
                "registry.local:5000/web",
                "latest",
                "registry.local:5000/web",
            ),
            (
                "localhost/a/web:2",
                "localhost/a/web",
                "2",
                "localhost/a/web",
            ),
            (
                "r.example/web:1@sha256:ab",
                "r.example/web",
                "sha256:ab",
                "r.example/web",
            ),
            (
                "docker.io/web@sha256:ab",
                "docker.io/web",
                "sha256:ab",
                "docker.io/library/web",
            ),
        ];
        for (text, repository, pulled, full) in cases {
            let reference = Reference::parse(text);
            assert_eq!(reference.repository, repository, "{text}");
            assert_eq!(reference.tag_or_digest(), pulled, "{text}");
            assert_eq!(reference.full_repository(), full, "{text}");
        }
    }

    #[test]
    fn the_digest_is_the_one_of_the_repository_asked_for() {
        let image = ImageInspect {
            repo_digests: Some(vec![
                "mirror.example/web@sha256:aa".to_owned(),
                "web@sha256:bb".to_owned(),
            ]),
            ..Default::default()
        };
        let of = |text: &str| digest_of(&Reference::parse(text), &image);
        assert_eq!(of("web:1").as_deref(), Some("web@sha256:bb"));
        assert_eq!(
            of("mirror.example/web:1").as_deref(),
            Some("mirror.example/web@sha256:aa")
        );
        assert_eq!(of("other.example/web:1"), None);
        assert_eq!(
            digest_of(&Reference::parse("web:1"), &ImageInspect::default()),
            None
        );
    }
}
