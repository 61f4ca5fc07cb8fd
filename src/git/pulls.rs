//! Pull requests' commits: fetched beside the followed branch, and merged with it on trial.
//!
//! They lie under names of our own (`refs/evenkeel/pulls/NUMBER/…`), which keep their objects
//! until they are forgotten; the followed branch's name is never touched. Fetching them and
//! following the branch do not wait for each other.
//!
//! What is looked at is what a merge would give. The forge's own trial merge is taken where it
//! is of exactly these two commits. Else the merge is made here, path by path below the
//! source's folder, with the walk that knows its bounds: libgit2's own merge walks whole
//! trees, which a pull request can make as large as it likes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use git2::build::TreeUpdateBuilder;
use git2::{
    AutotagOption, Direction, ErrorCode, FetchOptions, FileMode, MergeFileInput, Oid, Repository,
    Signature, Time,
};

use super::attempt::Attempt;
use super::fetch::callbacks;
use super::location::Location;
use super::tree::Reader;
use super::{Entry, Error, Read, TreeEntryChange, limits, transport};
use crate::failpoint::{self, Op};
use crate::model::{CommitId, SourceSpec};

/// Which pull request, and by which names the remote has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedPull {
    pub number: u64,
    pub head_ref: String,
    pub merge_ref: Option<String>,
    /// Head of the followed branch, which the mirror has.
    pub base: CommitId,
}

/// A pull request as the remote has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPull {
    pub head: CommitId,
    pub merged: Merged,
}

/// What merging it into the followed branch would give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// A commit of the mirror with that tree.
    Tree(CommitId),
    /// Both sides changed these paths, in ways that do not go together.
    Conflict(Vec<String>),
}

const PREFIX: &str = "refs/evenkeel/pulls/";

fn name(number: u64, what: &str) -> String {
    format!("{PREFIX}{number}/{what}")
}

/// `None`: the remote has no such pull request (any more).
pub(super) fn fetch(
    attempt: &Arc<Attempt>,
    folder: &Path,
    spec: &SourceSpec,
    wanted: &WantedPull,
) -> Result<Option<FetchedPull>, Error> {
    // Made by the source's own fetch, which comes first.
    let repository = Repository::open_bare(folder).map_err(|_| Error::CommitMissing {
        url: attempt.url.clone(),
        commit: wanted.base.clone(),
    })?;
    let Some((head, merge)) = download(attempt, &repository, wanted)? else {
        return Ok(None);
    };
    let local = |e: git2::Error| Error::local("cannot keep a pull request", e.message());
    let keep = |what: &str, oid: Oid| {
        let name = name(wanted.number, what);
        failpoint::around(Op::GitKeepPull, || {
            repository.reference(&name, oid, true, "pull request")
        })
    };
    let hostile = |why: &str| Error::Hostile {
        commit: CommitId(head.to_string()),
        path: wanted.head_ref.clone(),
        why: why.to_owned(),
    };
    if repository.find_commit(head).is_err() {
        return Err(hostile("it does not point to a commit"));
    }
    keep("head", head).map_err(local)?;
    let base = Oid::from_str(&wanted.base.0).map_err(local)?;
    if repository.find_commit(base).is_err() {
        return Err(Error::CommitMissing {
            url: attempt.url.clone(),
            commit: wanted.base.clone(),
        });
    }
    let trial = Trial {
        attempt,
        repository: &repository,
        folder,
        spec,
        base,
        head,
    };
    let merged = trial.merge(merge)?;
    if let Merged::Tree(commit) = &merged {
        let oid = Oid::from_str(&commit.0).map_err(local)?;
        keep("merge", oid).map_err(local)?;
    }
    Ok(Some(FetchedPull {
        head: CommitId(head.to_string()),
        merged,
    }))
}

