//! Previews of a tree against the cluster as it is.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::super::leadership::chain;
use super::super::sync::Tree;
use super::super::{Error, Handle};
use crate::clock;
use crate::git;
use crate::manifest::{self, Content, Defaults, Lookup};
use crate::model::{Catalog, CommitId, Preview, SourceSpec};
use crate::plan::preview::{PreviewInput, outline};

/// Previews made at the same time: each may use a core for seconds.
const AT_ONCE: usize = 2;

/// Why a commit cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    NotFetched,
    /// Its folder is missing, or its content is not fit to be read.
    Refused(String),
}

/// Room for previews; more wait for their turn.
pub(in crate::controller) struct Looks(Arc<Semaphore>);

impl Default for Looks {
    fn default() -> Looks {
        Looks(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Handle {
    /// What these files would do, were they the tree of the source. `files` have paths below
    /// the repository's root; of what is no spec, only what specs name in `files` is needed.
    ///
    /// Errors: `NotLoaded`, `Stopping`.
    pub async fn preview_files(
        &self,
        spec: &SourceSpec,
        files: std::collections::BTreeMap<String, Vec<u8>>,
    ) -> Result<Preview, Error> {
        let _turn = self.turn().await?;
        let defaults = self.defaults(spec);
        let work = move || {
            let specs = files
                .iter()
                .filter(|(path, _)| manifest::is_spec_path(path));
            let specs: Vec<_> = specs
                .map(|(path, bytes)| (path.clone(), sized(bytes)))
                .collect();
            let mut look_up = |path: &str| match files.get(path) {
                Some(bytes) => Lookup::Found(bytes.clone()),
                None => Lookup::Missing,
            };
            manifest::validate_files(&defaults, specs, &mut look_up).catalog
        };
        let catalog = off_thread(work).await?;
        self.preview(spec, None, Arc::new(catalog)).await
    }

    /// What a commit would do that a mirror of the source holds.
    ///
    /// The outer error is the controller's, the inner one the repository's.
    pub async fn preview_commit(
        &self,
        spec: &SourceSpec,
        commit: &CommitId,
    ) -> Result<Result<Preview, Unreadable>, Error> {
        let _turn = self.turn().await?;
        let mut tree = Tree::new(self.0.options.allowed_host_paths.as_slice().into());
        let (mirrors, spec_of, at) = (self.0.mirrors.clone(), spec.clone(), commit.clone());
        let read = off_thread(move || {
            tree.bring_to(&mirrors, &spec_of, &at)?;
            Ok(tree.index.catalog().clone())
        });
        match read.await? {
            Ok(catalog) => {
                let preview = self.preview(spec, Some(commit.clone()), Arc::new(catalog));
                preview.await.map(Ok)
            }
            Err(git::Error::CommitMissing { .. }) => Ok(Err(Unreadable::NotFetched)),
            Err(error) => Ok(Err(Unreadable::Refused(chain(&error)))),
        }
    }

    /// What a parsed tree would do.
    pub(in crate::controller) async fn preview(
        &self,
        spec: &SourceSpec,
        commit: Option<CommitId>,
        catalog: Arc<Catalog>,
    ) -> Result<Preview, Error> {
        let now = clock::now();
        let outline = self.read(|snapshot| {
            outline(&PreviewInput {
                now,
                snapshot,
                source: spec,
                commit: commit.as_ref(),
                catalog: &catalog,
                settings: &self.0.options.settings,
            })
        })?;
        off_thread(move || outline.preview()).await
    }

    pub(in crate::controller) async fn turn(
        &self,
    ) -> Result<tokio::sync::OwnedSemaphorePermit, Error> {
        let room = Arc::clone(&self.0.looks.0);
        room.acquire_owned().await.map_err(|_| Error::Stopping)
    }

    fn defaults(&self, spec: &SourceSpec) -> Defaults {
        Defaults {
            allowed_host_paths: self.0.options.allowed_host_paths.clone(),
            ..Defaults::new(spec.project.clone(), spec.path.clone())
        }
    }
}

fn sized(bytes: &[u8]) -> Content {
    let size = bytes.len() as u64;
    if size > manifest::limits::SPEC_FILE_BYTES {
        Content::TooLarge { size }
    } else {
        Content::Bytes(bytes.to_vec())
    }
}

pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|join| Error::Internal(Box::new(join)))
}
