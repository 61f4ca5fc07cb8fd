//! The folder of bare mirrors, and fetching into them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Outcome};
use super::fetch;
use super::libgit2;
use super::location::Location;
use super::pulls::{self, FetchedPull, WantedPull};
use super::secret;
use super::tidy;
use super::tree::Reader;
use super::{BlobId, Error, Fetched, Read, TreeEntryChange, limits};
use crate::failpoint::{self, Op};
use crate::model::{CommitId, SourceSpec};

/// A folder of bare mirrors. Cheap to clone; clones share locks and connections.
///
/// A mirror belongs to one source name *and* url: a source whose url changes
/// starts anew and never sees the other's objects. A mirror is a cache: it may
/// be deleted while nothing runs.
#[derive(Clone)]
pub struct Mirrors {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    client: reqwest::Client,
    locks: Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

impl Mirrors {
    /// Creates the folder if there is none, readable for its owner only, and clears
    /// what a killed process left half done. One process per folder.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Mirrors, Error> {
        libgit2::prepare();
        let folder = folder.into();
        let failed = |why: &dyn ToString| {
            Error::local(
                format!("cannot use the mirror folder {}", folder.display()),
                why.to_string(),
            )
        };
        fetch::create_private(&folder).map_err(|e| failed(&e))?;
        fetch::clear_leftovers(&folder).map_err(|e| failed(&e))?;
        // Someone else may have chosen a provider already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            // Some servers speak the smart protocol only to what calls itself git.
            .user_agent(concat!("git/2 (evenkeel ", env!("CARGO_PKG_VERSION"), ")"))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits::CONNECT)
            .build()
            .map_err(|e| failed(&e))?;
        Ok(Mirrors {
            shared: Arc::new(Shared {
                folder,
                client,
                locks: Mutex::new(BTreeMap::new()),
            }),
        })
    }

    /// Brings the branch's head here. Ends within `allowed`, which also covers the
    /// wait for another fetch of the same source; dropping the future ends it too.
    ///
    /// Must be called inside a Tokio runtime. On every error the mirror stays as it was.
    pub async fn fetch(&self, spec: &SourceSpec, allowed: Duration) -> Result<Fetched, Error> {
        let folder = self.mirror_of(spec);
        let lock = self.lock_of(&folder);
        let branch = spec.branch.clone();
        let work = move |attempt: &Arc<Attempt>| fetch::fetch(attempt, &folder, &branch);
        self.attempt(spec, allowed, lock, work).await
    }

    /// Brings a pull request's commits here, and merges them on trial with the followed
    /// branch, whose head is here already. As [`Mirrors::fetch`], which it does not hold up.
    /// `None`: the remote has no such pull request.
    pub async fn fetch_pull(
        &self,
        spec: &SourceSpec,
        wanted: &WantedPull,
        allowed: Duration,
    ) -> Result<Option<FetchedPull>, Error> {
        let folder = self.mirror_of(spec);
        let lock = self.lock_of(&pulls_of(&folder));
        let (of, wanted) = (spec.clone(), wanted.clone());
        let work = move |attempt: &Arc<Attempt>| pulls::fetch(attempt, &folder, &of, &wanted);
        self.attempt(spec, allowed, lock, work).await
    }

    /// Forgets all pull requests of the source but these.
    pub async fn forget_pulls(&self, spec: &SourceSpec, keep: BTreeSet<u64>) -> Result<(), Error> {
        let folder = self.mirror_of(spec);
        let guard = self.lock_of(&pulls_of(&folder)).lock_owned().await;
        let work = move || {
            let _guard = guard;
            pulls::forget(&folder, &|number| keep.contains(&number))
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|join| Error::local("forgetting pull requests failed unexpectedly", join))?
    }

    /// Runs `work` off the async threads, within `allowed`, alone under `lock`.
    async fn attempt<T: Send + 'static>(
        &self,
        spec: &SourceSpec,
        allowed: Duration,
        lock: Arc<tokio::sync::Mutex<()>>,
        work: impl FnOnce(&Arc<Attempt>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + allowed;
        let location = Location::parse(&spec.url)?;
        let url = location.to_string();
        let timeout = |url: &str| Error::Timeout {
            url: url.to_owned(),
            after: allowed,
        };
        let guard = tokio::time::timeout_at(deadline, lock.lock_owned())
            .await
            .map_err(|_| timeout(&url))?;

        let cancelled = CancellationToken::new();
        let _cancel_when_dropped = cancelled.clone().drop_guard();
        let job = {
            let spec = spec.clone();
            let client = self.shared.client.clone();
            let runtime = tokio::runtime::Handle::current();
            move || {
                // Held by the work, not the caller: a fetch that was given up
                // still keeps the next one out until it has really ended.
                let _guard = guard;
                let token = read_token(&spec, &location)?;
                let (token, warning) = token.unzip();
                let attempt = Arc::new(Attempt {
                    url: location.to_string(),
                    location,
                    credentials: spec.credentials,
                    token,
                    client,
                    runtime,
                    cancelled,
                    allowed,
                    deadline,
                    outcome: Outcome::default(),
                });
                if let Some(warning) = warning.flatten() {
                    attempt.warn(warning);
                }
                attempt.run(|| work(&attempt))
            }
        };
        // The work ends by itself soon after the deadline; who waits is answered at the deadline.
        let grace = Duration::from_millis(200);
        match tokio::time::timeout_at(deadline + grace, tokio::task::spawn_blocking(job)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(join)) => Err(Error::local("the fetch failed unexpectedly", join)),
            Err(_) => Err(timeout(&url)),
        }
    }

    /// Paths below the source's folder that differ from `from` to `to`; everything
    /// at `to` when `from` is `None`. Costs only what differs.
    pub async fn changed(
        &self,
        spec: &SourceSpec,
        from: Option<&CommitId>,
        to: &CommitId,
    ) -> Result<Vec<TreeEntryChange>, Error> {
        let from = from.cloned();
        self.read_with(spec, to, move |reader| reader.changed(from.as_ref()))
            .await
    }

    /// The file at `path` (below the repository's root) of `commit`.
    pub async fn read(
        &self,
        spec: &SourceSpec,
        commit: &CommitId,
        path: &str,
        max_bytes: u64,
    ) -> Result<Read, Error> {
        let path = path.to_owned();
        self.read_with(spec, commit, move |reader| reader.read(&path, max_bytes))
            .await
    }

    /// A file's content by its id, of a commit that was fetched.
    pub async fn read_blob(
        &self,
        spec: &SourceSpec,
        commit: &CommitId,
        blob: &BlobId,
        max_bytes: u64,
    ) -> Result<Read, Error> {
        let blob = blob.clone();
        self.read_with(spec, commit, move |reader| reader.blob(&blob, max_bytes))
            .await
    }

    /// For many reads in a row: blocking, local disk only; for `spawn_blocking`.
    pub fn reader(&self, spec: &SourceSpec, commit: &CommitId) -> Result<Reader, Error> {
        let url = Location::parse(&spec.url)?.to_string();
        Reader::open(&self.mirror_of(spec), url, commit, &spec.path)
    }

    /// Deletes the mirrors of sources that are not in `configured`, and packs those that
    /// many fetches left in pieces. For now and then; mirrors in use are left for the
    /// next time. Names the first failure after doing what it could.
    pub async fn tidy(&self, configured: &[SourceSpec]) -> Result<(), Error> {
        let kept: BTreeSet<PathBuf> = configured.iter().map(|s| self.mirror_of(s)).collect();
        let mirrors = self.clone();
        tokio::task::spawn_blocking(move || mirrors.tidy_now(&kept))
            .await
            .map_err(|join| Error::local("tidying the mirrors failed unexpectedly", join))?
    }

    fn tidy_now(&self, kept: &BTreeSet<PathBuf>) -> Result<(), Error> {
        let failed = |why: std::io::Error| Error::local("cannot tidy the mirrors", why);
        let mut outcome = Ok(());
        for entry in std::fs::read_dir(&self.shared.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|e| e != "git") {
                continue;
            }
            // What a fetch has brought and not named yet, nothing reaches.
            let locks = [self.lock_of(&path), self.lock_of(&pulls_of(&path))];
            let [Ok(_guard), Ok(_pulls)] = locks.map(|lock| lock.try_lock_owned()) else {
                continue;
            };
            let done = if kept.contains(&path) {
                tidy::repack(&path, Instant::now() + limits::REPACK).map(|_| ())
            } else {
                failpoint::around(Op::GitRemoveMirror, || std::fs::remove_dir_all(&path))
                    .map_err(failed)
            };
            outcome = outcome.and(done);
        }
        outcome
    }

    async fn read_with<T: Send + 'static>(
        &self,
        spec: &SourceSpec,
        commit: &CommitId,
        work: impl FnOnce(Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (mirrors, spec, commit) = (self.clone(), spec.clone(), commit.clone());
        tokio::task::spawn_blocking(move || work(mirrors.reader(&spec, &commit)?))
            .await
            .map_err(|join| Error::local("reading a mirror failed unexpectedly", join))?
    }

    fn mirror_of(&self, spec: &SourceSpec) -> PathBuf {
        let digest = hex::encode(Sha256::digest(spec.url.as_bytes()));
        self.shared
            .folder
            .join(format!("{}-{}.git", spec.name, &digest[..16]))
    }

    fn lock_of(&self, mirror: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self
            .shared
            .locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        locks.entry(mirror.to_owned()).or_default().clone()
    }
}

/// Stands for the pull requests in a mirror, which are fetched beside its branch.
fn pulls_of(mirror: &Path) -> PathBuf {
    mirror.join("pulls")
}

/// The token for an http source, with a warning about it.
fn read_token(
    spec: &SourceSpec,
    location: &Location,
) -> Result<Option<(secret::Secret, Option<String>)>, Error> {
    let (Location::Http { url, .. }, Some(file)) = (location, &spec.credentials.token_file) else {
        return Ok(None);
    };
    let (token, mut warning) = secret::read_token(file).map_err(|why| Error::Refused {
        url: location.to_string(),
        why,
    })?;
    if url.scheme() == "http" && warning.is_none() {
        warning = Some(format!(
            "the token is sent in clear text to {url}; use https"
        ));
    }
    Ok(Some((token, warning)))
}