/// Forgets all pull requests that `keep` does not name; their objects go with the next packing.
pub(super) fn forget(folder: &Path, keep: &dyn Fn(u64) -> bool) -> Result<(), Error> {
    let Ok(repository) = Repository::open_bare(folder) else {
        return Ok(());
    };
    let failed = |e: git2::Error| Error::local("cannot forget pull requests", e.message());
    let names = repository
        .references_glob(&format!("{PREFIX}*"))
        .map_err(failed)?;
    for reference in names {
        let mut reference = reference.map_err(failed)?;
        let number = reference.name().ok().and_then(|name| {
            let number = name.strip_prefix(PREFIX)?.split('/').next()?;
            number.parse().ok()
        });
        if !number.is_some_and(keep) {
            failpoint::around(Op::GitForgetPull, || reference.delete()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Head, and the forge's trial merge where there is one.
fn download(
    attempt: &Arc<Attempt>,
    mirror: &Repository,
    wanted: &WantedPull,
) -> Result<Option<(Oid, Option<Oid>)>, Error> {
    if let Location::Local(path) = &attempt.location {
        let head = transport::local::fetch_named(attempt, path, mirror, &wanted.head_ref)?;
        return Ok(head.map(|head| (head, None)));
    }
    let failed = |e: git2::Error| attempt.explain(&e);
    let mut remote = mirror
        .remote_anonymous(&transport::url_for_libgit2(&attempt.location))
        .map_err(failed)?;
    let callbacks = || callbacks(attempt, limits::PULL_PACK_BYTES);
    let mut connection = remote
        .connect_auth(Direction::Fetch, Some(callbacks()), None)
        .map_err(failed)?;
    let (mut head, mut merge) = (None, None);
    for found in connection.list().map_err(failed)? {
        if found.name() == wanted.head_ref {
            head = Some(found.oid());
        } else if wanted.merge_ref.as_deref() == Some(found.name()) {
            merge = Some(found.oid());
        }
    }
    let Some(head) = head else { return Ok(None) };
    let lacks = |oid: &Oid| mirror.find_commit(*oid).is_err();
    let mut names = Vec::new();
    if lacks(&head) {
        names.push(wanted.head_ref.clone());
    }
    if let (Some(_), Some(name)) = (merge.filter(lacks), &wanted.merge_ref) {
        names.push(name.clone());
    }
    if !names.is_empty() {
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks())
            .download_tags(AutotagOption::None)
            .update_fetchhead(false);
        failpoint::around(Op::GitDownloadPull, || {
            let remote = connection.remote();
            remote.download(&names, Some(&mut options))
        })
        .map_err(failed)?;
    }
    Ok(Some((head, merge)))
}

struct Trial<'a> {
    attempt: &'a Attempt,
    repository: &'a Repository,
    folder: &'a Path,
    spec: &'a SourceSpec,
    base: Oid,
    head: Oid,
}

impl Trial<'_> {
    fn local(e: git2::Error) -> Error {
        Error::local("cannot merge a pull request on trial", e.message())
    }

    fn merge(&self, offered: Option<Oid>) -> Result<Merged, Error> {
        let tree = |oid: Oid| Ok(Merged::Tree(CommitId(oid.to_string())));
        if let Some(offered) = offered.filter(|oid| self.is_of_both(*oid)) {
            return tree(offered);
        }
        let common = match self.repository.merge_base(self.base, self.head) {
            Ok(common) => common,
            Err(e) if e.code() == ErrorCode::NotFound => {
                return Ok(Merged::Conflict(vec!["(no common history)".to_owned()]));
            }
            Err(e) => return Err(Self::local(e)),
        };
        if common == self.base {
            return tree(self.head);
        }
        if common == self.head {
            return tree(self.base);
        }
        self.by_path(common)
    }

    fn is_of_both(&self, merge: Oid) -> bool {
        let Ok(commit) = self.repository.find_commit(merge) else {
            return false;
        };
        commit.parent_ids().collect::<Vec<_>>() == [self.base, self.head]
    }

    fn reader(&self, commit: Oid) -> Result<Reader, Error> {
        let commit = CommitId(commit.to_string());
        Reader::open(
            self.folder,
            self.attempt.url.clone(),
            &commit,
            &self.spec.path,
        )
    }

    /// What the pull request changed since `common`, put onto the branch's head.
    fn by_path(&self, common: Oid) -> Result<Merged, Error> {
        let since = CommitId(common.to_string());
        let theirs = self.reader(self.head)?.changed(Some(&since))?;
        let ours: BTreeMap<String, Entry> = self
            .reader(self.base)?
            .changed(Some(&since))?
            .into_iter()
            .map(|change| (change.path, change.entry))
            .collect();
        let before = self.reader(common)?;
        let mut update = TreeUpdateBuilder::new();
        let mut conflicts = Vec::new();
        let mut any = false;
        for TreeEntryChange { path, entry } in theirs {
            let entry = match ours.get(&path) {
                None => entry,
                Some(same) if *same == entry => continue,
                Some(ours) => match self.blend(&before, &path, ours, &entry)? {
                    Some(blended) => blended,
                    None => {
                        conflicts.push(path);
                        continue;
                    }
                },
            };
            any = true;
            match self.oid_and_mode(&entry)? {
                Some((oid, mode)) => update.upsert(path, oid, mode),
                None => update.remove(path),
            };
        }
        if !conflicts.is_empty() {
            return Ok(Merged::Conflict(conflicts));
        }
        if !any {
            return Ok(Merged::Tree(CommitId(self.base.to_string())));
        }
        failpoint::around(Op::GitMergePull, || self.commit(update))
    }

    fn commit(&self, mut update: TreeUpdateBuilder) -> Result<Merged, Error> {
        let base = self
            .repository
            .find_commit(self.base)
            .map_err(Self::local)?;
        let head = self
            .repository
            .find_commit(self.head)
            .map_err(Self::local)?;
        let baseline = base.tree().map_err(Self::local)?;
        let Ok(tree) = update.create_updated(self.repository, &baseline) else {
            // A folder on one side, a file of that name on the other.
            return Ok(Merged::Conflict(vec![
                "(a file and a folder of one name)".to_owned(),
            ]));
        };
        let tree = self.repository.find_tree(tree).map_err(Self::local)?;
        // The same two commits give the same merge, whenever it is made.
        let at = Time::new(head.time().seconds(), 0);
        let we = Signature::new("Evenkeel", "evenkeel@localhost", &at).map_err(Self::local)?;
        let message = "Trial merge";
        let merge = self
            .repository
            .commit(None, &we, &we, message, &tree, &[&base, &head])
            .map_err(Self::local)?;
        Ok(Merged::Tree(CommitId(merge.to_string())))
    }

    /// A file that both sides changed, line by line; `None`: they contradict each other.
    fn blend(
        &self,
        before: &Reader,
        path: &str,
        ours: &Entry,
        theirs: &Entry,
    ) -> Result<Option<Entry>, Error> {
        let (
            Entry::File {
                blob: ours,
                executable,
                ..
            },
            Entry::File { blob: theirs, .. },
        ) = (ours, theirs)
        else {
            return Ok(None);
        };
        let limit = limits::BLENDED_BYTES;
        let found = [
            before.read(path, limit)?,
            before.blob(ours, limit)?,
            before.blob(theirs, limit)?,
        ];
        let [Read::Found(old), Read::Found(ours), Read::Found(theirs)] = found else {
            return Ok(None);
        };
        let side = |bytes| {
            let mut input = MergeFileInput::new();
            input.content(bytes);
            input
        };
        let (old, ours, theirs) = (side(&old), side(&ours), side(&theirs));
        let result = git2::merge_file(&old, &ours, &theirs, None).map_err(Self::local)?;
        if !result.is_automergeable() {
            return Ok(None);
        }
        let content = result.content();
        let blob = self.repository.blob(content).map_err(Self::local)?;
        Ok(Some(Entry::File {
            blob: super::BlobId(blob.to_string()),
            size: content.len() as u64,
            executable: *executable,
        }))
    }

    fn oid_and_mode(&self, entry: &Entry) -> Result<Option<(Oid, FileMode)>, Error> {
        Ok(match entry {
            Entry::Removed => None,
            Entry::File {
                blob, executable, ..
            } => {
                let oid = Oid::from_str(&blob.0).map_err(Self::local)?;
                let mode = if *executable {
                    FileMode::BlobExecutable
                } else {
                    FileMode::Blob
                };
                Some((oid, mode))
            }
            // Nobody follows it: what counts is that it is no file.
            Entry::NotAFile { .. } => {
                let oid = self.repository.blob(b"").map_err(Self::local)?;
                Some((oid, FileMode::Link))
            }
        })
    }
}
